-- Dead letters by the time they arrived: their event time is often what is wrong with them. A producer's clock may claim
-- any arrival; one from after the dead letter was written, or none, is taken to be long ago, so that it moves no watermark.
CREATE TEMPORARY TABLE dead_letters (
    reason    STRING,
    tenant_id STRING,
    arrival   TIMESTAMP_LTZ(3),
    written   TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
    arrived   AS CASE WHEN arrival < written + INTERVAL '5' MINUTE THEN arrival ELSE TO_TIMESTAMP_LTZ(0, 3) END,
    WATERMARK FOR arrived AS arrived - $disorder
) WITH (
    'connector' = 'kafka',
    'topic' = '$dlq_topic',
    $kafka,
    'properties.group.id' = '$group',
    'properties.isolation.level' = 'read_committed',
    'scan.watermark.idle-timeout' = '$source_idle_s s',
    'format' = 'json',
    'json.timestamp-format.standard' = 'ISO-8601',
    'json.ignore-parse-errors' = 'true',
    $dlq_range
)
