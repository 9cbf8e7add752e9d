-- Records of reads do not change; the role `retention`, which is the owner's, removes those that are old enough.

CREATE INDEX read_audit_at ON read_audit (at);

CREATE FUNCTION refuse_change() RETURNS trigger
    LANGUAGE plpgsql AS
$$
BEGIN
    RAISE EXCEPTION '% of % is refused: what was read stays recorded; retention.reads_days removes what is old',
        TG_OP, TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE TRIGGER unchanged BEFORE UPDATE OR TRUNCATE ON read_audit FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

COMMENT ON FUNCTION refuse_change() IS 'Keeps records of reads as they were written.';
