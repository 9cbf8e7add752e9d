-- Start and end of every billing period the events can fall into: anchor + k intervals, each counted from the anchor,
-- so that a clamped 31st comes back; or the listed local times. Hours are elapsed time. Of two boundaries at one
-- instant the later counts.
CREATE TABLE boundaries AS
WITH span AS (
    SELECT
        -- Anchors are local times, up to 14 hours from UTC: more than some hours' worth of intervals.
        coalesce(make_timestamp_ms(min(event_ms)), TIMESTAMP '2013-01-01') - INTERVAL 1 DAY AS low,
        coalesce(make_timestamp_ms(max(event_ms)), TIMESTAMP '2013-01-01') + INTERVAL 1 DAY AS high
    FROM amounted
    WHERE outcome IS NULL
),
written AS (
    SELECT DISTINCT
        definition, timezone, anchor,
        regexp_extract(interval, '^P(T?)(\d+)([HDWMY])$', 2)::BIGINT       AS n,
        regexp_extract(interval, '^P(T?)(\d+)([HDWMY])$', 3)               AS unit,
        coalesce(anchor, CASE unit WHEN 'W' THEN TIMESTAMP '2000-01-03' ELSE TIMESTAMP '2000-01-01' END) AS anchor
    FROM calendars
    WHERE listed IS NULL
),
-- Whole intervals between anchor and events by average lengths, with two to spare on both sides.
range_of_k AS (
    SELECT
        l.*,
        n * CASE unit WHEN 'H' THEN 1 / 24.0 WHEN 'D' THEN 1 WHEN 'W' THEN 7 WHEN 'M' THEN 30.436875 ELSE 365.2425 END
            AS days,
        floor(datediff('second', anchor, low) / 86400.0 / days)::BIGINT - 2 AS k_low,
        ceil(datediff('second', anchor, high) / 86400.0 / days)::BIGINT + 3 AS k_high
    FROM written AS l
    CROSS JOIN span
),
stated AS (
    SELECT
        definition, timezone,
        CASE unit
            WHEN 'H' THEN anchor
            WHEN 'D' THEN anchor + to_days((k * n)::INTEGER)
            WHEN 'W' THEN anchor + to_days((k * n * 7)::INTEGER)
            WHEN 'M' THEN anchor + to_months((k * n)::INTEGER)
            WHEN 'Y' THEN anchor + to_months((k * n * 12)::INTEGER)
        END AS local_at,
        CASE unit WHEN 'H' THEN k * n ELSE 0 END AS hours
    FROM range_of_k, LATERAL (SELECT unnest(generate_series(k_low, k_high)) AS k)
    UNION ALL
    SELECT definition, timezone, local_at, 0
    FROM (SELECT DISTINCT definition, timezone, listed FROM calendars WHERE listed IS NOT NULL),
        LATERAL (SELECT unnest(listed) AS local_at)
),
instant AS (
    SELECT s.definition, s.local_at - to_seconds(o.seconds) + to_hours(s.hours) AS start_at
    FROM stated AS s
    ASOF JOIN offsets AS o ON o.timezone = s.timezone AND o.local_from <= s.local_at
)
SELECT
    definition,
    epoch_ms(start_at)                                                                    AS start_ms,
    lead(epoch_ms(start_at)) OVER (PARTITION BY definition ORDER BY start_at)             AS end_ms
FROM (SELECT DISTINCT definition, start_at FROM instant)
