INSERT INTO usage_sliding_sink
SELECT tenant_id, meter, window_s, window_start, window_end, n, total FROM sliding
WHERE $recent
