INSERT INTO usage_day_sink
SELECT tenant_id, customer_id, meter, dims, local_day, SUM(n), SUM(total), MIN(lo), MAX(hi)
FROM changes
GROUP BY tenant_id, customer_id, meter, dims, local_day
