-- Who did what: an entry for each change that a person or a role of `serve` made, written in the transaction of the
-- change. One table for all runs; it only grows.

CREATE TABLE entry (
    entry_id  bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL,
    login     text        NOT NULL,
    client    inet,
    stated_by text        NOT NULL,
    run_id    text        NOT NULL,
    action    text        NOT NULL CHECK (action ~ '^[a-z_]+\.[a-z_]+$'),
    subject   text        NOT NULL,
    detail    jsonb       NOT NULL CHECK (jsonb_typeof(detail) = 'object')
);
CREATE INDEX entry_at ON entry (at);
CREATE INDEX entry_subject ON entry (subject, entry_id);

-- What the client says of these three does not count.
CREATE FUNCTION stamp_entry() RETURNS trigger
    LANGUAGE plpgsql AS
$$
BEGIN
    NEW.at := clock_timestamp();
    NEW.login := session_user;
    NEW.client := inet_client_addr();
    RETURN NEW;
END
$$;

CREATE FUNCTION refuse_change() RETURNS trigger
    LANGUAGE plpgsql AS
$$
BEGIN
    RAISE EXCEPTION '% of %.% is refused: the audit only grows', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE TRIGGER stamp_entry BEFORE INSERT ON entry FOR EACH ROW EXECUTE FUNCTION stamp_entry();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entry FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

COMMENT ON FUNCTION stamp_entry() IS 'Writes when, by which login and from where, whatever the statement says.';
COMMENT ON FUNCTION refuse_change() IS 'Keeps tables of the audit append-only, for every role.';
COMMENT ON TABLE entry IS 'Who changed what, an entry each; written in the transaction of the change, or before it where the change is not in Postgres.';
COMMENT ON COLUMN entry.entry_id IS 'Number of the entry, ascending.';
COMMENT ON COLUMN entry.at IS 'When, by the clock of the database.';
COMMENT ON COLUMN entry.login IS 'Login of the database session (session_user), which no SET changes.';
COMMENT ON COLUMN entry.client IS 'Address that the session came from; null over a local socket.';
COMMENT ON COLUMN entry.stated_by IS 'Name that was stated with --by, or the user of the machine: words, not proof.';
COMMENT ON COLUMN entry.run_id IS 'Run that it concerns; empty for the live run, and for what all runs share.';
COMMENT ON COLUMN entry.action IS 'What was done, as GROUP.ACTION; docs/security.md lists them.';
COMMENT ON COLUMN entry.subject IS 'What it was done to: a tenant and customer, a job, a replay, a key, a number.';
COMMENT ON COLUMN entry.detail IS 'How it was done: options, edits, counts.';
