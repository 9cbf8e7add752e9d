-- For finance: a few views that can be granted alone. Days are local days of the customer, values have no trailing
-- zeros. The relations they read are in the schema of the ledger, which is next in the search path.

CREATE VIEW invoice_line AS
SELECT tenant_id, customer_id, meter, first_day, last_day, time_zone, value, unit, status, corrections,
       correction_amount, final_at, changed_at, aggregation, period_start, period_end
FROM usage_current
WHERE final OR period_end <= now();

CREATE VIEW usage_current_period AS
SELECT tenant_id, customer_id, meter, first_day, last_day, time_zone, value, projected_value, unit, final_at,
       changed_at, aggregation, period_start, period_end
FROM usage_current
WHERE NOT final AND period_end > now();

CREATE VIEW usage_daily AS
SELECT u.tenant_id, u.customer_id, u.meter, u.day, coalesce(l.timezone, 'UTC') AS time_zone,
       trim_scale(u.value) AS value, u.unit, u.samples, u.aggregation, u.updated_at AS changed_at
FROM usage_day_total u
CROSS JOIN LATERAL (SELECT u.day::timestamp AT TIME ZONE 'UTC' AS at) d
LEFT JOIN catalog.customer c ON c.tenant_id = u.tenant_id AND c.customer_id = u.customer_id
    AND c.valid_from <= d.at AND c.valid_to > d.at
LEFT JOIN catalog.tenant t ON t.tenant_id = u.tenant_id AND t.valid_from <= d.at AND t.valid_to > d.at
LEFT JOIN catalog.calendar l ON l.calendar_id = coalesce(c.calendar_id, t.calendar_id)
    AND l.valid_from <= d.at AND l.valid_to > d.at;

CREATE VIEW usage_by_dimension AS
SELECT u.tenant_id, u.customer_id, u.meter, nullif(u.dims, '')::jsonb AS dims,
       (u.period_start AT TIME ZONE z.time_zone)::date AS first_day,
       ((u.period_end - interval '1 millisecond') AT TIME ZONE z.time_zone)::date AS last_day,
       z.time_zone, trim_scale(u.value) AS value, trim_scale(u.projected_value) AS projected_value, u.unit, u.status,
       u.final_at, u.aggregation, u.period_start, u.period_end
FROM usage_current_by_dims u
LEFT JOIN catalog.customer c ON c.tenant_id = u.tenant_id AND c.customer_id = u.customer_id
    AND c.valid_from <= u.period_start AND c.valid_to > u.period_start
LEFT JOIN catalog.tenant t ON t.tenant_id = u.tenant_id
    AND t.valid_from <= u.period_start AND t.valid_to > u.period_start
LEFT JOIN catalog.calendar l ON l.calendar_id = coalesce(c.calendar_id, t.calendar_id)
    AND l.valid_from <= u.period_start AND l.valid_to > u.period_start
CROSS JOIN LATERAL (SELECT coalesce(l.timezone, 'UTC') AS time_zone) z;

CREATE VIEW unmatched_void AS
SELECT v.tenant_id, v.customer_id, v.event_id, v.voids, v.why, v.event_at, v.source, r.finished_at AS found_at
FROM void_finding v
JOIN reconcile_run r ON r.id = v.reconcile_id;

COMMENT ON VIEW invoice_line IS 'Periods that have ended, a line per customer and meter over all dimensions: closed periods with their corrections, and periods that are not closed yet.';
COMMENT ON COLUMN invoice_line.status IS 'final; final, corrected; or an estimate and from when on it can be final.';
COMMENT ON COLUMN invoice_line.corrections IS 'Corrections since the close that changed this line; 0 for none.';
COMMENT ON COLUMN invoice_line.correction_amount IS 'What all corrections add to the value as it was closed; null for an estimate, and where several dimensions do not add up.';
COMMENT ON COLUMN invoice_line.final_at IS 'When it was closed; of an estimate: the earliest instant at which it can be.';
COMMENT ON VIEW usage_current_period IS 'The open period, per customer and meter over all dimensions: what has been used so far.';
COMMENT ON COLUMN usage_current_period.value IS 'Used so far, in its unit.';
COMMENT ON COLUMN usage_current_period.projected_value IS 'For levels (weighted_sum) only: the value of the period if the level stays as it is to its end.';
COMMENT ON COLUMN usage_current_period.final_at IS 'The earliest instant at which the period can be closed.';
COMMENT ON VIEW usage_daily IS 'Local days, per customer and meter over all dimensions; levels (weighted_sum) have periods only. Days are not closed: they may still change.';
COMMENT ON COLUMN usage_daily.day IS 'Local date of the customer.';
COMMENT ON COLUMN usage_daily.samples IS 'Measurements, less those taken back by voids.';
COMMENT ON VIEW usage_by_dimension IS 'Every period by the group-by values of its meter. Only lines of counts, sums and weighted sums add up: for a total of the others read invoice_line.';
COMMENT ON COLUMN usage_by_dimension.dims IS 'Group-by values by name, all of them text; null when the meter has none.';
COMMENT ON COLUMN usage_by_dimension.projected_value IS 'For a level (weighted_sum) in an open period: the value if the level stays as it is to the end.';
COMMENT ON COLUMN usage_by_dimension.status IS 'final; final, corrected; or an estimate and from when on it can be final.';
COMMENT ON COLUMN usage_by_dimension.final_at IS 'When it was closed; of an estimate: the earliest instant at which it can be.';
COMMENT ON VIEW unmatched_void IS 'Voids that cannot be matched: they name a void, an event that was never counted, or an event with other values. Found by `tidemark reconcile`; their amounts were subtracted.';
COMMENT ON COLUMN unmatched_void.event_id IS 'Id of the void.';
COMMENT ON COLUMN unmatched_void.voids IS 'Id that it takes back.';
COMMENT ON COLUMN unmatched_void.why IS 'void_of_a_void, no_original, or other_values.';
COMMENT ON COLUMN unmatched_void.event_at IS 'Event time of the void.';
COMMENT ON COLUMN unmatched_void.source IS 'Source of the void; empty when it has none.';
COMMENT ON COLUMN unmatched_void.found_at IS 'When the reconciliation that found it finished.';

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
            ('first_day', 'First local date of the period.'),
            ('last_day', 'Last local date of the period.'),
            ('time_zone', 'Time zone of the customer, in which its days are counted.'),
            ('value', 'What was used, in its unit: exact, but for averages (nine decimals) and percentiles (p50, at most 1 % off).'),
            ('unit', 'Unit of the value.'),
            ('aggregation', 'How the meter adds up.'),
            ('changed_at', 'When it was closed or last corrected; while it is not closed: when it was last written.'),
            ('period_start', 'First instant of the period.'),
            ('period_end', 'First instant after the period; indexed: filter by a range of it when a query covers all customers.')
        ) AS words (name, meaning) ON words.name = a.attname
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'v'
          -- A column with a comment of its own keeps it.
          AND col_description(c.oid, a.attnum) IS NULL
    LOOP
        EXECUTE format('COMMENT ON COLUMN %I.%I IS %L', target.relname, target.attname, target.meaning);
    END LOOP;
END
$$;
