-- Of a backlog one change per counter and tick, whatever minutes its events are of: nobody can follow more.
SELECT
    tenant_id, customer_id, meter, period_start_ms,
    MIN(period_end_ms) AS period_end_ms,
    SUM(n)             AS n,
    SUM(samples)       AS samples,
    SUM(total)         AS total,
    MIN(lo)            AS lo,
    MAX(hi)            AS hi,
    MAX(latest)        AS latest,
    dims,
    MAX(at_ms)         AS at_ms,
    window_time        AS tick_time
FROM TABLE(TUMBLE(TABLE counted, DESCRIPTOR(tick_time), $backlog_tick))
WHERE backlog
GROUP BY window_start, window_end, window_time, tenant_id, customer_id, meter, period_start_ms, dims
