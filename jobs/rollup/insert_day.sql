INSERT INTO usage_day_sink
SELECT
    tenant_id, customer_id, meter, dims, part, local_day,
    SUM(n), SUM(samples), SUM(total), MIN(lo), MAX(hi), MAX(latest)
FROM changes
GROUP BY tenant_id, customer_id, meter, dims, part, local_day
