-- Event types that some meter of a tenant accepts, and the names of those meters; a tenant's own meter hides a common one of
-- the same name.
CREATE TABLE measured_types AS
WITH taken AS (
    SELECT m.step, m.tenant_id, m.meter, unnest(m.event_types) AS event_type
    FROM meters AS m
    WHERE m.tenant_id IS NOT NULL
    UNION
    SELECT t.step, t.tenant_id, m.meter, unnest(m.event_types) AS event_type
    FROM meters AS m
    JOIN tenants AS t ON t.step = m.step
    WHERE m.tenant_id IS NULL
        AND NOT EXISTS (FROM meters AS own WHERE own.step = t.step AND own.tenant_id = t.tenant_id AND own.meter = m.meter)
)
SELECT step, tenant_id, event_type, list(meter) AS meters
FROM taken
GROUP BY step, tenant_id, event_type
