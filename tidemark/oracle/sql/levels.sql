-- Integrals of the levels of `weighted_sum` meters, step by step in the order of event time: the level after each
-- change, times how long it lasted in each day and each period, from the bucket of the first change to the one of the
-- last event of the stream. There is no row for a bucket that a level of 0 is carried through.
CREATE TABLE level_steps AS
WITH change AS (
    SELECT tenant_id, customer_id, meter, dims, event_ms, sum(amount)::DECIMAL(38, 9) AS amount
    FROM usage
    WHERE aggregation = 'weighted_sum' AND part = ''
    GROUP BY ALL
)
SELECT
    tenant_id, customer_id, meter, dims,
    event_ms                                                                                     AS from_ms,
    lead(event_ms, 1, 9e15::BIGINT) OVER (PARTITION BY tenant_id, customer_id, meter, dims ORDER BY event_ms) AS to_ms,
    sum(amount) OVER (PARTITION BY tenant_id, customer_id, meter, dims ORDER BY event_ms)        AS level
FROM change;

-- Stretches of time that make up the buckets of each customer: a day that a change of calendar cuts has two.
CREATE TABLE stretches AS
WITH range AS (
    SELECT min(event_ms) AS low, max(event_ms) AS high FROM usage
),
held AS (
    SELECT s.*, z.timezone
    FROM spans AS s
    SEMI JOIN level_steps AS l ON l.tenant_id = s.tenant_id AND l.customer_id = s.customer_id
    JOIN (SELECT DISTINCT definition, timezone FROM calendars) AS z ON z.definition = s.definition
),
midnights AS (
    SELECT d.timezone, d.on_day::DATE AS on_day, d.on_day - to_seconds(o.seconds) AS from_at
    FROM (
        SELECT timezone, on_day
        FROM (SELECT DISTINCT timezone FROM held), range,
            LATERAL (
                SELECT unnest(generate_series(
                    date_trunc('day', make_timestamp_ms(low)) - INTERVAL 3 DAY, make_timestamp_ms(high) + INTERVAL 4 DAY,
                    INTERVAL 1 DAY
                )) AS on_day
            )
    ) AS d
    ASOF JOIN offsets AS o ON o.timezone = d.timezone AND o.local_from <= d.on_day
),
-- Minutes after a midnight at which the clock shows the day before again: it was set back over midnight.
again AS (
    SELECT m.timezone, m.on_day, min(epoch_ms(m.moment)) AS from_ms, max(epoch_ms(m.moment)) + 60000 AS to_ms
    FROM (
        SELECT *, unnest(generate_series(from_at, from_at + INTERVAL 3 HOUR, INTERVAL 1 MINUTE)) AS moment FROM midnights
    ) AS m
    ASOF JOIN offsets AS o ON o.timezone = m.timezone AND o.from_at <= m.moment
    WHERE (m.moment + to_seconds(o.seconds))::DATE < m.on_day
    GROUP BY ALL
),
whole_days AS (
    SELECT
        m.timezone, m.on_day, epoch_ms(m.from_at) AS from_ms, a.from_ms AS again_from_ms, a.to_ms AS again_to_ms,
        epoch_ms(lead(m.from_at) OVER (PARTITION BY m.timezone ORDER BY m.on_day)) AS to_ms
    FROM midnights AS m
    LEFT JOIN again AS a ON a.timezone = m.timezone AND a.on_day = m.on_day
),
zone_days AS (
    SELECT timezone, on_day, from_ms, coalesce(again_from_ms, to_ms) AS to_ms FROM whole_days WHERE to_ms IS NOT NULL
    UNION ALL
    SELECT timezone, on_day, again_to_ms, to_ms FROM whole_days WHERE again_to_ms IS NOT NULL AND to_ms IS NOT NULL
    UNION ALL
    SELECT timezone, on_day - 1, again_from_ms, again_to_ms FROM whole_days WHERE again_from_ms IS NOT NULL
)
SELECT
    h.tenant_id, h.customer_id, 'day' AS grain, d.on_day, NULL::TIMESTAMPTZ AS start_at,
    greatest(d.from_ms, h.from_ms) AS from_ms, least(d.to_ms, h.to_ms) AS to_ms
