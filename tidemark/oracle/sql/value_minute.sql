-- The value of each meter by minute; distinct values and integrals exist by day and period only.
CREATE TABLE value_minute AS
SELECT tenant_id, customer_id, meter, dims, start_at AS minute_start, samples, value, p50, p95, p99
FROM final_values('minute', false)
