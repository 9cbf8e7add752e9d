-- An explanation of drift is written once, and no difference that was found goes away.

CREATE FUNCTION explain_once() RETURNS trigger
    LANGUAGE plpgsql AS
$$
BEGIN
    -- Nothing but the explanation may change.
    IF OLD.explained_at IS NOT NULL
        OR (to_jsonb(NEW) - ARRAY['explained_at', 'explained_by', 'explanation'])
            <> (to_jsonb(OLD) - ARRAY['explained_at', 'explained_by', 'explanation'])
    THEN
        RAISE EXCEPTION 'drift % is refused another explanation or other figures', OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER explained_once BEFORE UPDATE ON drift FOR EACH ROW EXECUTE FUNCTION explain_once();
CREATE TRIGGER append_only BEFORE DELETE ON drift FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON drift FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

COMMENT ON FUNCTION explain_once() IS 'Keeps explanations and figures of drift as they were written first.';
