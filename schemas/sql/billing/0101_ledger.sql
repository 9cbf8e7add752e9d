-- The ledger: closed periods that never change, corrections that say what changed, and what is still to be told of both.

CREATE TABLE policy (
    one   boolean  NOT NULL DEFAULT true PRIMARY KEY CHECK (one),
    grace interval NOT NULL
);
INSERT INTO policy (grace) VALUES (interval '48 hours');

COMMENT ON TABLE policy IS 'One row: what the views need of the settings; written by `tidemark db migrate`.';
COMMENT ON COLUMN policy.one IS 'Always true: keeps the table to one row.';
COMMENT ON COLUMN policy.grace IS 'Latest arrival after event time that is counted: a period is final this long after its end.';

CREATE TABLE layer (
    position     bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    replay_id    text        NOT NULL UNIQUE,
    usage_schema text        NOT NULL,
    tenants      text[],
    scope_start  timestamptz NOT NULL,
    scope_end    timestamptz,
    CONSTRAINT layer_half_open CHECK (scope_end IS NULL OR scope_start < scope_end)
);

COMMENT ON TABLE layer IS 'Promoted replays, whose rollups stand for those below where they reach; the views of this schema are made of it.';
COMMENT ON COLUMN layer.position IS 'Order of promotion: the highest stands for all below.';
COMMENT ON COLUMN layer.replay_id IS 'The replay.';
COMMENT ON COLUMN layer.usage_schema IS 'Schema of its rollups.';
COMMENT ON COLUMN layer.tenants IS 'Tenants it holds; null for all.';
COMMENT ON COLUMN layer.scope_start IS 'First event time it holds.';
COMMENT ON COLUMN layer.scope_end IS 'First event time after it; null: it runs on with the live stream.';

CREATE TABLE period_close (
    tenant_id        text        NOT NULL,
    customer_id      text        NOT NULL,
    period_start     timestamptz NOT NULL,
    period_end       timestamptz NOT NULL,
    closed_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_by        text        NOT NULL,
    run_id           text        NOT NULL,
    catalog_revision bigint      NOT NULL,
    watermark        timestamptz NOT NULL,
    rests_on         jsonb       NOT NULL CHECK (jsonb_typeof(rests_on) = 'object'),
    dead_letters     bigint      NOT NULL CHECK (dead_letters >= 0),
    lines            integer     NOT NULL CHECK (lines >= 0),
    content_hash     text        NOT NULL CHECK (content_hash ~ '^[0-9a-f]{64}$'),
    PRIMARY KEY (tenant_id, customer_id, period_start, period_end),
    CONSTRAINT period_close_half_open CHECK (period_start < period_end)
);
CREATE INDEX period_close_end ON period_close (tenant_id, customer_id, period_end DESC);
-- For questions about all customers in a range of time.
CREATE INDEX period_close_of_all ON period_close (period_end);

CREATE TABLE period_close_line (
    tenant_id    text           NOT NULL,
    customer_id  text           NOT NULL,
    period_start timestamptz    NOT NULL,
    period_end   timestamptz    NOT NULL,
    meter        text           NOT NULL,
    dims         text           NOT NULL,
    aggregation  text           NOT NULL,
    unit         text           NOT NULL,
    n            bigint         NOT NULL CHECK (n >= 0),
    samples      bigint         NOT NULL,
    value        numeric(38, 9) NOT NULL,
    PRIMARY KEY (tenant_id, customer_id, period_start, period_end, meter, dims),
    FOREIGN KEY (tenant_id, customer_id, period_start, period_end) REFERENCES period_close
);
CREATE INDEX period_close_line_of_all ON period_close_line (period_end);

