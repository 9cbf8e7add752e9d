CREATE TEMPORARY TABLE deltas_sink (
    tenant_id        STRING,
    customer_id      STRING,
    meter            STRING,
    dims             STRING,
    part             STRING,
    `minute`         TIMESTAMP_LTZ(3),
    `day`            STRING,
    period_start     TIMESTAMP_LTZ(3),
    period_end       TIMESTAMP_LTZ(3),
    n                BIGINT,
    samples          BIGINT,
    total            STRING,
    lo               STRING,
    hi               STRING,
    latest           STRING,
    events           BIGINT,
    source_topic     STRING,
    source_partition INT,
    first_offset     BIGINT,
    last_offset      BIGINT
) WITH (
    'topic' = '$topic',
    -- One series always lands in one partition, so its deltas stay in order for every reader.
    'key.format' = 'json',
    'key.fields' = 'tenant_id;customer_id;meter',
    'value.format' = 'json',
    'value.json.timestamp-format.standard' = 'ISO-8601',
    $exactly_once
)
