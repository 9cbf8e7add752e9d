-- What `meter` committed; read_committed, so an aborted transaction is never counted. It is declared twice, with and
-- without a watermark: with one, the planner ties the mini-batches of the stored totals to the progress of event time.
CREATE TEMPORARY TABLE $source (
    tenant_id    STRING,
    customer_id  STRING,
    meter        STRING,
    dims         STRING,
    part         STRING,
    `minute`     TIMESTAMP_LTZ(3),
    `day`        STRING,
    period_start TIMESTAMP_LTZ(3),
    period_end   TIMESTAMP_LTZ(3),
    n            BIGINT,
    samples      BIGINT,
    total        DECIMAL(38, 9),
    lo           DECIMAL(38, 9),
    hi           DECIMAL(38, 9),
    latest       STRING
    $watermark
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
