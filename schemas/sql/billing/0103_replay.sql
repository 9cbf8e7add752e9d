-- Replays: what each one rebuilds, how far it has come, and what was decided about it.

CREATE TABLE replay (
    replay_id     text        NOT NULL PRIMARY KEY CHECK (replay_id ~ '^[a-z][a-z0-9_]{0,21}$'),
    state         text        NOT NULL CHECK (state IN ('running', 'caught_up', 'promoted', 'reverted', 'discarded')),
    scope_start   timestamptz NOT NULL,
    scope_end     timestamptz,
    tenants       text[],
    from_archive  boolean     NOT NULL DEFAULT false,
    events_topic  text        NOT NULL,
    catalog_at    timestamptz,
    events_per_s  integer     NOT NULL DEFAULT 0 CHECK (events_per_s >= 0),
    read_from     timestamptz,
    late_until    timestamptz NOT NULL,
    starts        jsonb       NOT NULL,
    target        jsonb       NOT NULL,
    reached       jsonb,
    watermark     timestamptz,
    started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_by    text        NOT NULL,
    caught_up_at  timestamptz,
    CONSTRAINT replay_half_open CHECK (scope_end IS NULL OR scope_start < scope_end)
);

CREATE TABLE replay_decision (
    id        bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    replay_id text        NOT NULL REFERENCES replay,
    decision  text        NOT NULL CHECK (decision IN ('promote', 'revert', 'discard')),
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    by        text        NOT NULL,
    closes    integer     NOT NULL DEFAULT 0 CHECK (closes >= 0),
    corrections integer   NOT NULL DEFAULT 0 CHECK (corrections >= 0)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON replay_decision FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON replay_decision FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

COMMENT ON TABLE replay IS 'Replays of this run, discarded ones too.';
COMMENT ON COLUMN replay.replay_id IS 'Name of the replay, and of its run.';
COMMENT ON COLUMN replay.state IS 'running: rebuilding; caught_up: has applied its target, and follows the live stream if its scope is open; promoted, reverted: see replay_decision; discarded: nothing of it is left.';
COMMENT ON COLUMN replay.scope_start IS 'First event time it covers when promoted.';
COMMENT ON COLUMN replay.scope_end IS 'First event time after it; null: it runs on with the live stream.';
COMMENT ON COLUMN replay.tenants IS 'Tenants it rebuilds; null for all.';
COMMENT ON COLUMN replay.from_archive IS 'Whether its events come from the archive.';
COMMENT ON COLUMN replay.events_topic IS 'Topic it reads.';
COMMENT ON COLUMN replay.catalog_at IS 'It measures by the catalog as it was known at this instant; null: the present catalog.';
COMMENT ON COLUMN replay.events_per_s IS 'Most events a second it reads; 0: no bound.';
COMMENT ON COLUMN replay.read_from IS 'Arrival from which it reads; null: from the first record. Earlier than its scope, so that duplicates are known.';
COMMENT ON COLUMN replay.late_until IS 'Events that arrived before this instant are not too late for it.';
COMMENT ON COLUMN replay.starts IS 'Offsets it started at, by topic and partition.';
COMMENT ON COLUMN replay.target IS 'Offsets it has to apply, by topic and partition, to be caught up.';
COMMENT ON COLUMN replay.reached IS 'Offsets it had applied when it was caught up, by topic and partition.';
COMMENT ON COLUMN replay.watermark IS 'Arrival watermark of its rollups when it was caught up.';
COMMENT ON COLUMN replay.started_at IS 'When it was started, by the clock of the database.';
COMMENT ON COLUMN replay.started_by IS 'Who started it.';
COMMENT ON COLUMN replay.caught_up_at IS 'When it was caught up.';
COMMENT ON TABLE replay_decision IS 'What was decided about replays; never changed.';
COMMENT ON COLUMN replay_decision.id IS 'Order of decisions.';
COMMENT ON COLUMN replay_decision.replay_id IS 'The replay.';
COMMENT ON COLUMN replay_decision.decision IS 'promote, revert or discard.';
COMMENT ON COLUMN replay_decision.at IS 'When, by the clock of the database.';
COMMENT ON COLUMN replay_decision.by IS 'Who.';
COMMENT ON COLUMN replay_decision.closes IS 'Periods that were closed by it.';
COMMENT ON COLUMN replay_decision.corrections IS 'Closed periods that it corrected.';
