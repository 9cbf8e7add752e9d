-- Totals by hour of event time.
CREATE VIEW usage_hour AS
SELECT
    tenant_id, customer_id, meter, dims, part,
    timezone('UTC', date_trunc('hour', minute_utc)) AS hour_start,
    count(*)                                    AS n,
    sum(samples)::BIGINT                        AS samples,
    sum(amount)::DECIMAL(38, 9)                 AS total,
    min(amount) FILTER (WHERE samples > 0)      AS lo,
    max(amount) FILTER (WHERE samples > 0)      AS hi,
    max(latest)                                 AS latest
FROM usage
WHERE NOT starts_with(part, 'u')
GROUP BY ALL
