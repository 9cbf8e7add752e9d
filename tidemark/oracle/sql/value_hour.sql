-- The value of each meter by hour; distinct values and integrals exist by day and period only.
CREATE TABLE value_hour AS
SELECT tenant_id, customer_id, meter, dims, start_at AS hour_start, samples, value, p50, p95, p99
FROM final_values('hour', false)
