-- Totals by day of the customer's time zone.
CREATE VIEW usage_day AS
SELECT
    tenant_id, customer_id, meter, dims, part,
    day,
    count(*)                                    AS n,
    sum(samples)::BIGINT                        AS samples,
    sum(amount)::DECIMAL(38, 9)                 AS total,
    min(amount) FILTER (WHERE samples > 0)      AS lo,
    max(amount) FILTER (WHERE samples > 0)      AS hi,
    max(latest)                                 AS latest
FROM usage
GROUP BY ALL
