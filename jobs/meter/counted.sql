-- What was counted, as changes of live counters: additive parts as they are, a value of a unique meter when it is new.
SELECT
    tenant_id, customer_id, meter, period_start_ms, period_end_ms, n, samples, total, lo, hi, latest,
    dims, minute_ms AS at_ms, backlog, tick_time
FROM deltas
WHERE part = ''
UNION ALL
SELECT
    tenant_id, customer_id, meter, period_start_ms, period_end_ms,
    CAST(1 AS BIGINT), CAST(1 AS BIGINT), CAST(1 AS DECIMAL(38, 9)),
    CAST(NULL AS DECIMAL(38, 9)), CAST(NULL AS DECIMAL(38, 9)), CAST(NULL AS STRING),
    dims, minute_ms, backlog, tick_time
FROM first_values
