-- Running totals of the billing period, insert-only: one row per delta, holding the total up to and including it.
SELECT
    tenant_id,
    customer_id,
    meter,
    period_start_ms,
    period_end_ms,
    SUM(n)     OVER so_far AS n,
    SUM(total) OVER so_far AS total,
    MIN(lo)    OVER so_far AS lo,
    MAX(hi)    OVER so_far AS hi
FROM deltas
WINDOW so_far AS (
    PARTITION BY tenant_id, customer_id, meter, period_start_ms, period_end_ms
    ORDER BY tick_time
    ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
)
