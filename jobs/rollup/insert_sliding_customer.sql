INSERT INTO usage_sliding_customer_sink
SELECT tenant_id, customer_id, meter, window_s, window_start, window_end, n, total FROM sliding_customer
WHERE $recent
