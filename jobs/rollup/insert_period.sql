-- A period is known by its start: its end moves when a change of calendar cuts it.
INSERT INTO usage_period_sink
SELECT
    tenant_id, customer_id, meter, dims, part, period_starts, MIN(period_ends),
    SUM(n), SUM(samples), SUM(total), MIN(lo), MAX(hi), MAX(latest)
FROM changes
GROUP BY tenant_id, customer_id, meter, dims, part, period_starts
