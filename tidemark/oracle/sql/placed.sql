-- Minute, local day and billing period of every event that fits; a change of calendar cuts the period.
CREATE TABLE placed AS
WITH held AS (
    SELECT e.partition, e."offset", e.event_ms, s.definition, s.from_ms, s.to_ms
    FROM amounted AS e
    JOIN spans AS s ON s.tenant_id = e.tenant_id AND s.customer_id = e.customer_id
        AND s.from_ms <= e.event_ms AND e.event_ms < s.to_ms
    WHERE e.outcome IS NULL
)
SELECT
    h.partition,
    h."offset",
    timezone('UTC', make_timestamptz(h.event_ms // 60000 * 60000000))             AS minute_utc,
    (make_timestamp_ms(h.event_ms) + to_seconds(o.seconds))::DATE                 AS day,
    CASE WHEN b.end_ms IS NOT NULL THEN make_timestamptz(greatest(b.start_ms, h.from_ms) * 1000) END AS period_start,
    CASE WHEN b.end_ms IS NOT NULL THEN make_timestamptz(least(b.end_ms, h.to_ms) * 1000) END        AS period_end,
    -- The last listed boundary ends the last period; what precedes the first is in none either.
    CASE WHEN b.end_ms IS NULL THEN 'no_period' END                               AS outcome
FROM held AS h
JOIN (SELECT DISTINCT definition, timezone FROM calendars) AS z ON z.definition = h.definition
ASOF JOIN offsets AS o ON o.timezone = z.timezone AND o.from_at <= make_timestamp_ms(h.event_ms)
ASOF LEFT JOIN boundaries AS b ON b.definition = h.definition AND b.start_ms <= h.event_ms
