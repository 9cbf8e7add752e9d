-- The value of each meter by day of the customer's time zone.
CREATE TABLE value_day AS
SELECT tenant_id, customer_id, meter, dims, on_day AS day, samples, value, p50, p95, p99
FROM final_values('day', true)
UNION ALL
SELECT tenant_id, customer_id, meter, dims, on_day, samples, value, NULL, NULL, NULL
FROM integrals
WHERE grain = 'day'
