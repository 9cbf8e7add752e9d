-- Totals by minute of event time.
CREATE VIEW usage_minute AS
SELECT
    tenant_id, customer_id, meter, dims,
    timezone('UTC', date_trunc('minute', minute_utc)) AS minute_start,
    count(*)                    AS n,
    sum(amount)::DECIMAL(38, 9) AS total,
    min(amount)                 AS lo,
    max(amount)                 AS hi
FROM usage
GROUP BY ALL
