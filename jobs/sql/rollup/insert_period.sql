INSERT INTO usage_period_sink
SELECT tenant_id, customer_id, meter, dims, period_starts, period_ends, SUM(n), SUM(total), MIN(lo), MAX(hi)
FROM changes
GROUP BY tenant_id, customer_id, meter, dims, period_starts, period_ends
