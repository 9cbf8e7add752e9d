-- Alerts of a tenant in one partition: no reader may see the end of a condition before its start.
CREATE TEMPORARY TABLE alerts_sink (
    tenant_id STRING,
    record    STRING
) WITH (
    'topic' = '$alerts_topic',
    'key.format' = 'raw',
    'key.fields' = 'tenant_id',
    'value.format' = 'raw',
    'value.fields-include' = 'EXCEPT_KEY',
    $exactly_once
)
