-- Values of unique meters, each once a customer and period over all dimensions: what a live counter of them adds up.
-- On processing time it is insert-only, in a bounded run too.
SELECT tenant_id, customer_id, meter, period_start_ms, period_end_ms, dims, minute_ms, backlog, tick_time
FROM (
    SELECT
        tenant_id, customer_id, meter, period_start_ms, period_end_ms, dims, minute_ms, backlog, tick_time,
        ROW_NUMBER() OVER (
            PARTITION BY tenant_id, customer_id, meter, period_start_ms, part ORDER BY seen_at ASC
        ) AS occurrence
    FROM (SELECT *, PROCTIME() AS seen_at FROM deltas WHERE part LIKE 'u%')
)
WHERE occurrence = 1
