-- The packed series taken apart again, at the rate of deltas instead of the rate of events.
SELECT
    SPLIT_INDEX(series, U&'\001f', 0) AS tenant_id,
    SPLIT_INDEX(series, U&'\001f', 1) AS customer_id,
    SPLIT_INDEX(series, U&'\001f', 2) AS meter,
    SPLIT_INDEX(series, U&'\001f', 3) AS dims,
    SPLIT_INDEX(series, U&'\001f', 4) AS part,
    CAST(SPLIT_INDEX(series, U&'\001f', 5) AS BIGINT) AS minute_ms,
    SPLIT_INDEX(series, U&'\001f', 6) AS local_day,
    CAST(SPLIT_INDEX(series, U&'\001f', 7) AS BIGINT) AS period_start_ms,
    CAST(SPLIT_INDEX(series, U&'\001f', 8) AS BIGINT) AS period_end_ms,
    n, samples, total, lo, hi, latest, events, source_partition, first_offset, last_offset,
    tick_time
FROM ticks
