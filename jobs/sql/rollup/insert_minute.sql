INSERT INTO usage_minute_sink
SELECT tenant_id, customer_id, meter, dims, minute_start, SUM(n), SUM(total), MIN(lo), MAX(hi)
FROM changes
GROUP BY tenant_id, customer_id, meter, dims, minute_start