CREATE TABLE correction (
    tenant_id     text        NOT NULL,
    customer_id   text        NOT NULL,
    period_start  timestamptz NOT NULL,
    period_end    timestamptz NOT NULL,
    correction_no integer     NOT NULL CHECK (correction_no > 0),
    cause         text        NOT NULL CHECK (cause IN ('late_events', 'void', 'catalog_change', 'replay', 'revert')),
    replay_id     text,
    stands        boolean     NOT NULL DEFAULT true,
    made_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    made_by       text        NOT NULL,
    run_id        text        NOT NULL,
    rests_on      jsonb       NOT NULL CHECK (jsonb_typeof(rests_on) = 'object'),
    content_hash  text        NOT NULL CHECK (content_hash ~ '^[0-9a-f]{64}$'),
    PRIMARY KEY (tenant_id, customer_id, period_start, period_end, correction_no),
    FOREIGN KEY (tenant_id, customer_id, period_start, period_end) REFERENCES period_close,
    CONSTRAINT correction_of_replay CHECK (cause NOT IN ('replay', 'revert') OR replay_id IS NOT NULL)
);

CREATE TABLE correction_line (
    tenant_id      text           NOT NULL,
    customer_id    text           NOT NULL,
    period_start   timestamptz    NOT NULL,
    period_end     timestamptz    NOT NULL,
    correction_no  integer        NOT NULL,
    meter          text           NOT NULL,
    dims           text           NOT NULL,
    aggregation    text           NOT NULL,
    unit           text           NOT NULL,
    before         numeric(38, 9),
    after          numeric(38, 9),
    delta          numeric(38, 9) NOT NULL,
    before_n       bigint         NOT NULL CHECK (before_n >= 0),
    after_n        bigint         NOT NULL CHECK (after_n >= 0),
    before_samples bigint         NOT NULL,
    after_samples  bigint         NOT NULL,
    PRIMARY KEY (tenant_id, customer_id, period_start, period_end, correction_no, meter, dims),
    FOREIGN KEY (tenant_id, customer_id, period_start, period_end, correction_no) REFERENCES correction,
    CONSTRAINT correction_line_delta CHECK (delta = coalesce(after, 0) - coalesce(before, 0)),
    CONSTRAINT correction_line_says_something CHECK (before IS NOT NULL OR after IS NOT NULL)
);
CREATE INDEX correction_line_of_all ON correction_line (period_end);

