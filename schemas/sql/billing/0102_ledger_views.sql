-- What finance and the tools read of the ledger: closed periods with their corrections, and estimates of open ones.

CREATE VIEW usage_first_closed AS
SELECT l.*, c.closed_at
FROM period_close_line l
JOIN period_close c USING (tenant_id, customer_id, period_start, period_end);

CREATE FUNCTION usage_known_at(moment timestamptz)
    RETURNS TABLE (
        tenant_id text, customer_id text, period_start timestamptz, period_end timestamptz, meter text, dims text,
        aggregation text, unit text, value numeric, corrections bigint
    )
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT t.tenant_id, t.customer_id, t.period_start, t.period_end, t.meter, t.dims,
           max(t.aggregation), max(t.unit), sum(t.amount), count(*) FILTER (WHERE t.changed)
    FROM (
        SELECT l.tenant_id, l.customer_id, l.period_start, l.period_end, l.meter, l.dims, l.aggregation, l.unit,
               l.value AS amount, false AS changed, false AS gone, 0 AS correction_no
        FROM period_close_line l
        JOIN period_close c USING (tenant_id, customer_id, period_start, period_end)
        WHERE c.closed_at <= moment
        UNION ALL
        SELECT l.tenant_id, l.customer_id, l.period_start, l.period_end, l.meter, l.dims, l.aggregation, l.unit,
               l.delta, true, l.after IS NULL, l.correction_no
        FROM correction_line l
        JOIN correction c USING (tenant_id, customer_id, period_start, period_end, correction_no)
        WHERE c.made_at <= moment
    ) t
    GROUP BY t.tenant_id, t.customer_id, t.period_start, t.period_end, t.meter, t.dims
    -- A line that its last correction removed does not exist any more.
    HAVING NOT (array_agg(t.gone ORDER BY t.correction_no DESC))[1];
END;

CREATE VIEW usage_corrected AS SELECT * FROM usage_known_at('infinity');

CREATE VIEW period_status AS
SELECT c.tenant_id, c.customer_id, c.period_start, c.period_end, c.closed_at,
       coalesce(last.is_current, true)        AS is_current,
       coalesce(last.correction_no, 0)        AS corrections,
       coalesce(last.content_hash, c.content_hash) AS content_hash,
       coalesce(last.made_at, c.closed_at)    AS changed_at
FROM period_close c
LEFT JOIN LATERAL (
    SELECT x.is_current, x.correction_no, x.content_hash, x.made_at
    FROM correction x
    WHERE (x.tenant_id, x.customer_id, x.period_start, x.period_end)
        = (c.tenant_id, c.customer_id, c.period_start, c.period_end)
    ORDER BY x.correction_no DESC
    LIMIT 1
) last ON true;

-- Like usage_corrected, but a plain view: whoever may read a view over it needs no rights on the tables.
CREATE VIEW usage_closed_line AS
SELECT tenant_id, customer_id, period_start, period_end, meter, dims,
       max(aggregation)                              AS aggregation,
       max(unit)                                     AS unit,
       sum(amount) FILTER (WHERE correction_no = 0)  AS closed,
       sum(amount)                                   AS value,
       count(*) FILTER (WHERE correction_no > 0)     AS corrections,
       -- A line that its last correction removed does not exist any more.
       (array_agg(gone ORDER BY correction_no DESC))[1] AS gone
FROM (
    SELECT tenant_id, customer_id, period_start, period_end, meter, dims, aggregation, unit,
           value AS amount, false AS gone, 0 AS correction_no
    FROM period_close_line
    UNION ALL
    SELECT tenant_id, customer_id, period_start, period_end, meter, dims, aggregation, unit,
           delta, after IS NULL, correction_no
    FROM correction_line
) history
GROUP BY tenant_id, customer_id, period_start, period_end, meter, dims;

