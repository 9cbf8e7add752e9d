-- Usage, dead letters and the clock in one stream, so that one watermark closes the minutes of all.
SELECT
    tenant_id, customer_id, meter, part,
    samples, total, events, CAST(0 AS BIGINT) AS rejected, `minute` AS happened
FROM deltas
-- What another program wrote is left out: it would end the job, or mean other series.
WHERE NOT REGEXP(tenant_id || customer_id || meter, '[\x00-\x1f\x7f]') AND part IS NOT NULL
    AND samples BETWEEN -1000000000000 AND 1000000000000 AND events BETWEEN 0 AND 1000000000000
    AND total > -1E28 AND total < 1E28
    AND CAST(`minute` AS TIMESTAMP(3)) BETWEEN TIMESTAMP '1970-01-01 00:00:00' AND TIMESTAMP '2100-01-01 00:00:00'
UNION ALL
SELECT
    COALESCE(tenant_id, ''), CAST('' AS STRING), CAST('' AS STRING), CAST('' AS STRING),
    CAST(0 AS BIGINT), CAST(0 AS DECIMAL(38, 9)), CAST(0 AS BIGINT), CAST(1 AS BIGINT), arrived
FROM dead_letters
WHERE reason IS NOT NULL AND NOT REGEXP(COALESCE(tenant_id, ''), '[\x00-\x1f\x7f]')
$clock_rows
