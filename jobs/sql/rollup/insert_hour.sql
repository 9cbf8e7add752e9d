INSERT INTO usage_hour_sink
SELECT tenant_id, customer_id, meter, dims, hour_start, SUM(n), SUM(total), MIN(lo), MAX(hi)
FROM changes
GROUP BY tenant_id, customer_id, meter, dims, hour_start
