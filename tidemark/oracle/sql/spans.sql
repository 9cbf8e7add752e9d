-- Which calendar each customer of the events has, from when until when: its own, its tenant's, or a month in UTC (''),
-- which it also has where its tenant is not in the catalog.
-- Neighbouring steps of the history with one and the same calendar are one span: only a real change cuts a period.
CREATE TABLE spans AS
WITH pairs AS (
    SELECT DISTINCT tenant_id, customer_id FROM amounted WHERE outcome IS NULL
),
resolved AS (
    SELECT p.tenant_id, p.customer_id, s.step, k.definition
    FROM pairs AS p
    CROSS JOIN steps AS s
    LEFT JOIN tenants AS t ON t.step = s.step AND t.tenant_id = p.tenant_id
    LEFT JOIN customers AS c ON c.step = s.step AND c.tenant_id = p.tenant_id AND c.customer_id = p.customer_id
    JOIN calendars AS k ON k.step = s.step AND k.calendar_id = coalesce(c.calendar_id, t.calendar_id, '')
),
compared AS (
    SELECT *, lag(definition) OVER (PARTITION BY tenant_id, customer_id ORDER BY step) AS before FROM resolved
),
kept AS (
    SELECT r.tenant_id, r.customer_id, r.definition, CASE WHEN before IS NULL THEN -9e15::BIGINT ELSE h.from_ms END AS from_ms
    FROM compared AS r
    JOIN steps AS h ON h.step = r.step
    WHERE before IS DISTINCT FROM definition
)
SELECT
    *,
    lead(from_ms, 1, 9e15::BIGINT) OVER (PARTITION BY tenant_id, customer_id ORDER BY from_ms) AS to_ms
FROM kept
