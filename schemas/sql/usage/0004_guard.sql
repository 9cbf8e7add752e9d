-- The guard of every rollup: a writer that is behind (a restored or zombie job) can never turn a total back.

CREATE FUNCTION refuse_older() RETURNS trigger
    LANGUAGE plpgsql AS
$$
BEGIN
    -- NULL skips this row and no other: the rest of the writer's batch goes on, and no error restarts it.
    IF NEW.n < OLD.n THEN
        RETURN NULL;
    END IF;
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END;
$$;

COMMENT ON FUNCTION refuse_older() IS 'Skips an update whose n is smaller than the stored one; stamps the others.';

CREATE TRIGGER refuse_older BEFORE UPDATE ON usage_minute FOR EACH ROW EXECUTE FUNCTION refuse_older();
CREATE TRIGGER refuse_older BEFORE UPDATE ON usage_hour FOR EACH ROW EXECUTE FUNCTION refuse_older();
CREATE TRIGGER refuse_older BEFORE UPDATE ON usage_day FOR EACH ROW EXECUTE FUNCTION refuse_older();
CREATE TRIGGER refuse_older BEFORE UPDATE ON usage_period FOR EACH ROW EXECUTE FUNCTION refuse_older();
CREATE TRIGGER refuse_older BEFORE UPDATE ON usage_sliding FOR EACH ROW EXECUTE FUNCTION refuse_older();
