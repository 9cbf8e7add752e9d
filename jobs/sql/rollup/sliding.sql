-- Sliding dashboards per tenant and meter, of what adds up. What is later than the watermark bound is missing here and only here.
SELECT tenant_id, meter, 300 AS window_s, window_start, window_end, SUM(n) AS n, SUM(total) AS total
FROM TABLE(HOP(TABLE deltas_for_sliding, DESCRIPTOR(`minute`), INTERVAL '1' MINUTE, INTERVAL '5' MINUTE))
WHERE part = ''
GROUP BY tenant_id, meter, window_start, window_end
UNION ALL
SELECT tenant_id, meter, 3600 AS window_s, window_start, window_end, SUM(n) AS n, SUM(total) AS total
FROM TABLE(HOP(TABLE deltas_for_sliding, DESCRIPTOR(`minute`), INTERVAL '5' MINUTE, INTERVAL '1' HOUR))
WHERE part = ''
GROUP BY tenant_id, meter, window_start, window_end
UNION ALL
SELECT tenant_id, meter, 86400 AS window_s, window_start, window_end, SUM(n) AS n, SUM(total) AS total
FROM TABLE(HOP(TABLE deltas_for_sliding, DESCRIPTOR(`minute`), INTERVAL '1' HOUR, INTERVAL '1' DAY))
WHERE part = ''
GROUP BY tenant_id, meter, window_start, window_end
