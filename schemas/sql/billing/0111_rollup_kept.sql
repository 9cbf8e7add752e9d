-- Where rollups begin that retention has shortened: readers take what is older from the archive.

CREATE TABLE rollup_kept (
    relation  text        PRIMARY KEY CHECK (relation IN ('usage_minute', 'usage_hour')),
    kept_from timestamptz NOT NULL
);

COMMENT ON TABLE rollup_kept IS 'Where rollups begin that retention has removed rows of; in the transaction that removes them.';
COMMENT ON COLUMN rollup_kept.relation IS 'Table of rollups, of this run and of promoted replays.';
COMMENT ON COLUMN rollup_kept.kept_from IS 'Buckets that begin earlier were removed; those of days and periods are kept for ever.';
