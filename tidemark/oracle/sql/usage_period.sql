-- Totals by billing period; a period is known by its start.
CREATE VIEW usage_period AS
SELECT
    tenant_id, customer_id, meter, dims, part,
    period_start,
    min(period_end)                             AS period_end,
    count(*)                                    AS n,
    sum(samples)::BIGINT                        AS samples,
    sum(amount)::DECIMAL(38, 9)                 AS total,
    min(amount) FILTER (WHERE samples > 0)      AS lo,
    max(amount) FILTER (WHERE samples > 0)      AS hi,
    max(latest)                                 AS latest
FROM usage
GROUP BY ALL
