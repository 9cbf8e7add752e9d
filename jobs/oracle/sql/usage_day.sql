-- Totals by day of the customer's time zone.
CREATE VIEW usage_day AS
SELECT
    tenant_id, customer_id, meter, dims, day,
    count(*)                    AS n,
    sum(amount)::DECIMAL(38, 9) AS total,
    min(amount)                 AS lo,
    max(amount)                 AS hi
FROM usage
GROUP BY ALL
