-- Additive deltas per series and minute, of one of the two lanes. The source partition is in the key so that counted events
-- can be reconciled with offsets; a customer's events normally come from one partition, so it adds hardly a row.
SELECT
    series,
    source_partition,
    COUNT(*)                              AS n,
    SUM(samples)                          AS samples,
    SUM(amount)                           AS total,
    MIN(amount) FILTER (WHERE bounding)   AS lo,
    MAX(amount) FILTER (WHERE bounding)   AS hi,
    MAX(latest)                           AS latest,
    SUM(first_of_event)                   AS events,
    MIN(source_offset)                    AS first_offset,
    MAX(source_offset)                    AS last_offset,
    window_time                           AS tick_time
FROM TABLE(TUMBLE(TABLE $lane, DESCRIPTOR($tick_on), $lane_tick))
GROUP BY window_start, window_end, window_time, series, source_partition
