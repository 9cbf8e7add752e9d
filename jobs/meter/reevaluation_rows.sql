UNION ALL
SELECT
    tenant_id, customer_id, meter, period_start_ms, period_end_ms,
    CAST(0 AS BIGINT), CAST(0 AS BIGINT), CAST(0 AS DECIMAL(38, 9)),
    CAST(NULL AS DECIMAL(38, 9)), CAST(NULL AS DECIMAL(38, 9)), CAST(NULL AS STRING),
    '', at_ms, tick_time
FROM reevaluations
-- The topic is not checked as events are: an id with a control character would break the packed columns apart and say
-- any total, and an instant ahead of the clock would hold the counter, or the heartbeat, there.
WHERE NOT REGEXP(tenant_id || customer_id || meter, '[\x00-\x1f\x7f]')
    AND period_start_ms >= $min_ms AND period_start_ms < period_end_ms AND period_end_ms <= $max_ms
    AND at_ms >= $min_ms AND at_ms <= UNIX_TIMESTAMP() * 1000 + $future_tolerance_ms