CREATE VIEW usage_closed_total AS
WITH total AS (
    SELECT tenant_id, customer_id, period_start, period_end, meter, aggregation, max(unit) AS unit,
           count(*) FILTER (WHERE NOT gone)     AS lines,
           max(corrections) > 0                 AS corrected,
           -- The ledger alone gives the total where lines add up, for min and max, and where there is one line.
           CASE
               WHEN aggregation IN ('count', 'sum', 'weighted_sum') OR count(*) = 1
                                           THEN sum(value) FILTER (WHERE NOT gone)
               WHEN aggregation = 'min'    THEN min(value) FILTER (WHERE NOT gone)
               WHEN aggregation = 'max'    THEN max(value) FILTER (WHERE NOT gone)
           END AS value,
           CASE
               WHEN aggregation IN ('count', 'sum', 'weighted_sum') OR count(*) = 1 THEN sum(closed)
               WHEN aggregation = 'min'    THEN min(closed)
               WHEN aggregation = 'max'    THEN max(closed)
           END AS closed,
           aggregation IN ('count', 'sum', 'weighted_sum', 'min', 'max') OR count(*) = 1 AS of_ledger
    FROM usage_closed_line
    GROUP BY tenant_id, customer_id, period_start, period_end, meter, aggregation
)
SELECT t.tenant_id, t.customer_id, t.period_start, t.period_end, t.meter, t.aggregation, t.unit,
       CASE WHEN t.of_ledger THEN t.value ELSE r.value END AS value,
       n.corrections,
       CASE
           WHEN NOT t.corrected   THEN 0
           WHEN t.of_ledger       THEN t.value - coalesce(t.closed, 0)
       END AS correction_amount,
       s.closed_at,
       s.changed_at
FROM total t
JOIN period_status s USING (tenant_id, customer_id, period_start, period_end)
-- Averages, latest values, distinct counts and percentiles over several dimensions do not follow from the lines.
LEFT JOIN LATERAL (
    SELECT u.value
    FROM usage_total u
    WHERE NOT t.of_ledger
      AND u.tenant_id = t.tenant_id AND u.customer_id = t.customer_id AND u.meter = t.meter
      AND u.period_start = t.period_start
    OFFSET 0
) r ON true
CROSS JOIN LATERAL (
    SELECT count(DISTINCT c.correction_no) AS corrections
    FROM correction_line c
    WHERE t.corrected
      AND (c.tenant_id, c.customer_id, c.period_start, c.period_end, c.meter)
        = (t.tenant_id, t.customer_id, t.period_start, t.period_end, t.meter)
) n
WHERE s.is_current AND t.lines > 0;

-- Open periods, from the rollups. Matched by their start: the end in a row may be that of an older calendar.
CREATE VIEW usage_open_total AS
SELECT k.tenant_id, k.customer_id, k.period_start, k.period_end, k.meter,
       t.aggregation, t.unit, t.samples, t.value, t.projected_value, t.updated_at,
       k.period_end + p.grace AS final_at
FROM (SELECT DISTINCT tenant_id, customer_id, meter, period_start, period_end FROM usage_period) k
CROSS JOIN policy p
-- A lateral query, so that only rows of open periods are added up, one period at a time.
CROSS JOIN LATERAL (
    SELECT u.*
    FROM usage_total u
    WHERE u.tenant_id = k.tenant_id AND u.customer_id = k.customer_id AND u.meter = k.meter
      AND u.period_start = k.period_start AND u.period_end = k.period_end
    OFFSET 0
) t
WHERE NOT EXISTS (
    SELECT FROM period_status s
    WHERE s.tenant_id = k.tenant_id AND s.customer_id = k.customer_id AND s.period_start = k.period_start AND s.is_current
);

CREATE VIEW usage_current AS
SELECT u.tenant_id, u.customer_id, u.period_start, u.period_end, u.meter, u.aggregation, u.unit,
       trim_scale(u.value)           AS value,
       trim_scale(u.projected_value) AS projected_value,
       u.final, u.status, u.final_at, u.corrections,
       trim_scale(u.correction_amount) AS correction_amount,
       u.changed_at,
       z.time_zone,
       (u.period_start AT TIME ZONE z.time_zone)::date AS first_day,
       ((u.period_end - interval '1 millisecond') AT TIME ZONE z.time_zone)::date AS last_day
