-- For finance: a few views that can be granted without anything else. Days are local days of the customer, values have
-- no zeros at their end. What they read is found in the schema of the ledger, which is next in the search path.

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

COMMENT ON VIEW invoice_line IS 'Periods that have ended, a line per customer and meter over all dimensions: closed ones with their corrections, and those that wait for their close.';
COMMENT ON COLUMN invoice_line.status IS 'final; final, corrected; or an estimate and from when on it can be final.';
COMMENT ON COLUMN invoice_line.corrections IS 'Corrections since the close that changed this line; 0 for none.';
COMMENT ON COLUMN invoice_line.correction_amount IS 'What all corrections add to the value as it was closed; null for an estimate, and where several dimensions do not add up.';
COMMENT ON COLUMN invoice_line.final_at IS 'When it was closed; of an estimate: the earliest instant at which it can be.';
COMMENT ON VIEW usage_current_period IS 'The period that runs, per customer and meter over all dimensions: what has been used so far.';
COMMENT ON COLUMN usage_current_period.value IS 'Used so far, in its unit.';
COMMENT ON COLUMN usage_current_period.projected_value IS 'Of a level (weighted_sum) alone: what the period comes to if the level stays as it is to its end.';
COMMENT ON COLUMN usage_current_period.final_at IS 'The earliest instant at which the period can be closed.';
COMMENT ON VIEW usage_daily IS 'Local days, per customer and meter over all dimensions; levels (weighted_sum) have periods alone. Not closed: may still grow.';
COMMENT ON COLUMN usage_daily.day IS 'Local date of the customer.';
COMMENT ON COLUMN usage_daily.samples IS 'Measurements, less those taken back by voids.';
COMMENT ON VIEW usage_by_dimension IS 'Every period by the group-by values of its meter. Lines add up for counts, sums and weighted sums alone: for a total of the others read invoice_line.';
COMMENT ON COLUMN usage_by_dimension.dims IS 'Group-by values by name, all of them text; null when the meter has none.';
COMMENT ON COLUMN usage_by_dimension.projected_value IS 'Of a level (weighted_sum) in a period that runs: what it comes to if it stays as it is to the end.';
COMMENT ON COLUMN usage_by_dimension.status IS 'final; final, corrected; or an estimate and from when on it can be final.';
COMMENT ON COLUMN usage_by_dimension.final_at IS 'When it was closed; of an estimate: the earliest instant at which it can be.';
COMMENT ON VIEW unmatched_void IS 'Events that take back what cannot be taken back: a void, an event that was never counted, or one with other values. Found by `tidemark reconcile`; what they say was subtracted.';
COMMENT ON COLUMN unmatched_void.event_id IS 'Id of the void.';
COMMENT ON COLUMN unmatched_void.voids IS 'Id that it takes back.';
COMMENT ON COLUMN unmatched_void.why IS 'void_of_a_void, no_original, or other_values.';
COMMENT ON COLUMN unmatched_void.event_at IS 'Event time of the void.';
COMMENT ON COLUMN unmatched_void.source IS 'Source of the void; empty when it has none.';
COMMENT ON COLUMN unmatched_void.found_at IS 'When the reconciliation was done that found it.';

-- A column means the same in every view.
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT c.relname, a.attname, words.meaning
        FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        JOIN (VALUES
            ('tenant_id', 'Tenant that sent the usage.'),
            ('customer_id', 'Customer of the tenant whose usage it is.'),
            ('meter', 'Meter that measured it, as named in the catalog.'),
            ('first_day', 'First local date of the period.'),
            ('last_day', 'Last local date of the period.'),
            ('time_zone', 'Time zone of the customer, which its days are of.'),
            ('value', 'What was used, in its unit: exact, but for averages (nine decimals) and percentiles (p50, at most 1 % off).'),
            ('unit', 'Unit of the value.'),
            ('aggregation', 'How the meter adds up.'),
            ('changed_at', 'When it was closed or last corrected; of what is not closed: when it was last written.'),
            ('period_start', 'First instant of the period.'),
            ('period_end', 'First instant after the period; indexed: name a range of it to ask about all customers.')
        ) AS words (name, meaning) ON words.name = a.attname
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'v'
          -- One that says something of its own keeps it.
          AND col_description(c.oid, a.attnum) IS NULL
    LOOP
        EXECUTE format('COMMENT ON COLUMN %I.%I IS %L', one.relname, one.attname, one.meaning);
    END LOOP;
END
$$;
