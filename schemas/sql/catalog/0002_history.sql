-- What was known when: every change of the catalog's rows, from which they are read back as they were at an instant.

CREATE TABLE catalog.change (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    revision   bigint      NOT NULL,
    changed_at timestamptz NOT NULL,
    table_name text        NOT NULL,
    before     jsonb,
    after      jsonb,
    CONSTRAINT change_of_a_row CHECK (num_nonnulls(before, after) > 0)
);

-- Rows lie in the order of their instants; a tree would make a large apply slower.
CREATE INDEX change_changed_at ON catalog.change USING brin (changed_at);

-- What the catalog holds now was known since its last apply: the history begins there.
INSERT INTO catalog.change (revision, changed_at, table_name, after)
SELECT r.revision, r.applied_at, 'revision', to_jsonb(r)
FROM catalog.revision r;

CREATE FUNCTION catalog.refuse_change() RETURNS trigger
    LANGUAGE plpgsql AS
$$
BEGIN
    RAISE EXCEPTION 'catalog.% is append-only: % is refused', TG_TABLE_NAME, lower(TG_OP);
END
$$;

CREATE TRIGGER append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON catalog.change
    FOR EACH STATEMENT EXECUTE FUNCTION catalog.refuse_change();

-- JSON has instants as text in the time zone of the session: one zone, so that equal rows are equal JSON.
CREATE FUNCTION catalog.record_change() RETURNS trigger
    LANGUAGE plpgsql SET TimeZone = 'UTC' AS
$$
DECLARE
    latest catalog.revision;
    moment timestamptz;
BEGIN
    SELECT * INTO STRICT latest FROM catalog.revision;
    -- The instant of an apply, which writes its revision first; a write past it has the start of its transaction.
    moment := greatest(latest.applied_at, date_trunc('milliseconds', transaction_timestamp()));
    CASE TG_OP
        WHEN 'INSERT' THEN
            INSERT INTO catalog.change (revision, changed_at, table_name, after)
            SELECT latest.revision, moment, TG_TABLE_NAME, to_jsonb(r)
            FROM new_rows r;
        WHEN 'DELETE' THEN
            INSERT INTO catalog.change (revision, changed_at, table_name, before)
            SELECT latest.revision, moment, TG_TABLE_NAME, to_jsonb(r)
            FROM old_rows r;
        WHEN 'UPDATE' THEN
            -- Both lists are in the order of the update. Were they not, the pairs would mislead, and nothing else:
            -- rows are read back from what was taken and what was added, not from pairs.
            INSERT INTO catalog.change (revision, changed_at, table_name, before, after)
            SELECT latest.revision, moment, TG_TABLE_NAME, o.content, n.content
            FROM (SELECT row_number() OVER () AS place, to_jsonb(r) AS content FROM old_rows r) o
            JOIN (SELECT row_number() OVER () AS place, to_jsonb(r) AS content FROM new_rows r) n USING (place)
            WHERE o.content <> n.content;
        WHEN 'TRUNCATE' THEN
            EXECUTE format(
                'INSERT INTO catalog.change (revision, changed_at, table_name, before)
                 SELECT $1, $2, $3, to_jsonb(r) FROM %I.%I r', TG_TABLE_SCHEMA, TG_TABLE_NAME
            ) USING latest.revision, moment, TG_TABLE_NAME;
    END CASE;
    RETURN NULL;
END
$$;

CREATE FUNCTION catalog.recorded_tables() RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$
    SELECT ARRAY['revision', 'tenant', 'calendar', 'customer', 'meter', 'usage_limit', 'alert_policy']
$$;

DO
$$
DECLARE
    relation text;
BEGIN
    FOREACH relation IN ARRAY catalog.recorded_tables() LOOP
        EXECUTE format(
            'CREATE TRIGGER record_insert AFTER INSERT ON catalog.%1$I REFERENCING NEW TABLE AS new_rows
                 FOR EACH STATEMENT EXECUTE FUNCTION catalog.record_change();
             CREATE TRIGGER record_update AFTER UPDATE ON catalog.%1$I
                 REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
                 FOR EACH STATEMENT EXECUTE FUNCTION catalog.record_change();
             CREATE TRIGGER record_delete AFTER DELETE ON catalog.%1$I REFERENCING OLD TABLE AS old_rows
                 FOR EACH STATEMENT EXECUTE FUNCTION catalog.record_change();
             CREATE TRIGGER record_truncate BEFORE TRUNCATE ON catalog.%1$I
                 FOR EACH STATEMENT EXECUTE FUNCTION catalog.record_change()', relation
        );
    END LOOP;
