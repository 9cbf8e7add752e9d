-- The two-person rule: what it names takes an approval of another login, which the act uses up in its transaction.

CREATE TABLE two_person (
    action text NOT NULL PRIMARY KEY
);

CREATE TABLE approval_use (
    approval_id bigint NOT NULL PRIMARY KEY REFERENCES entry,
    used_by     bigint NOT NULL UNIQUE REFERENCES entry
);

-- With the rights of the owner: nobody else uses an approval up. session_user stays who is logged in.
CREATE FUNCTION require_approval() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = audit, pg_temp AS
$$
DECLARE
    approval bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM two_person t WHERE t.action = NEW.action) THEN
        RETURN NULL;
    END IF;
    SELECT e.entry_id INTO approval
    FROM entry e
    WHERE e.action = 'audit.approve' AND e.subject = NEW.subject AND e.run_id = NEW.run_id
      AND e.detail ->> 'approves' = NEW.action AND e.login <> NEW.login AND e.at > NEW.at - interval '1 day'
      AND NOT EXISTS (SELECT FROM approval_use u WHERE u.approval_id = e.entry_id)
    ORDER BY e.entry_id
    LIMIT 1
    -- One that another act is using up is not waited for.
    FOR UPDATE SKIP LOCKED;
    IF approval IS NULL THEN
        RAISE EXCEPTION '% of % by login % needs an approval of another login, not older than a day and not used yet.',
            NEW.action, NEW.subject, NEW.login
            USING HINT = format('with another login: tidemark approve %s %s', NEW.action, NEW.subject);
    END IF;
    INSERT INTO approval_use (approval_id, used_by) VALUES (approval, NEW.entry_id);
    RETURN NULL;
END
$$;

CREATE TRIGGER require_approval AFTER INSERT ON entry FOR EACH ROW EXECUTE FUNCTION require_approval();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON approval_use
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

COMMENT ON FUNCTION require_approval() IS 'Refuses an act of the two-person rule without an approval of another login, and uses the approval up.';
COMMENT ON TABLE two_person IS 'Actions that take an approval of another login; written by `tidemark db migrate` from audit.two_person.';
COMMENT ON COLUMN two_person.action IS 'Action of audit.entry.';
COMMENT ON TABLE approval_use IS 'Approvals that an act used up, each once.';
COMMENT ON COLUMN approval_use.approval_id IS 'Entry `audit.approve`.';
COMMENT ON COLUMN approval_use.used_by IS 'Entry of the act.';