CREATE TABLE outbox (
    seq        bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic      text        NOT NULL CHECK (topic IN ('closes', 'corrections')),
    key        text        NOT NULL,
    body       text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE outbox_told (
    topic text   NOT NULL PRIMARY KEY CHECK (topic IN ('closes', 'corrections')),
    seq   bigint NOT NULL CHECK (seq >= 0)
);
INSERT INTO outbox_told (topic, seq) VALUES ('closes', 0), ('corrections', 0);

CREATE FUNCTION refuse_change() RETURNS trigger
    LANGUAGE plpgsql AS
$$
BEGIN
    RAISE EXCEPTION '% of % is refused: what was closed or corrected never changes; add a correction', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END;
$$;

COMMENT ON FUNCTION refuse_change() IS 'Keeps tables of the ledger append-only, for every user and tool.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON period_close FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON period_close_line FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON correction FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON correction_line FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON outbox FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON period_close FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON period_close_line FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON correction FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON correction_line FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON outbox FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

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
               l.value AS amount, false AS changed, false AS gone, 0 AS turn
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
    -- A line that the last record about it takes away is no more.
    HAVING NOT (array_agg(t.gone ORDER BY t.turn DESC))[1];
END;

CREATE VIEW usage_corrected AS SELECT * FROM usage_known_at('infinity');

CREATE VIEW period_standing AS
SELECT c.tenant_id, c.customer_id, c.period_start, c.period_end, c.closed_at,
       coalesce(last.stands, true)            AS stands,
       coalesce(last.correction_no, 0)        AS corrections,
       coalesce(last.content_hash, c.content_hash) AS content_hash,
       coalesce(last.made_at, c.closed_at)    AS changed_at
FROM period_close c
LEFT JOIN LATERAL (
    SELECT x.stands, x.correction_no, x.content_hash, x.made_at
    FROM correction x
    WHERE (x.tenant_id, x.customer_id, x.period_start, x.period_end)
        = (c.tenant_id, c.customer_id, c.period_start, c.period_end)
    ORDER BY x.correction_no DESC
    LIMIT 1
) last ON true;

-- Like usage_corrected, but a view down to the tables: who may read a view over it needs no rights on them.
CREATE VIEW usage_closed_line AS
SELECT tenant_id, customer_id, period_start, period_end, meter, dims,
       max(aggregation)                     AS aggregation,
       max(unit)                            AS unit,
       sum(amount) FILTER (WHERE turn = 0)  AS closed,
       sum(amount)                          AS value,
       count(*) FILTER (WHERE turn > 0)     AS corrections,
       -- A line that the last record about it takes away is no more.
       (array_agg(gone ORDER BY turn DESC))[1] AS gone
FROM (
    SELECT tenant_id, customer_id, period_start, period_end, meter, dims, aggregation, unit,
           value AS amount, false AS gone, 0 AS turn
    FROM period_close_line
    UNION ALL
    SELECT tenant_id, customer_id, period_start, period_end, meter, dims, aggregation, unit,
           delta, after IS NULL, correction_no
    FROM correction_line
) said
GROUP BY tenant_id, customer_id, period_start, period_end, meter, dims;

CREATE VIEW usage_closed_total AS
WITH total AS (
    SELECT tenant_id, customer_id, period_start, period_end, meter, aggregation, max(unit) AS unit,
           count(*) FILTER (WHERE NOT gone)     AS lines,
           max(corrections) > 0                 AS corrected,
           -- What lines add up to; of one line, and of the least and the greatest, the ledger says it as well.
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
JOIN period_standing s USING (tenant_id, customer_id, period_start, period_end)
-- Averages, latest and different values, and percentiles of several dimensions follow from no lines.
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
WHERE s.stands AND t.lines > 0;

-- What the rollups say of periods that are not closed. By their start: the end that a row knows may be an older one.
CREATE VIEW usage_open_total AS
SELECT k.tenant_id, k.customer_id, k.period_start, k.period_end, k.meter,
       t.aggregation, t.unit, t.samples, t.value, t.projected_value, t.updated_at,
       k.period_end + p.grace AS final_at
FROM (SELECT DISTINCT tenant_id, customer_id, meter, period_start, period_end FROM usage_period) k
CROSS JOIN policy p
-- Apart, so that the rows of one period are added up at a time, and none that are closed.
CROSS JOIN LATERAL (
    SELECT u.*
    FROM usage_total u
    WHERE u.tenant_id = k.tenant_id AND u.customer_id = k.customer_id AND u.meter = k.meter
      AND u.period_start = k.period_start AND u.period_end = k.period_end
    OFFSET 0
) t
WHERE NOT EXISTS (
    SELECT FROM period_standing s
    WHERE s.tenant_id = k.tenant_id AND s.customer_id = k.customer_id AND s.period_start = k.period_start AND s.stands
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
JOIN period_standing s USING (tenant_id, customer_id, period_start, period_end)
WHERE s.stands AND NOT u.gone
UNION ALL
SELECT v.tenant_id, v.customer_id, v.period_start, v.period_end, v.meter, v.dims, v.aggregation, v.unit, v.value,
       v.projected_value,
       false,
       'estimate, final at ' || to_char((v.period_end + p.grace) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
       v.period_end + p.grace
FROM usage_period_value v
CROSS JOIN policy p
WHERE NOT EXISTS (
    -- By its start: the end that the rollups know of a period may be an older one.
    SELECT FROM period_standing s
    WHERE (s.tenant_id, s.customer_id, s.period_start) = (v.tenant_id, v.customer_id, v.period_start) AND s.stands
);

COMMENT ON TABLE period_close IS 'Closed billing periods, one row a customer and period, also without usage; never changed.';
COMMENT ON COLUMN period_close.tenant_id IS 'Tenant of the customer.';
COMMENT ON COLUMN period_close.customer_id IS 'Customer whose period it is.';
COMMENT ON COLUMN period_close.period_start IS 'First instant of the period.';
COMMENT ON COLUMN period_close.period_end IS 'First instant after the period.';
COMMENT ON COLUMN period_close.closed_at IS 'When it was closed, by the clock of the database.';
COMMENT ON COLUMN period_close.closed_by IS 'Who or what closed it.';
COMMENT ON COLUMN period_close.run_id IS 'Run whose rollups it was read from; empty for the live run.';
COMMENT ON COLUMN period_close.catalog_revision IS 'Revision of the catalog at that time.';
COMMENT ON COLUMN period_close.watermark IS 'Arrival watermark it rests on: all that arrived earlier was applied. At least the end of the period and grace.';
COMMENT ON COLUMN period_close.rests_on IS 'Next offset by topic and partition: all records before were applied.';
COMMENT ON COLUMN period_close.dead_letters IS 'Dead letters of the customer in the period at that time.';
COMMENT ON COLUMN period_close.lines IS 'Lines it has.';
COMMENT ON COLUMN period_close.content_hash IS 'SHA-256 of the period and its lines, see docs/billing.md.';
COMMENT ON TABLE period_close_line IS 'What a closed period came to, a line per meter and dimensions; never changed.';
COMMENT ON COLUMN period_close_line.tenant_id IS 'Tenant of the customer.';
COMMENT ON COLUMN period_close_line.customer_id IS 'Customer whose period it is.';
COMMENT ON COLUMN period_close_line.period_start IS 'First instant of the period.';
COMMENT ON COLUMN period_close_line.period_end IS 'First instant after the period.';
COMMENT ON COLUMN period_close_line.meter IS 'Meter, as named in the catalog.';
COMMENT ON COLUMN period_close_line.dims IS 'Group-by values as canonical JSON; empty text when the meter has none.';
COMMENT ON COLUMN period_close_line.aggregation IS 'How the meter adds up.';
COMMENT ON COLUMN period_close_line.unit IS 'Unit of the value.';
COMMENT ON COLUMN period_close_line.n IS 'Measurements applied, voids too; 0 for a level that was only held.';
COMMENT ON COLUMN period_close_line.samples IS 'Measurements, less those taken back by voids.';
COMMENT ON COLUMN period_close_line.value IS 'The value of the meter in the period, exact (percentiles: p50, at most 1 % off).';
COMMENT ON TABLE correction IS 'Changes of closed periods, numbered per period; never changed.';
COMMENT ON COLUMN correction.tenant_id IS 'Tenant of the customer.';
COMMENT ON COLUMN correction.customer_id IS 'Customer whose period it is.';
COMMENT ON COLUMN correction.period_start IS 'First instant of the period.';
COMMENT ON COLUMN correction.period_end IS 'First instant after the period.';
COMMENT ON COLUMN correction.correction_no IS 'Number of the correction of this period: 1, 2, 3 without a gap.';
COMMENT ON COLUMN correction.cause IS 'late_events or void: counted after the close; catalog_change: other rules; replay: promoted; revert: taken back.';
COMMENT ON COLUMN correction.replay_id IS 'Replay that was promoted or reverted; null otherwise.';
COMMENT ON COLUMN correction.stands IS 'Whether the period still is one: false when another calendar puts others in its place.';
COMMENT ON COLUMN correction.made_at IS 'When, by the clock of the database.';
COMMENT ON COLUMN correction.made_by IS 'Who or what made it.';
COMMENT ON COLUMN correction.run_id IS 'Run whose rollups it follows; empty for the live run.';
COMMENT ON COLUMN correction.rests_on IS 'Next offset by topic and partition: all records before were applied.';
COMMENT ON COLUMN correction.content_hash IS 'SHA-256 of the period and its lines after it, see docs/billing.md.';
COMMENT ON TABLE correction_line IS 'What a correction changes, a line per meter and dimensions; never changed.';
COMMENT ON COLUMN correction_line.tenant_id IS 'Tenant of the customer.';
COMMENT ON COLUMN correction_line.customer_id IS 'Customer whose period it is.';
COMMENT ON COLUMN correction_line.period_start IS 'First instant of the period.';
COMMENT ON COLUMN correction_line.period_end IS 'First instant after the period.';
COMMENT ON COLUMN correction_line.correction_no IS 'The correction.';
COMMENT ON COLUMN correction_line.meter IS 'Meter, as named in the catalog.';
COMMENT ON COLUMN correction_line.dims IS 'Group-by values as canonical JSON; empty text when the meter has none.';
COMMENT ON COLUMN correction_line.aggregation IS 'How the meter adds up.';
COMMENT ON COLUMN correction_line.unit IS 'Unit of the values.';
COMMENT ON COLUMN correction_line.before IS 'Value before; null: there was no such line.';
COMMENT ON COLUMN correction_line.after IS 'Value after; null: there is no such line any more.';
COMMENT ON COLUMN correction_line.delta IS 'After less before, with 0 for null: close and deltas add up to the present value.';
COMMENT ON COLUMN correction_line.before_n IS 'Measurements applied before.';
COMMENT ON COLUMN correction_line.after_n IS 'Measurements applied after.';
COMMENT ON COLUMN correction_line.before_samples IS 'Samples before.';
COMMENT ON COLUMN correction_line.after_samples IS 'Samples after.';
COMMENT ON TABLE outbox IS 'What is to be told in Kafka, written with what it tells of; never changed.';
COMMENT ON COLUMN outbox.seq IS 'Order of telling; ascending with commits, because writers of the ledger take turns.';
COMMENT ON COLUMN outbox.topic IS 'closes or corrections.';
COMMENT ON COLUMN outbox.key IS 'Key of the Kafka record.';
COMMENT ON COLUMN outbox.body IS 'Value of the Kafka record, JSON.';
COMMENT ON COLUMN outbox.created_at IS 'When it was written.';
COMMENT ON TABLE outbox_told IS 'How far the outbox was told, for a topic that no longer holds its last record.';
COMMENT ON COLUMN outbox_told.topic IS 'closes or corrections.';
COMMENT ON COLUMN outbox_told.seq IS 'Highest seq known to be committed in Kafka.';
COMMENT ON VIEW usage_first_closed IS 'Closed periods as they were first closed.';
COMMENT ON FUNCTION usage_known_at(timestamptz) IS 'Closed periods with the closes and corrections that were known at an instant.';
COMMENT ON VIEW usage_corrected IS 'Closed periods with all corrections.';
COMMENT ON VIEW period_standing IS 'The present state of each closed period: whether it still is one, and the hash of its lines.';
COMMENT ON VIEW usage_closed_line IS 'Lines of closed periods with all corrections, those that a correction took away as well.';
COMMENT ON COLUMN usage_closed_line.closed IS 'The value as it was closed; null for a line that came later.';
COMMENT ON COLUMN usage_closed_line.corrections IS 'Corrections that changed it.';
COMMENT ON COLUMN usage_closed_line.gone IS 'Whether a correction took it away.';
COMMENT ON VIEW usage_closed_total IS 'Closed periods with all corrections, per customer and meter over all dimensions.';
COMMENT ON COLUMN usage_closed_total.corrections IS 'Corrections that changed it; 0 for none.';
COMMENT ON COLUMN usage_closed_total.correction_amount IS 'What all corrections add to the value as it was closed; null where several dimensions do not add up.';
COMMENT ON VIEW usage_open_total IS 'Periods that are not closed as the rollups have them so far, per customer and meter over all dimensions.';
COMMENT ON COLUMN usage_open_total.final_at IS 'The earliest instant at which the period can be closed.';
COMMENT ON VIEW usage_current IS 'What every period comes to now, per customer and meter over all dimensions: closed ones as corrected, open ones as an estimate that says when it is final.';
COMMENT ON COLUMN usage_current.corrections IS 'Corrections that changed it; 0 for none.';
COMMENT ON COLUMN usage_current.correction_amount IS 'What all corrections add to the value as it was closed; null for an estimate, and where several dimensions do not add up.';
COMMENT ON COLUMN usage_current.changed_at IS 'When it was closed or last corrected; of an estimate: when a row of it was last written.';
COMMENT ON VIEW usage_current_by_dims IS 'What every period comes to now, by dimensions: these add up for counts, sums and weighted sums alone.';
