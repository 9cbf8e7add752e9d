-- One Python call per Arrow batch; both branches below (DLQ, dedupe) share this node. Partition p of the redrive topic
-- goes by the name of -1 - p inside the job: one number is cheaper to group by than topic and partition.
SELECT
    decode_events(payload, CAST(arrival AS TIMESTAMP(3)), source_partition, source_offset) AS decoded_event,
    source_partition,
    source_offset,
    arrival,
    proc_time
FROM (
    SELECT
        payload,
        arrival,
        CASE WHEN kafka_topic = '$redrive_topic' THEN -1 - kafka_partition ELSE kafka_partition END AS source_partition,
        source_offset,
        proc_time
    FROM raw_events
)
