-- What `meter` committed; read_committed, so an aborted transaction is never evaluated. The watermark is on the column that
-- comes with the record, so it is pushed into the source and kept per partition.
CREATE TEMPORARY TABLE deltas (
    tenant_id   STRING,
    customer_id STRING,
    meter       STRING,
    part        STRING,
    `minute`    TIMESTAMP_LTZ(3),
    samples     BIGINT,
    total       DECIMAL(38, 9),
    events      BIGINT,
    WATERMARK FOR `minute` AS `minute` - $disorder
) WITH (
    'connector' = 'kafka',
    'topic' = '$deltas_topic',
    $kafka,
    'properties.group.id' = '$group',
    'properties.isolation.level' = 'read_committed',
    'scan.watermark.idle-timeout' = '$source_idle_s s',
    'format' = 'json',
    'json.timestamp-format.standard' = 'ISO-8601',
    'json.ignore-parse-errors' = 'true',
    $range
)