FROM held AS h
JOIN zone_days AS d ON d.timezone = h.timezone AND d.from_ms < h.to_ms AND d.to_ms > h.from_ms
UNION ALL
SELECT
    h.tenant_id, h.customer_id, 'period', NULL, make_timestamptz(greatest(b.start_ms, h.from_ms) * 1000),
    greatest(b.start_ms, h.from_ms), least(b.end_ms, h.to_ms)
FROM held AS h
JOIN boundaries AS b ON b.definition = h.definition AND b.start_ms < h.to_ms AND b.end_ms > h.from_ms;

CREATE TABLE integrals AS
WITH last_event AS (
    SELECT max(event_ms) AS at_ms FROM usage
),
series AS (
    SELECT tenant_id, customer_id, meter, dims, min(from_ms) AS from_ms FROM level_steps GROUP BY ALL
),
-- Buckets wanted: those with a stretch that ends after the first change and begins no later than the last event.
wanted AS (
    SELECT DISTINCT s.tenant_id, s.customer_id, s.meter, s.dims, t.grain, t.on_day, t.start_at
    FROM series AS s
    CROSS JOIN last_event AS e
    JOIN stretches AS t ON t.tenant_id = s.tenant_id AND t.customer_id = s.customer_id
        AND t.to_ms > s.from_ms AND t.from_ms <= e.at_ms
),
lasted AS (
    SELECT
        w.tenant_id, w.customer_id, w.meter, w.dims, w.grain, w.on_day, w.start_at,
        sum(billionths(l.level) * (least(l.to_ms, t.to_ms) - greatest(l.from_ms, t.from_ms))::HUGEINT)::HUGEINT AS area
    FROM wanted AS w
    JOIN stretches AS t ON t.tenant_id = w.tenant_id AND t.customer_id = w.customer_id AND t.grain = w.grain
        AND t.on_day IS NOT DISTINCT FROM w.on_day AND t.start_at IS NOT DISTINCT FROM w.start_at
    JOIN level_steps AS l ON l.tenant_id = w.tenant_id AND l.customer_id = w.customer_id AND l.meter = w.meter
        AND l.dims = w.dims AND l.from_ms < t.to_ms AND l.to_ms > t.from_ms
    GROUP BY ALL
),
-- The newest version of a meter sets its time unit; a tenant's own meter comes before the common one.
per AS (
    SELECT s.tenant_id, s.meter, arg_max(m.per, (m.step, m.tenant_id IS NOT NULL)) AS per
    FROM (SELECT DISTINCT tenant_id, meter FROM series) AS s
    JOIN meters AS m ON m.meter = s.meter AND (m.tenant_id IS NULL OR m.tenant_id = s.tenant_id)
    GROUP BY ALL
),
changes AS (
    SELECT tenant_id, customer_id, meter, dims, 'day' AS grain, day AS on_day, NULL AS start_at, sum(samples)::BIGINT AS samples
    FROM usage WHERE aggregation = 'weighted_sum' AND part = '' GROUP BY ALL
    UNION ALL
    SELECT tenant_id, customer_id, meter, dims, 'period', NULL, period_start, sum(samples)::BIGINT
    FROM usage WHERE aggregation = 'weighted_sum' AND part = '' GROUP BY ALL
)
SELECT
    l.tenant_id, l.customer_id, l.meter, l.dims, l.grain, l.on_day, l.start_at,
    coalesce(c.samples, 0)::BIGINT                                                               AS samples,
    of_billionths(rounded_quotient(l.area, CASE p.per
        WHEN 'second' THEN 1000 WHEN 'minute' THEN 60000 WHEN 'hour' THEN 3600000 WHEN 'day' THEN 86400000
    END::HUGEINT))                                                                               AS value
FROM lasted AS l
JOIN per AS p ON p.tenant_id = l.tenant_id AND p.meter = l.meter
LEFT JOIN changes AS c ON c.tenant_id = l.tenant_id AND c.customer_id = l.customer_id AND c.meter = l.meter
    AND c.dims = l.dims AND c.grain = l.grain AND c.on_day IS NOT DISTINCT FROM l.on_day
    AND c.start_at IS NOT DISTINCT FROM l.start_at
-- A bucket without a change and without a level has no row.
WHERE c.samples IS NOT NULL OR l.area <> 0;
