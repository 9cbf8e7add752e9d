-- The ledger: closed periods that never change, corrections that say what changed, and the outbox that publishes both.

CREATE TABLE policy (
    singleton boolean  NOT NULL DEFAULT true PRIMARY KEY CHECK (singleton),
    grace     interval NOT NULL,
    counted   boolean  NOT NULL DEFAULT false
);
INSERT INTO policy (grace) VALUES (interval '48 hours');

COMMENT ON TABLE policy IS 'One row: the settings that the views need; written by `tidemark submit meter`, and before the first by `tidemark db migrate`.';
COMMENT ON COLUMN policy.singleton IS 'Always true: keeps the table to one row.';
COMMENT ON COLUMN policy.grace IS 'Latest arrival after event time that is counted: a period is final this long after its end.';
COMMENT ON COLUMN policy.counted IS 'Whether a job counts by it; from then on only another submit changes it.';

CREATE TABLE overlay (
    position     bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    replay_id    text        NOT NULL UNIQUE,
    usage_schema text        NOT NULL,
    tenants      text[],
    scope_start  timestamptz NOT NULL,
    scope_end    timestamptz,
    CONSTRAINT overlay_half_open CHECK (scope_end IS NULL OR scope_start < scope_end)
);

COMMENT ON TABLE overlay IS 'Promoted replays: inside its scope each one replaces the rollups below it; the views of this schema are made from it.';
COMMENT ON COLUMN overlay.position IS 'Order of promotion: the highest one applies.';
COMMENT ON COLUMN overlay.replay_id IS 'The replay.';
COMMENT ON COLUMN overlay.usage_schema IS 'Schema of its rollups.';
COMMENT ON COLUMN overlay.tenants IS 'Tenants it covers; null for all.';
COMMENT ON COLUMN overlay.scope_start IS 'First event time it covers.';
COMMENT ON COLUMN overlay.scope_end IS 'First event time after it; null: it runs on with the live stream.';

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
-- For queries about all customers in a range of time.
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
    is_current    boolean     NOT NULL DEFAULT true,
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
    CONSTRAINT correction_line_not_empty CHECK (before IS NOT NULL OR after IS NOT NULL)
);
CREATE INDEX correction_line_of_all ON correction_line (period_end);

CREATE TABLE outbox (
    seq        bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic      text        NOT NULL CHECK (topic IN ('closes', 'corrections')),
    key        text        NOT NULL,
    body       text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE outbox_position (
    topic text   NOT NULL PRIMARY KEY CHECK (topic IN ('closes', 'corrections')),
    seq   bigint NOT NULL CHECK (seq >= 0)
);
INSERT INTO outbox_position (topic, seq) VALUES ('closes', 0), ('corrections', 0);

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
COMMENT ON COLUMN period_close_line.n IS 'Measurements applied, voids too; 0 for a level that no event changed.';
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
COMMENT ON COLUMN correction.is_current IS 'Whether the period is current: false when a change of the calendar replaced it with other periods.';
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
COMMENT ON TABLE outbox IS 'Messages for Kafka, written in the transaction of the close or correction that they describe; never changed.';
COMMENT ON COLUMN outbox.seq IS 'Order of publishing; ascends with commits, because the writers of the ledger hold one lock.';
COMMENT ON COLUMN outbox.topic IS 'closes or corrections.';
COMMENT ON COLUMN outbox.key IS 'Key of the Kafka record.';
COMMENT ON COLUMN outbox.body IS 'Value of the Kafka record, JSON.';
COMMENT ON COLUMN outbox.created_at IS 'When it was written.';
COMMENT ON TABLE outbox_position IS 'How far the outbox is published, for a topic that no longer holds its last record.';
COMMENT ON COLUMN outbox_position.topic IS 'closes or corrections.';
COMMENT ON COLUMN outbox_position.seq IS 'Highest seq known to be committed in Kafka.';

CREATE TABLE close_progress (
    singleton boolean     NOT NULL DEFAULT true PRIMARY KEY CHECK (singleton),
    upto      timestamptz NOT NULL,
    -- The watermark of the last close: a watermark far ahead of it needs an approval.
    watermark timestamptz
);
INSERT INTO close_progress (upto) VALUES ('-infinity');

COMMENT ON TABLE close_progress IS 'One row: how far closed periods were checked for usage that arrived after their close.';
COMMENT ON COLUMN close_progress.singleton IS 'Always true: keeps the table to one row.';
COMMENT ON COLUMN close_progress.upto IS 'Rollups written earlier, by the clock of the database, are in the ledger; the next check starts a minute earlier.';
COMMENT ON COLUMN close_progress.watermark IS 'Arrival watermark of the last close; null before the first.';

CREATE TABLE close_alarm (
    since                 timestamptz NOT NULL PRIMARY KEY,
    evidence              jsonb       NOT NULL CHECK (jsonb_typeof(evidence) = 'object'),
    announced_at          timestamptz,
    resolved_at           timestamptz,
    resolved_announced_at timestamptz
);
-- One condition: it begins when a period waits for an approval, and ends when no period does.
CREATE UNIQUE INDEX close_alarm_running ON close_alarm ((true)) WHERE resolved_at IS NULL;

COMMENT ON TABLE close_alarm IS 'When due periods waited for an approval, and which alerts were sent about it.';
COMMENT ON COLUMN close_alarm.since IS 'When it began, by the clock of the database.';
COMMENT ON COLUMN close_alarm.evidence IS 'How many periods waited then, by cause, with a description of each cause.';
COMMENT ON COLUMN close_alarm.announced_at IS 'When the alert of its start was sent; null: not yet.';
COMMENT ON COLUMN close_alarm.resolved_at IS 'When no period waited any more; null while it lasts.';
COMMENT ON COLUMN close_alarm.resolved_announced_at IS 'When the alert of its end was sent; null: not yet.';