END
$$;

CREATE FUNCTION catalog.require_known(moment timestamptz) RETURNS void
    LANGUAGE plpgsql STABLE AS
$$
DECLARE
    rfc3339 CONSTANT text := 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"';
    began   timestamptz := (SELECT changed_at FROM catalog.change ORDER BY id LIMIT 1);
    -- An apply may be a millisecond ahead of the clock.
    newest  timestamptz := (SELECT greatest(applied_at, clock_timestamp()) FROM catalog.revision);
BEGIN
    IF moment IS NULL OR moment < began THEN
        RAISE EXCEPTION 'what the catalog said at % is not known: its history begins at %.',
            coalesce(to_char(moment AT TIME ZONE 'UTC', rfc3339), 'no instant'),
            to_char(began AT TIME ZONE 'UTC', rfc3339)
            USING HINT = 'name that instant or a later one.';
    ELSIF moment > newest THEN
        RAISE EXCEPTION 'what the catalog will say at % is not known: it is % now.',
            to_char(moment AT TIME ZONE 'UTC', rfc3339), to_char(newest AT TIME ZONE 'UTC', rfc3339)
            USING HINT = 'name an earlier instant.';
    END IF;
END
$$;

CREATE FUNCTION catalog.rows_known_at(example anyelement, moment timestamptz) RETURNS SETOF anyelement
    LANGUAGE plpgsql STABLE SET TimeZone = 'UTC' AS
$$
DECLARE
    relation regclass := (SELECT typrelid FROM pg_type WHERE oid = pg_typeof(example));
    expected bigint;
    returned bigint;
BEGIN
    PERFORM catalog.require_known(moment);
    -- Rows that are there now, less those added since, and those taken since: in whatever order they came and went.
    RETURN QUERY EXECUTE format(
        'WITH since AS MATERIALIZED (
             SELECT side.content, sum(side.sign) AS sign
             FROM catalog.change c
             CROSS JOIN LATERAL (VALUES (c.before, 1), (c.after, -1)) AS side (content, sign)
             WHERE c.changed_at > $1 AND c.table_name = $2 AND side.content IS NOT NULL
             GROUP BY side.content
         )
         SELECT r.* FROM %1$s r
         WHERE NOT EXISTS (SELECT FROM since WHERE since.sign < 0 AND since.content = to_jsonb(r))
         UNION ALL
         SELECT r.* FROM since
         CROSS JOIN LATERAL jsonb_populate_record(NULL::%1$s, since.content) AS r
         WHERE since.sign > 0', relation
    ) USING moment, (SELECT relname FROM pg_class WHERE oid = relation);
    GET DIAGNOSTICS returned = ROW_COUNT;
    EXECUTE format(
        'SELECT (SELECT count(*) FROM %s)
              + (SELECT count(before) - count(after) FROM catalog.change WHERE changed_at > $1 AND table_name = $2)',
        relation
    ) INTO expected USING moment, (SELECT relname FROM pg_class WHERE oid = relation);
    IF returned <> expected THEN
        RAISE EXCEPTION 'the history of % gives % rows instead of %: rows were written past its triggers.',
            relation, returned, expected USING HINT = 'name an instant after that.';
    END IF;
END
$$;

CREATE FUNCTION catalog.known_at(moment timestamptz, target text) RETURNS bigint
    LANGUAGE plpgsql AS
$$
DECLARE
    relation  text;
    was_known timestamptz;
    revision  bigint;
