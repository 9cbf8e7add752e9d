-- Usage, dead letters and the clock in one stream, so that one watermark closes the minutes of all.
SELECT
    tenant_id, customer_id, meter, part,
    samples, total, events, CAST(0 AS BIGINT) AS rejected, `minute` AS happened
FROM deltas
UNION ALL
SELECT
    COALESCE(tenant_id, ''), CAST('' AS STRING), CAST('' AS STRING), CAST('' AS STRING),
    CAST(0 AS BIGINT), CAST(0 AS DECIMAL(38, 9)), CAST(0 AS BIGINT), CAST(1 AS BIGINT), arrived
FROM dead_letters
$clock_rows
