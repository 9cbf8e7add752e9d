-- Bucket columns are made before grouping: a cast of a key after GROUP BY would lose the upsert key. TIMESTAMP in UTC,
-- because the JDBC connector refuses TIMESTAMP_LTZ.
SELECT
    tenant_id,
    customer_id,
    meter,
    dims,
    part,
    CAST(`minute` AS TIMESTAMP(3))              AS minute_start,
    FLOOR(CAST(`minute` AS TIMESTAMP(3)) TO HOUR) AS hour_start,
    TRY_CAST(`day` AS DATE)                     AS local_day,
    CAST(period_start AS TIMESTAMP(3))          AS period_starts,
    CAST(period_end AS TIMESTAMP(3))            AS period_ends,
    n,
    samples,
    total,
    lo,
    hi,
    latest
FROM deltas_for_totals
WHERE $valid
