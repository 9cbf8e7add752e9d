-- One Python call per Arrow batch; both branches below (DLQ, dedupe) share this node.
SELECT
    decode_events(payload, CAST(arrival AS TIMESTAMP(3)), source_partition, source_offset) AS decoded_event,
    source_partition,
    source_offset,
    arrival,
    proc_time
FROM raw_events