BEGIN
    -- An apply that is under way has an instant that is past: it is waited for, and the next one waits.
    PERFORM 1 FROM catalog.revision FOR SHARE;
    PERFORM catalog.require_known(moment);
    IF to_regnamespace(quote_ident(target)) IS NOT NULL THEN
        IF to_regclass(format('%I.known', target)) IS NOT NULL THEN
            EXECUTE format('SELECT known_at FROM %I.known', target) INTO was_known;
        END IF;
        IF was_known IS DISTINCT FROM moment THEN
            RAISE EXCEPTION 'schema % exists, and is not the catalog of that instant.', target
                USING HINT = 'choose another name.';
        END IF;
    ELSE
        EXECUTE format('CREATE SCHEMA %I', target);
        EXECUTE format('COMMENT ON SCHEMA %I IS %L', target, 'Catalog of Tidemark as known at an earlier instant.');
        FOREACH relation IN ARRAY catalog.recorded_tables() LOOP
            PERFORM catalog.copy_known_at(moment, target, relation);
        END LOOP;
        EXECUTE format('CREATE INDEX ON %I.usage_limit (tenant_id) WHERE scope <> ''customer''', target);
        -- Last: it says that the others are whole.
        EXECUTE format('CREATE TABLE %I.known AS SELECT $1 AS known_at', target) USING moment;
        EXECUTE format('COMMENT ON TABLE %I.known IS %L', target, 'One row: of which instant this catalog is.');
        EXECUTE format('COMMENT ON COLUMN %I.known.known_at IS %L', target, 'Instant at which this was known.');
    END IF;
    EXECUTE format('SELECT revision FROM %I.revision', target) INTO STRICT revision;
    RETURN revision;
END
$$;

CREATE FUNCTION catalog.copy_known_at(moment timestamptz, target text, relation text) RETURNS void
    LANGUAGE plpgsql AS
$$
DECLARE
    original CONSTANT regclass := format('catalog.%I', relation);
    key      text;
BEGIN
    EXECUTE format('CREATE TABLE %I.%I (LIKE %s INCLUDING DEFAULTS INCLUDING COMMENTS)', target, relation, original);
    EXECUTE format('COMMENT ON TABLE %I.%I IS %L', target, relation, obj_description(original, 'pg_class'));
    EXECUTE format('INSERT INTO %I.%I SELECT * FROM catalog.rows_known_at(NULL::%s, $1)', target, relation, original)
        USING moment;
    SELECT pg_get_constraintdef(oid) INTO key FROM pg_constraint WHERE conrelid = original AND contype = 'p';
    IF key IS NOT NULL THEN
        EXECUTE format('ALTER TABLE %I.%I ADD %s', target, relation, key);
    END IF;
END
$$;

COMMENT ON TABLE catalog.change IS 'Every change of a row of the catalog, append-only; a migration that adds a column to a table adds it to the rows here too.';
COMMENT ON COLUMN catalog.change.id IS 'Ascends with the changes; the first is where the history begins.';
COMMENT ON COLUMN catalog.change.revision IS 'Revision that the change came with; of what was written past an apply, the last one.';
COMMENT ON COLUMN catalog.change.changed_at IS 'Instant from which it was known: that of the apply.';
COMMENT ON COLUMN catalog.change.table_name IS 'Table of the row, in this schema.';
COMMENT ON COLUMN catalog.change.before IS 'The row before; null for a new one.';
COMMENT ON COLUMN catalog.change.after IS 'The row after; null for one that was removed.';
COMMENT ON FUNCTION catalog.refuse_change() IS 'Keeps the history append-only, for every user and tool.';
COMMENT ON FUNCTION catalog.record_change() IS 'Writes the rows that a statement changed into the history.';
COMMENT ON FUNCTION catalog.recorded_tables() IS 'Tables whose changes are recorded.';
COMMENT ON FUNCTION catalog.require_known(timestamptz) IS 'Refuses an instant before the history, or in the future.';
COMMENT ON FUNCTION catalog.rows_known_at(anyelement, timestamptz) IS 'Rows of a table of the catalog as known at an instant: SELECT * FROM catalog.rows_known_at(NULL::catalog.meter, moment).';
COMMENT ON FUNCTION catalog.known_at(timestamptz, text) IS 'Makes a schema with the catalog as known at an instant, and returns its revision; one that is there already is kept.';
COMMENT ON FUNCTION catalog.copy_known_at(timestamptz, text, text) IS 'Makes one table of the catalog as known at an instant.';
