-- Event types that some meter of a tenant takes; a tenant's own meter hides a common one of the same name.
CREATE TABLE measured_types AS
SELECT DISTINCT m.step, m.tenant_id, unnest(m.event_types) AS event_type
FROM meters AS m
WHERE m.tenant_id IS NOT NULL
UNION
SELECT DISTINCT t.step, t.tenant_id, unnest(m.event_types) AS event_type
FROM meters AS m
JOIN tenants AS t ON t.step = m.step
WHERE m.tenant_id IS NULL
    AND NOT EXISTS (FROM meters AS own WHERE own.step = t.step AND own.tenant_id = t.tenant_id AND own.meter = m.meter)
