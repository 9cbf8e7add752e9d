-- The value of each meter by billing period.
CREATE TABLE value_period AS
SELECT tenant_id, customer_id, meter, dims, start_at AS period_start, samples, value, p50, p95, p99
FROM final_values('period', true)
UNION ALL
SELECT tenant_id, customer_id, meter, dims, start_at, samples, value, NULL, NULL, NULL
FROM integrals
WHERE grain = 'period'
