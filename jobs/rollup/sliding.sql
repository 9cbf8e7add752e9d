-- Sliding dashboards per tenant and meter.
SELECT tenant_id, meter, 300 AS window_s, window_start, window_end, SUM(n) AS n, SUM(total) AS total
FROM TABLE(HOP(TABLE minutes, DESCRIPTOR(closed_at), INTERVAL '1' MINUTE, INTERVAL '5' MINUTE))
GROUP BY tenant_id, meter, window_start, window_end
UNION ALL
SELECT tenant_id, meter, 3600 AS window_s, window_start, window_end, SUM(n) AS n, SUM(total) AS total
FROM TABLE(HOP(TABLE minutes, DESCRIPTOR(closed_at), INTERVAL '5' MINUTE, INTERVAL '1' HOUR))
GROUP BY tenant_id, meter, window_start, window_end
UNION ALL
SELECT tenant_id, meter, 86400 AS window_s, window_start, window_end, SUM(n) AS n, SUM(total) AS total
FROM TABLE(HOP(TABLE minutes, DESCRIPTOR(closed_at), INTERVAL '1' HOUR, INTERVAL '1' DAY))
GROUP BY tenant_id, meter, window_start, window_end
UNION ALL
SELECT tenant_id, meter, 604800 AS window_s, window_start, window_end, SUM(n) AS n, SUM(total) AS total
FROM TABLE(HOP(TABLE minutes, DESCRIPTOR(closed_at), INTERVAL '1' DAY, INTERVAL '7' DAY))
GROUP BY tenant_id, meter, window_start, window_end
