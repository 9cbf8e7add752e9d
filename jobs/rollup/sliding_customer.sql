-- Sliding dashboards per customer: a minute with usage makes up to 5 + 12 rows, so longer windows are for tenants alone.
SELECT tenant_id, customer_id, meter, 300 AS window_s, window_start, window_end, SUM(n) AS n, SUM(total) AS total
FROM TABLE(HOP(TABLE minutes, DESCRIPTOR(closed_at), INTERVAL '1' MINUTE, INTERVAL '5' MINUTE))
GROUP BY tenant_id, customer_id, meter, window_start, window_end
UNION ALL
SELECT tenant_id, customer_id, meter, 3600 AS window_s, window_start, window_end, SUM(n) AS n, SUM(total) AS total
FROM TABLE(HOP(TABLE minutes, DESCRIPTOR(closed_at), INTERVAL '5' MINUTE, INTERVAL '1' HOUR))
GROUP BY tenant_id, customer_id, meter, window_start, window_end
