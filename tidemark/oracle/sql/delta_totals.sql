-- All deltas added up by minute.
CREATE OR REPLACE VIEW delta_totals AS
SELECT
    tenant_id, customer_id, meter, dims, part, minute_start,
    sum(n)::BIGINT             AS n,
    sum(samples)::BIGINT       AS samples,
    sum(total)::DECIMAL(38, 9) AS total,
    min(lo)                    AS lo,
    max(hi)                    AS hi,
    max(latest)                AS latest
FROM deltas
GROUP BY ALL
