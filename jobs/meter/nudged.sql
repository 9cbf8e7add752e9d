UNION ALL
SELECT
    tenant_id, customer_id, meter, period_start_ms, period_end_ms,
    CAST(0 AS BIGINT), CAST(0 AS BIGINT), CAST(0 AS DECIMAL(38, 9)),
    CAST(NULL AS DECIMAL(38, 9)), CAST(NULL AS DECIMAL(38, 9)), CAST(NULL AS STRING),
    '', at_ms, tick_time
FROM nudges
WHERE tenant_id IS NOT NULL AND customer_id IS NOT NULL AND meter IS NOT NULL
    AND period_start_ms IS NOT NULL AND period_end_ms IS NOT NULL AND at_ms IS NOT NULL
