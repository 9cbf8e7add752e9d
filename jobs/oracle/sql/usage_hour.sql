-- Totals by hour of event time.
CREATE VIEW usage_hour AS
SELECT
    tenant_id, customer_id, meter, dims,
    timezone('UTC', date_trunc('hour', minute_utc)) AS hour_start,
    count(*)                    AS n,
    sum(amount)::DECIMAL(38, 9) AS total,
    min(amount)                 AS lo,
    max(amount)                 AS hi
FROM usage
GROUP BY ALL
