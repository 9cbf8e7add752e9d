INSERT INTO deltas_sink
SELECT
    tenant_id, customer_id, meter, dims,
    TO_TIMESTAMP_LTZ(minute_ms, 3),
    local_day,
    TO_TIMESTAMP_LTZ(period_start_ms, 3),
    TO_TIMESTAMP_LTZ(period_end_ms, 3),
    n, CAST(total AS STRING), CAST(lo AS STRING), CAST(hi AS STRING),
    events, source_partition, first_offset, last_offset
FROM deltas
