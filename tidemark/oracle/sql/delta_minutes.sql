-- The sums that all deltas of a minute must have: every part, also those that no table of minutes keeps.
CREATE VIEW delta_minutes AS
SELECT
    tenant_id, customer_id, meter, dims, part,
    timezone('UTC', minute_utc)                 AS minute_start,
    count(*)                                    AS n,
    sum(samples)::BIGINT                        AS samples,
    sum(amount)::DECIMAL(38, 9)                 AS total,
    min(amount) FILTER (WHERE samples > 0)      AS lo,
    max(amount) FILTER (WHERE samples > 0)      AS hi,
    max(latest)                                 AS latest
FROM usage
GROUP BY ALL
