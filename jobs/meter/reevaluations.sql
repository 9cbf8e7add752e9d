-- Requests to evaluate a counter again though nothing was counted: its limit changed, or the path is tested (heartbeat).
-- One that cannot be read is left out: it requests nothing that the next one would not request again.
CREATE TEMPORARY TABLE reevaluations (
    tenant_id       STRING,
    customer_id     STRING,
    meter           STRING,
    period_start_ms BIGINT,
    period_end_ms   BIGINT,
    at_ms           BIGINT,
    tick_time       AS PROCTIME()
) WITH (
    'connector' = 'kafka',
    'topic' = '$reevaluations_topic',
    $kafka,
    'properties.group.id' = '$group',
    'scan.startup.mode' = 'latest-offset',
    'format' = 'json',
    'json.ignore-parse-errors' = 'true'
)
