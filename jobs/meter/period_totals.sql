-- Running totals of the billing period, insert-only: one row per change, holding the total up to and including it, what the
-- change added, and how far the event time of the counter has come. A period is known by its start: its end moves when a
-- change of calendar cuts it.
SELECT
    tenant_id,
    customer_id,
    meter,
    period_start_ms,
    dims,
    total                     AS added,
    MIN(period_end_ms) OVER so_far AS period_end_ms,
    SUM(n)             OVER so_far AS n,
    SUM(samples)       OVER so_far AS samples,
    SUM(total)         OVER so_far AS total,
    MIN(lo)            OVER so_far AS lo,
    MAX(hi)            OVER so_far AS hi,
    MAX(latest)        OVER so_far AS latest,
    MAX(at_ms)         OVER so_far AS at_ms
FROM live_changes
WINDOW so_far AS (
    PARTITION BY tenant_id, customer_id, meter, period_start_ms
    ORDER BY tick_time
    ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
)
