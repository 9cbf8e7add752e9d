-- The archive of raw records: its files, the offsets that no file holds, and what was erased.

CREATE TABLE archive (
    singleton  boolean     NOT NULL DEFAULT true PRIMARY KEY CHECK (singleton),
    archive_id uuid        NOT NULL DEFAULT gen_random_uuid(),
    made_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO archive DEFAULT VALUES;

CREATE TABLE archive_topic (
    topic    text NOT NULL PRIMARY KEY,
    topic_id uuid NOT NULL
);

CREATE TABLE archive_file (
    topic        text        NOT NULL,
    partition    integer     NOT NULL CHECK (partition >= 0),
    day          date        NOT NULL,
    first_offset bigint      NOT NULL CHECK (first_offset >= 0),
    last_offset  bigint      NOT NULL,
    rows         bigint      NOT NULL CHECK (rows > 0),
    bytes        bigint      NOT NULL CHECK (bytes > 0),
    sha256       text        NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    arrival_min  timestamptz NOT NULL,
    arrival_max  timestamptz NOT NULL,
    path         text        NOT NULL UNIQUE,
    written_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, partition, first_offset),
    CONSTRAINT archive_file_offsets CHECK (last_offset >= first_offset AND rows <= last_offset - first_offset + 1),
    CONSTRAINT archive_file_arrivals CHECK (arrival_min <= arrival_max),
    -- No offset is in two files.
    CONSTRAINT archive_file_apart EXCLUDE USING gist (
        topic WITH =, partition WITH =, int8range(first_offset, last_offset, '[]') WITH &&
    )
);

CREATE TABLE archive_gap (
    topic        text        NOT NULL,
    partition    integer     NOT NULL CHECK (partition >= 0),
    first_offset bigint      NOT NULL CHECK (first_offset >= 0),
    last_offset  bigint      NOT NULL,
    reason       text        NOT NULL CHECK (reason IN ('retention', 'not_committed', 'expired')),
    found_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (topic, partition, first_offset),
    CONSTRAINT archive_gap_offsets CHECK (last_offset >= first_offset),
    CONSTRAINT archive_gap_apart EXCLUDE USING gist (
        topic WITH =, partition WITH =, int8range(first_offset, last_offset, '[]') WITH &&
    )
);

CREATE TABLE erasure (
    erasure_id  bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id   text        NOT NULL,
    customer_id text        NOT NULL,
    erased_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    erased_by   text        NOT NULL,
    files       integer     NOT NULL CHECK (files >= 0),
    events      bigint      NOT NULL CHECK (events >= 0),
    unreadable  bigint      NOT NULL CHECK (unreadable >= 0),
    alerts      bigint      NOT NULL CHECK (alerts >= 0),
    kept        text[]      NOT NULL,
    kafka       jsonb       NOT NULL CHECK (jsonb_typeof(kafka) = 'object')
);

CREATE FUNCTION refuse_erasure_change() RETURNS trigger
    LANGUAGE plpgsql AS
$$
BEGIN
    RAISE EXCEPTION '% of erasure is refused: the record of an erasure never changes', TG_OP
        USING ERRCODE = 'integrity_constraint_violation';
END;
$$;

COMMENT ON FUNCTION refuse_erasure_change() IS 'Keeps the record of erasures append-only, for every user and tool.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON erasure FOR EACH ROW EXECUTE FUNCTION refuse_erasure_change();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON erasure FOR EACH STATEMENT EXECUTE FUNCTION refuse_erasure_change();

COMMENT ON TABLE archive IS 'One row: the archive this index belongs to; the folder holds the same id, and any other index is refused.';
COMMENT ON COLUMN archive.singleton IS 'Always true: keeps the table to one row.';
COMMENT ON COLUMN archive.archive_id IS 'Id of the archive, also in its folder.';
COMMENT ON COLUMN archive.made_at IS 'When the index was created.';
COMMENT ON TABLE archive_topic IS 'Topics that are archived, by the id that Kafka gave them: a topic that was deleted and created again is another one, with other offsets.';
COMMENT ON COLUMN archive_topic.topic IS 'Name of the topic.';
COMMENT ON COLUMN archive_topic.topic_id IS 'Id of the topic in Kafka.';
COMMENT ON TABLE archive_file IS 'Files of the archive, each a range of offsets of one partition; readers use these files only.';
COMMENT ON COLUMN archive_file.topic IS 'Topic of its records.';
COMMENT ON COLUMN archive_file.partition IS 'Partition of the topic.';
COMMENT ON COLUMN archive_file.day IS 'UTC day of arrival of its first record.';
COMMENT ON COLUMN archive_file.first_offset IS 'Offset of its first record.';
COMMENT ON COLUMN archive_file.last_offset IS 'Offset of its last record.';
COMMENT ON COLUMN archive_file.rows IS 'Records in it; fewer than offsets where archive_gap has a row.';
COMMENT ON COLUMN archive_file.bytes IS 'Size of the file.';
COMMENT ON COLUMN archive_file.sha256 IS 'SHA-256 of the file.';
COMMENT ON COLUMN archive_file.arrival_min IS 'Earliest arrival in it.';
COMMENT ON COLUMN archive_file.arrival_max IS 'Latest arrival in it.';
COMMENT ON COLUMN archive_file.path IS 'Path below archive_dir.';
COMMENT ON COLUMN archive_file.written_at IS 'When it was written, or last rewritten by an erasure.';
COMMENT ON TABLE archive_gap IS 'Offsets that no file holds, and why.';
COMMENT ON COLUMN archive_gap.topic IS 'The topic.';
COMMENT ON COLUMN archive_gap.partition IS 'Partition of the topic.';
COMMENT ON COLUMN archive_gap.first_offset IS 'First offset without a record.';
COMMENT ON COLUMN archive_gap.last_offset IS 'Last offset without a record.';
COMMENT ON COLUMN archive_gap.reason IS 'retention: Kafka had removed them, they are lost; not_committed: transaction markers and aborted records; expired: removed from the archive by its age.';
COMMENT ON COLUMN archive_gap.found_at IS 'When the gap was found or made.';
COMMENT ON TABLE erasure IS 'What was erased of a customer, by whom and when; never changed.';
COMMENT ON COLUMN erasure.erasure_id IS 'Number of the erasure.';
COMMENT ON COLUMN erasure.tenant_id IS 'Tenant of the customer.';
COMMENT ON COLUMN erasure.customer_id IS 'Customer whose events lost everything that metering does not read.';
COMMENT ON COLUMN erasure.erased_at IS 'When, by the clock of the database.';
COMMENT ON COLUMN erasure.erased_by IS 'Who requested it.';
COMMENT ON COLUMN erasure.files IS 'Files that were rewritten.';
COMMENT ON COLUMN erasure.events IS 'Events in them that lost data.';
COMMENT ON COLUMN erasure.unreadable IS 'Of these, records that are not valid events but name the customer: replaced as a whole.';
COMMENT ON COLUMN erasure.alerts IS 'Alerts whose evidence lost values of events.';
COMMENT ON COLUMN erasure.kept IS 'Paths of properties that were kept, because meters of the tenant read them.';
COMMENT ON COLUMN erasure.kafka IS 'What could not be erased: by topic, the instant by which Kafka has removed what it held then; null for never.';
