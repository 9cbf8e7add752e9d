-- Values of unique meters are kept by day and period: a row per value and minute would be as many as there are events.
INSERT INTO usage_minute_sink
SELECT
    tenant_id, customer_id, meter, dims, part, minute_start,
    SUM(n), SUM(samples), SUM(total), MIN(lo), MAX(hi), MAX(latest)
FROM changes
WHERE part NOT LIKE 'u%'
GROUP BY tenant_id, customer_id, meter, dims, part, minute_start