FROM (
    SELECT tenant_id, customer_id, period_start, period_end, meter, aggregation, unit, value,
           NULL::numeric                              AS projected_value,
           true                                       AS final,
           CASE corrections WHEN 0 THEN 'final' ELSE 'final, corrected' END AS status,
           closed_at                                  AS final_at,
           corrections, correction_amount, changed_at
    FROM usage_closed_total
    UNION ALL
    SELECT tenant_id, customer_id, period_start, period_end, meter, aggregation, unit, value, projected_value,
           false,
           'estimate, final at ' || to_char(final_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
           final_at, 0, NULL, updated_at
    FROM usage_open_total
) u
LEFT JOIN catalog.customer c ON c.tenant_id = u.tenant_id AND c.customer_id = u.customer_id
    AND c.valid_from <= u.period_start AND c.valid_to > u.period_start
LEFT JOIN catalog.tenant t ON t.tenant_id = u.tenant_id
    AND t.valid_from <= u.period_start AND t.valid_to > u.period_start
LEFT JOIN catalog.calendar l ON l.calendar_id = coalesce(c.calendar_id, t.calendar_id)
    AND l.valid_from <= u.period_start AND l.valid_to > u.period_start
CROSS JOIN LATERAL (SELECT coalesce(l.timezone, 'UTC') AS time_zone) z;

CREATE VIEW usage_current_by_dims AS
SELECT u.tenant_id, u.customer_id, u.period_start, u.period_end, u.meter, u.dims, u.aggregation, u.unit, u.value,
       NULL::numeric                              AS projected_value,
       true                                       AS final,
       CASE u.corrections WHEN 0 THEN 'final' ELSE 'final, corrected' END AS status,
       s.closed_at                                AS final_at
FROM usage_closed_line u
JOIN period_status s USING (tenant_id, customer_id, period_start, period_end)
WHERE s.is_current AND NOT u.gone
UNION ALL
SELECT v.tenant_id, v.customer_id, v.period_start, v.period_end, v.meter, v.dims, v.aggregation, v.unit, v.value,
       v.projected_value,
       false,
       'estimate, final at ' || to_char((v.period_end + p.grace) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
       v.period_end + p.grace
FROM usage_period_value v
CROSS JOIN policy p
WHERE NOT EXISTS (
    -- Matched by its start: the end in the rollups may be that of an older calendar.
    SELECT FROM period_status s
    WHERE (s.tenant_id, s.customer_id, s.period_start) = (v.tenant_id, v.customer_id, v.period_start) AND s.is_current
);

COMMENT ON VIEW usage_first_closed IS 'Closed periods as they were first closed.';
COMMENT ON FUNCTION usage_known_at(timestamptz) IS 'Closed periods with the closes and corrections that were known at an instant.';
COMMENT ON VIEW usage_corrected IS 'Closed periods with all corrections.';
COMMENT ON VIEW period_status IS 'The present state of each closed period: whether it is current, and the hash of its lines.';
COMMENT ON VIEW usage_closed_line IS 'Lines of closed periods with all corrections, including lines that a correction removed.';
COMMENT ON COLUMN usage_closed_line.closed IS 'The value as it was closed; null for a line that came later.';
COMMENT ON COLUMN usage_closed_line.corrections IS 'Corrections that changed it.';
COMMENT ON COLUMN usage_closed_line.gone IS 'Whether a correction removed it.';
COMMENT ON VIEW usage_closed_total IS 'Closed periods with all corrections, per customer and meter over all dimensions.';
COMMENT ON COLUMN usage_closed_total.corrections IS 'Corrections that changed it; 0 for none.';
COMMENT ON COLUMN usage_closed_total.correction_amount IS 'What all corrections add to the value as it was closed; null where several dimensions do not add up.';
COMMENT ON VIEW usage_open_total IS 'Open periods, from the rollups so far, per customer and meter over all dimensions.';
COMMENT ON COLUMN usage_open_total.final_at IS 'The earliest instant at which the period can be closed.';
COMMENT ON VIEW usage_current IS 'What every period comes to now, per customer and meter over all dimensions: closed ones as corrected, open ones as an estimate that says when it is final.';
COMMENT ON COLUMN usage_current.corrections IS 'Corrections that changed it; 0 for none.';
COMMENT ON COLUMN usage_current.correction_amount IS 'What all corrections add to the value as it was closed; null for an estimate, and where several dimensions do not add up.';
COMMENT ON COLUMN usage_current.changed_at IS 'When it was closed or last corrected; of an estimate: when a row of it was last written.';
COMMENT ON VIEW usage_current_by_dims IS 'What every period comes to now, by dimensions: these add up for counts, sums and weighted sums alone.';
COMMENT ON VIEW usage_minute IS 'Usage per series and minute, of the live run and, inside their scope, of promoted replays.';
COMMENT ON VIEW usage_hour IS 'Usage per series and hour, of the live run and, inside their scope, of promoted replays.';
COMMENT ON VIEW usage_day IS 'Usage per series and local day, of the live run and, inside their scope, of promoted replays.';
COMMENT ON VIEW usage_period IS 'Usage per series and billing period, of the live run and, inside their scope, of promoted replays.';

-- A column means the same in every view.
DO $$
DECLARE
    target record;
BEGIN
    FOR target IN
        SELECT c.relname, a.attname, words.meaning
        FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        JOIN (VALUES
            ('tenant_id', 'Tenant that sent the usage.'),
            ('customer_id', 'Customer of the tenant whose usage it is.'),
            ('meter', 'Meter that measured it, as named in the catalog.'),
            ('dims', 'Group-by values as canonical JSON with sorted keys; empty text when the meter has none.'),
            ('part', 'Which component of the aggregation the row holds; empty when there is only one.'),
            ('minute_start', 'Start of the minute of event time, UTC; the minute is half-open.'),
            ('hour_start', 'Start of the hour of event time, UTC; the hour is half-open.'),
            ('day', 'Calendar day of the event time in the time zone of the customer.'),
            ('period_start', 'First instant of the billing period of the customer.'),
            ('period_end', 'First instant after the billing period.'),
            ('n', 'Measurements applied, voids too. Not a billable count.'),
            ('samples', 'Measurements, less those taken back by voids.'),
            ('total', 'Sum of the measured amounts, exact, in the unit of the meter.'),
            ('lo', 'Smallest measured amount, in the unit of the meter.'),
            ('hi', 'Largest measured amount, in the unit of the meter.'),
            ('latest', 'Event time (21 digits of ns), source, event id and value of the latest event, U+001F between them; latest meters only.'),
            ('updated_at', 'When the row was last written, by the clock of the database.'),
            ('aggregation', 'How the meter adds up.'),
            ('unit', 'Unit of the value.'),
            ('value', 'The value of the meter in the period; so far, while the period is open.'),
            ('projected_value', 'For weighted sums of open periods: the value if the level stays as it is to the end; else null.'),
            ('time_zone', 'Time zone of the customer, by the calendar it had when the period began.'),
            ('first_day', 'Local date of the first instant of the period.'),
            ('last_day', 'Local date of the last instant of the period.'),
            ('closed_at', 'When the period was closed, by the clock of the database.'),
            ('corrections', 'Corrections so far.'),
            ('is_current', 'Whether the period is current: false when a change of the calendar replaced it with other periods.'),
            ('content_hash', 'SHA-256 of the period and its present lines, see docs/billing.md.'),
            ('changed_at', 'When it was closed or last corrected.'),
            ('final', 'Whether the period is closed: the value changes only by a correction.'),
            ('status', 'The same as text: final; final, corrected; or an estimate and when it can be final.'),
            ('final_at', 'When it was closed; of an estimate: the earliest instant at which it can be.')
        ) AS words (name, meaning) ON words.name = a.attname
        WHERE c.relnamespace = current_schema()::regnamespace
          -- A column with a comment of its own keeps it.
          AND col_description(c.oid, a.attnum) IS NULL
          AND c.relname IN (
              'usage_minute', 'usage_hour', 'usage_day', 'usage_period', 'usage_first_closed', 'usage_corrected',
              'period_status', 'usage_closed_line', 'usage_closed_total', 'usage_open_total', 'usage_current', 'usage_current_by_dims'
          )
    LOOP
        EXECUTE format('COMMENT ON COLUMN %I.%I IS %L', target.relname, target.attname, target.meaning);
    END LOOP;
END
$$;
