-- Begin and end of every billing period the events can fall into: anchor + k intervals, each counted from the anchor,
-- so that a clamped 31st comes back. Hours are elapsed time. Of two boundaries at one instant the later counts.
CREATE TABLE boundaries AS
WITH span AS (
    SELECT
        coalesce(make_timestamp_ms(min(event_ms)), TIMESTAMP '2013-01-01') AS low,
        coalesce(make_timestamp_ms(max(event_ms)), TIMESTAMP '2013-01-01') AS high
    FROM measured
),
length AS (
    SELECT
        *,
        regexp_extract(interval, '^P(T?)(\d+)([HDWMY])$', 2)::BIGINT       AS n,
        regexp_extract(interval, '^P(T?)(\d+)([HDWMY])$', 3)               AS unit
    FROM calendars
),
-- Whole intervals between anchor and events by average lengths, with two to spare on both sides.
range_of_k AS (
    SELECT
        l.*,
        n * CASE unit WHEN 'H' THEN 1 / 24.0 WHEN 'D' THEN 1 WHEN 'W' THEN 7 WHEN 'M' THEN 30.436875 ELSE 365.2425 END
            AS days,
        floor(datediff('second', anchor, low) / 86400.0 / days)::BIGINT - 2 AS k_low,
        ceil(datediff('second', anchor, high) / 86400.0 / days)::BIGINT + 3 AS k_high
    FROM length AS l
    CROSS JOIN span
),
instant AS (
    SELECT
        calendar_id,
        CASE
            WHEN unit = 'H' THEN first_instant(timezone, anchor) + to_hours(k * n)
            WHEN unit = 'D' THEN first_instant(timezone, anchor + to_days((k * n)::INTEGER))
            WHEN unit = 'W' THEN first_instant(timezone, anchor + to_days((k * n * 7)::INTEGER))
            WHEN unit = 'M' THEN first_instant(timezone, anchor + to_months((k * n)::INTEGER))
            WHEN unit = 'Y' THEN first_instant(timezone, anchor + to_months((k * n * 12)::INTEGER))
        END AS period_start
    FROM range_of_k, LATERAL (SELECT unnest(generate_series(k_low, k_high)) AS k)
)
SELECT
    calendar_id,
    period_start,
    lead(period_start) OVER (PARTITION BY calendar_id ORDER BY period_start) AS period_end
FROM (SELECT DISTINCT calendar_id, period_start FROM instant)
