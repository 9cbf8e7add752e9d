INSERT INTO alerts_sink
SELECT tenant_id, alert
FROM changes
