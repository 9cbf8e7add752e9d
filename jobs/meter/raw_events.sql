-- The source: bytes as they were sent, and where and when Kafka got them. The second topic holds redriven dead letters,
-- with their original arrivals as record timestamps.
CREATE TEMPORARY TABLE raw_events (
    payload          BYTES,
    arrival          TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
    kafka_topic      STRING           METADATA FROM 'topic'     VIRTUAL,
    kafka_partition  INT              METADATA FROM 'partition' VIRTUAL,
    source_offset    BIGINT           METADATA FROM 'offset'    VIRTUAL,
    proc_time        AS PROCTIME(),
    -- Only a bounded run ticks on it. On the metadata column it is pushed into the source, so it is kept per partition.
    WATERMARK FOR arrival AS arrival - $bounded_disorder
) WITH (
    'connector' = 'kafka',
    'topic' = '$source_topics',
    $kafka,
    'properties.group.id' = '$group',
    'format' = 'raw',
    $range
)
