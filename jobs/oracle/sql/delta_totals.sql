-- All deltas added up by minute: what the rollup of minutes must hold.
CREATE OR REPLACE VIEW delta_totals AS
SELECT
    tenant_id, customer_id, meter, dims, minute_start,
    sum(n)::BIGINT             AS n,
    sum(total)::DECIMAL(38, 9) AS total,
    min(lo)                    AS lo,
    max(hi)                    AS hi
FROM deltas
GROUP BY ALL
