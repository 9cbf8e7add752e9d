-- Totals by billing period.
CREATE VIEW usage_period AS
SELECT
    tenant_id, customer_id, meter, dims, period_start, period_end,
    count(*)                    AS n,
    sum(amount)::DECIMAL(38, 9) AS total,
    min(amount)                 AS lo,
    max(amount)                 AS hi
FROM usage
GROUP BY ALL
