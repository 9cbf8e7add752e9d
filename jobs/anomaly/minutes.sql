-- One row a minute and series, for Python: a meter of a customer, a meter of a tenant, and the events of a tenant with its
-- dead letters. Only rows without a part add up to a volume. Decimals travel as text, and the key in one column
-- (udfs.wire.WatchedSeries).
SELECT
    CASE
        WHEN customer_id IS NOT NULL THEN $customer_series
        WHEN meter IS NOT NULL THEN $meter_series
        ELSE $tenant_series
    END AS series,
    TIMESTAMPDIFF(MINUTE, TIMESTAMP '1970-01-01 00:00:00', window_start) AS at_minute,
    CASE WHEN meter IS NULL THEN events ELSE samples END AS n,
    CASE WHEN meter IS NULL THEN CAST(rejected AS STRING) ELSE CAST(total AS STRING) END AS total
FROM (
    SELECT
        window_start, tenant_id, customer_id, meter,
        SUM(samples) FILTER (WHERE part = '') AS samples,
        SUM(total) FILTER (WHERE part = '')   AS total,
        SUM(events)                           AS events,
        SUM(rejected)                         AS rejected
    FROM TABLE(TUMBLE(TABLE happenings, DESCRIPTOR(happened), INTERVAL '1' MINUTE))
    GROUP BY
        window_start, window_end,
        GROUPING SETS ((tenant_id, customer_id, meter), (tenant_id, meter), (tenant_id))
)
WHERE meter IS NULL OR (meter <> '' AND samples IS NOT NULL)
