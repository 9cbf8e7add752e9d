-- Requests to look at a counter again though nothing was counted: its limit changed, or the way is tried (heartbeat). One
-- that cannot be read is left out: it asks for nothing that the next one would not ask for again.
CREATE TEMPORARY TABLE nudges (
    tenant_id       STRING,
    customer_id     STRING,
    meter           STRING,
    period_start_ms BIGINT,
    period_end_ms   BIGINT,
    at_ms           BIGINT,
    tick_time       AS PROCTIME()
) WITH (
    'connector' = 'kafka',
    'topic' = '$nudges_topic',
    $kafka,
    'properties.group.id' = '$group',
    'scan.startup.mode' = 'latest-offset',
    'format' = 'json',
    'json.ignore-parse-errors' = 'true'
)
