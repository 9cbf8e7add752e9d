INSERT INTO ${into}deltas_sink
SELECT
    tenant_id, customer_id, meter, dims, part,
    TO_TIMESTAMP_LTZ(minute_ms, 3),
    local_day,
    TO_TIMESTAMP_LTZ(period_start_ms, 3),
    TO_TIMESTAMP_LTZ(period_end_ms, 3),
    n, samples, CAST(total AS STRING), CAST(lo AS STRING), CAST(hi AS STRING), latest,
    events,
    CASE WHEN source_partition < 0 THEN '$redrive_topic' ELSE '$events_topic' END,
    CASE WHEN source_partition < 0 THEN -1 - source_partition ELSE source_partition END,
    first_offset, last_offset
FROM deltas
