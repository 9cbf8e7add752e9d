-- Every counted measurement with its minute, hour, local day and billing period.
-- A customer without a calendar has its tenant's, a tenant without one a calendar month in UTC ('').
CREATE TABLE usage AS
WITH placed AS (
    SELECT
        m.tenant_id, m.customer_id, m.meter, m.dims, m.amount, m.partition, m."offset",
        make_timestamptz(m.event_ms * 1000)                          AS event_at,
        coalesce(c.calendar_id, t.calendar_id, '')                   AS calendar_id
    FROM measured AS m
    JOIN verdicts AS v ON v.partition = m.partition AND v."offset" = m."offset" AND v.verdict = 'counted'
    JOIN tenants AS t ON t.tenant_id = m.tenant_id
    LEFT JOIN customers AS c ON c.tenant_id = m.tenant_id AND c.customer_id = m.customer_id
)
SELECT
    p.* EXCLUDE (calendar_id),
    date_trunc('minute', timezone('UTC', p.event_at))                AS minute_utc,
    timezone(k.timezone, p.event_at)::DATE                           AS day,
    b.period_start,
    b.period_end
FROM placed AS p
JOIN calendars AS k USING (calendar_id)
ASOF JOIN boundaries AS b ON b.calendar_id = p.calendar_id AND b.period_start <= p.event_at
