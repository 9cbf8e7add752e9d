-- Reconciliation: runs of its checks, the drift they found, and figures of other systems that rollups are compared with.

CREATE TABLE reconcile_run (
    id            bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at    timestamptz NOT NULL,
    finished_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    checks        text[]      NOT NULL,
    checked       text[]      NOT NULL,
    tenant_id     text,
    share         numeric     NOT NULL DEFAULT 1 CHECK (share > 0 AND share <= 1),
    compared_from timestamptz,
    offsets       jsonb       NOT NULL CHECK (jsonb_typeof(offsets) = 'object'),
    outcome       jsonb       NOT NULL CHECK (jsonb_typeof(outcome) = 'object')
);

CREATE TABLE drift (
    id           bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reconcile_id bigint      NOT NULL REFERENCES reconcile_run,
    check_name   text        NOT NULL,
    tenant_id    text,
    customer_id  text,
    meter        text,
    subject      text        NOT NULL,
    bucket_at    timestamptz,
    expected     text,
    actual       text,
    delta        numeric,
    explained_at timestamptz,
    explained_by text,
    explanation  text,
    UNIQUE (reconcile_id, check_name, subject),
    CONSTRAINT drift_explained CHECK (
        (explained_at IS NULL) = (explained_by IS NULL) AND (explained_at IS NULL) = (explanation IS NULL)
    )
);
CREATE INDEX drift_of_tenant ON drift (tenant_id) WHERE explained_at IS NULL;
CREATE INDEX drift_subject ON drift (check_name, md5(subject));

CREATE TABLE reconcile_alarm (
    since                 timestamptz NOT NULL PRIMARY KEY,
    evidence              jsonb       NOT NULL CHECK (jsonb_typeof(evidence) = 'object'),
    announced_at          timestamptz,
    resolved_at           timestamptz,
    resolved_announced_at timestamptz
);
-- One condition: it begins when something is open, and ends when nothing is.
CREATE UNIQUE INDEX reconcile_alarm_running ON reconcile_alarm ((true)) WHERE resolved_at IS NULL;

CREATE TABLE producer_manifest (
    tenant_id    text           NOT NULL,
    source       text           NOT NULL DEFAULT '',
    hour_start   timestamptz    NOT NULL CHECK (date_bin('1 hour', hour_start, '1970-01-01 00:00:00+00') = hour_start),
    events       bigint         NOT NULL CHECK (events >= 0),
    quantity_sum numeric(38, 9),
    hash         text CHECK (hash ~ '^[0-9a-f]{32}$'),
    received_at  timestamptz    NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, source, hour_start)
);

CREATE TABLE invoiced (
    invoice_id   text           NOT NULL,
    tenant_id    text           NOT NULL,
    customer_id  text           NOT NULL,
    meter        text           NOT NULL,
    dims         text,
    period_start timestamptz    NOT NULL,
    period_end   timestamptz    NOT NULL,
    quantity     numeric(38, 9) NOT NULL,
    imported_at  timestamptz    NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT invoiced_half_open CHECK (period_start < period_end),
    CONSTRAINT invoiced_once
        UNIQUE NULLS NOT DISTINCT (invoice_id, tenant_id, customer_id, meter, dims, period_start, period_end)
);
CREATE INDEX invoiced_period ON invoiced (tenant_id, customer_id, period_start);

-- Not drift: the numbers follow from the events, but a void names something that cannot be taken back.
CREATE TABLE void_finding (
    tenant_id    text        NOT NULL,
    customer_id  text        NOT NULL,
    source       text        NOT NULL,
    event_id     text        NOT NULL,
    voids        text        NOT NULL,
    why          text        NOT NULL CHECK (why IN ('void_of_a_void', 'no_original', 'other_values')),
    event_at     timestamptz NOT NULL,
    reconcile_id bigint      NOT NULL REFERENCES reconcile_run,
    PRIMARY KEY (tenant_id, customer_id, source, voids)
);

CREATE VIEW drift_open AS
SELECT d.id, d.reconcile_id, d.check_name, d.tenant_id, d.customer_id, d.meter, d.subject, d.bucket_at, d.expected,
       d.actual, d.delta, r.finished_at AS found_at
FROM drift d
JOIN reconcile_run r ON r.id = d.reconcile_id
WHERE d.explained_at IS NULL
  -- A later run of the same check replaces it: the difference is then in a row of that run, or gone.
  AND NOT EXISTS (
      SELECT FROM reconcile_run later
      WHERE later.id > r.id
        AND d.check_name = ANY (later.checked)
        AND (later.tenant_id IS NULL OR later.tenant_id = d.tenant_id)
        AND later.share >= r.share
        AND (d.bucket_at IS NULL OR later.compared_from IS NULL OR d.bucket_at >= later.compared_from)
  );

COMMENT ON TABLE reconcile_run IS 'Runs of `tidemark reconcile run`, one row each when it is done.';
COMMENT ON COLUMN reconcile_run.id IS 'Number of the run, ascending.';
COMMENT ON COLUMN reconcile_run.started_at IS 'When it started, by the clock of the database.';
COMMENT ON COLUMN reconcile_run.finished_at IS 'When it was stored, by the clock of the database.';
COMMENT ON COLUMN reconcile_run.checks IS 'Checks that were requested.';
COMMENT ON COLUMN reconcile_run.checked IS 'Checks that came to a result.';
COMMENT ON COLUMN reconcile_run.tenant_id IS 'The tenant that was checked; null for all.';
COMMENT ON COLUMN reconcile_run.share IS 'Share of the customers that was checked, by hash: a greater share contains a smaller one.';
COMMENT ON COLUMN reconcile_run.compared_from IS 'First event time that was compared with the source; null for all.';
COMMENT ON COLUMN reconcile_run.offsets IS 'Next offset by source topic and partition: all records before were compared; and of the topics of deltas and dead letters, when the run started.';
COMMENT ON COLUMN reconcile_run.outcome IS 'By check: what was compared, how much differed, how much was still moving, or why it was not checked.';
COMMENT ON TABLE drift IS 'Differences that a run of the checks found; a row changes only by an explanation.';
COMMENT ON COLUMN drift.id IS 'Number of the difference, for `tidemark reconcile explain-drift`.';
COMMENT ON COLUMN drift.reconcile_id IS 'Run that found it.';
COMMENT ON COLUMN drift.check_name IS 'Check that found it.';
COMMENT ON COLUMN drift.tenant_id IS 'Tenant it concerns; null when it concerns all, as a partition does.';
COMMENT ON COLUMN drift.customer_id IS 'Customer it concerns; null when it is not about one.';
COMMENT ON COLUMN drift.meter IS 'Meter it concerns; null when it is not about one.';
COMMENT ON COLUMN drift.subject IS 'What differs, as JSON: every column that names it.';
COMMENT ON COLUMN drift.bucket_at IS 'First instant of the bucket that differs; null when it is in no bucket.';
COMMENT ON COLUMN drift.expected IS 'What it should be, as text; null when it should not be there.';
COMMENT ON COLUMN drift.actual IS 'What it is, as text; null when it is missing.';
COMMENT ON COLUMN drift.delta IS 'Actual less expected, of the total or count; null when it is no number.';
COMMENT ON COLUMN drift.explained_at IS 'When a person explained it; null until then.';
COMMENT ON COLUMN drift.explained_by IS 'Who explained it.';
COMMENT ON COLUMN drift.explanation IS 'Why it is so; carried on while the same difference is found again.';
COMMENT ON TABLE reconcile_alarm IS 'When there was unexplained drift, and which alerts were sent about it.';
COMMENT ON COLUMN reconcile_alarm.since IS 'When it started.';
COMMENT ON COLUMN reconcile_alarm.evidence IS 'Figures at its start.';
COMMENT ON COLUMN reconcile_alarm.announced_at IS 'When the alert of its start was sent; null until then.';
COMMENT ON COLUMN reconcile_alarm.resolved_at IS 'When nothing was open any more; null while it lasts.';
COMMENT ON COLUMN reconcile_alarm.resolved_announced_at IS 'When the alert of its end was sent; null until then.';
COMMENT ON TABLE producer_manifest IS 'What producers report to have sent, by tenant, source and hour of event time.';
COMMENT ON COLUMN producer_manifest.tenant_id IS 'Tenant the events name.';
COMMENT ON COLUMN producer_manifest.source IS 'Source the events name; empty for events without one.';
COMMENT ON COLUMN producer_manifest.hour_start IS 'Hour of event time, UTC.';
COMMENT ON COLUMN producer_manifest.events IS 'Different events sent, each id once.';
COMMENT ON COLUMN producer_manifest.quantity_sum IS 'Sum of their quantities, 1 where absent, voids negative; null when the producer does not report it.';
COMMENT ON COLUMN producer_manifest.hash IS 'XOR of the hashes of their ids, see docs/reconcile.md; null when the producer does not report it.';
COMMENT ON COLUMN producer_manifest.received_at IS 'When it was imported last.';
COMMENT ON TABLE invoiced IS 'Quantities of invoices, imported from the billing system.';
COMMENT ON COLUMN invoiced.invoice_id IS 'Invoice or credit note; all lines of a period add up.';
COMMENT ON COLUMN invoiced.tenant_id IS 'Tenant of the customer.';
COMMENT ON COLUMN invoiced.customer_id IS 'Customer that was invoiced.';
COMMENT ON COLUMN invoiced.meter IS 'Meter, as named in the catalog.';
COMMENT ON COLUMN invoiced.dims IS 'Group-by values as canonical JSON, empty for none; null: over all of them.';
COMMENT ON COLUMN invoiced.period_start IS 'First instant of the period.';
COMMENT ON COLUMN invoiced.period_end IS 'First instant after the period.';
COMMENT ON COLUMN invoiced.quantity IS 'What was invoiced, in the unit of the meter; negative for a credit note.';
COMMENT ON COLUMN invoiced.imported_at IS 'When it was imported last.';
COMMENT ON TABLE void_finding IS 'Voids that match no counted event, as of the last reconciliation; their amounts were subtracted nevertheless.';
COMMENT ON COLUMN void_finding.tenant_id IS 'Tenant of the customer.';
COMMENT ON COLUMN void_finding.customer_id IS 'Customer of the void.';
COMMENT ON COLUMN void_finding.source IS 'Source of the void; empty when it has none.';
COMMENT ON COLUMN void_finding.event_id IS 'Id of the void.';
COMMENT ON COLUMN void_finding.voids IS 'Id that it takes back.';
COMMENT ON COLUMN void_finding.why IS 'void_of_a_void, no_original (the event was not counted) or other_values.';
COMMENT ON COLUMN void_finding.event_at IS 'Event time of the void.';
COMMENT ON COLUMN void_finding.reconcile_id IS 'Run that found it.';
COMMENT ON VIEW drift_open IS 'Open differences: unexplained, and not checked again by a later run of the same check.';
COMMENT ON COLUMN drift_open.id IS 'Number of the difference.';
COMMENT ON COLUMN drift_open.reconcile_id IS 'Run that found it.';
COMMENT ON COLUMN drift_open.check_name IS 'Check that found it.';
COMMENT ON COLUMN drift_open.tenant_id IS 'Tenant it concerns; null when it concerns all.';
COMMENT ON COLUMN drift_open.customer_id IS 'Customer it concerns; null when it is not about one.';
COMMENT ON COLUMN drift_open.meter IS 'Meter it concerns; null when it is not about one.';
COMMENT ON COLUMN drift_open.subject IS 'What differs, as JSON.';
COMMENT ON COLUMN drift_open.bucket_at IS 'First instant of the bucket that differs; null when it is in no bucket.';
COMMENT ON COLUMN drift_open.expected IS 'What it should be.';
COMMENT ON COLUMN drift_open.actual IS 'What it is.';
COMMENT ON COLUMN drift_open.delta IS 'Actual less expected.';
COMMENT ON COLUMN drift_open.found_at IS 'When the run that found it finished.';
