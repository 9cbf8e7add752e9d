-- What was not counted, and what of it was sent again: an index of two topics, for closing and for people.

CREATE TABLE dead_letter (
    topic            text        NOT NULL,
    partition        integer     NOT NULL CHECK (partition >= 0),
    record_offset    bigint      NOT NULL CHECK (record_offset >= 0),
    tenant_id        text,
    customer_id      text,
    meter            text,
    reason           text        NOT NULL,
    is_partial       boolean     NOT NULL,
    event_at         timestamptz,
    arrived_at       timestamptz,
    source_topic     text        NOT NULL,
    source_partition integer     NOT NULL,
    source_offset    bigint      NOT NULL,
    part_meter       text        NOT NULL,
    part_run         text        NOT NULL,
    rejected_again   boolean     NOT NULL,
    PRIMARY KEY (topic, partition, record_offset)
);
CREATE INDEX dead_letter_of_customer ON dead_letter (tenant_id, customer_id, event_at);
-- Events that were sent again and rejected again.
CREATE INDEX dead_letter_rejected_again ON dead_letter (source_topic, source_partition, source_offset) WHERE rejected_again;

CREATE TABLE redriven (
    topic            text    NOT NULL,
    partition        integer NOT NULL CHECK (partition >= 0),
    record_offset    bigint  NOT NULL CHECK (record_offset >= 0),
    origin_topic     text    NOT NULL,
    origin_partition integer NOT NULL,
    origin_offset    bigint  NOT NULL,
    part_meter       text    NOT NULL,
    part_run         text    NOT NULL,
    PRIMARY KEY (topic, partition, record_offset)
);
CREATE INDEX redriven_origin ON redriven (origin_topic, origin_partition, origin_offset);

CREATE TABLE dead_letter_position (
    topic       text    NOT NULL,
    topic_id    uuid    NOT NULL,
    partition   integer NOT NULL CHECK (partition >= 0),
    next_offset bigint  NOT NULL CHECK (next_offset >= 0),
    PRIMARY KEY (topic, partition)
);

CREATE VIEW dead_letter_open AS
SELECT d.*
FROM dead_letter d
-- An event that is rejected as a whole in the redrive topic has a second dead letter.
WHERE NOT d.rejected_again
  AND NOT EXISTS (
      SELECT FROM redriven r
      WHERE (r.origin_topic, r.origin_partition, r.origin_offset) = (d.source_topic, d.source_partition, d.source_offset)
        AND (r.part_meter, r.part_run) = (d.part_meter, d.part_run)
        AND NOT EXISTS (
            SELECT FROM dead_letter again
            WHERE again.rejected_again AND again.topic = d.topic
              AND (again.source_topic, again.source_partition, again.source_offset) = (r.topic, r.partition, r.record_offset)
        )
  );

COMMENT ON TABLE dead_letter IS 'Dead letters of the topic usage.dlq, as far as they are indexed and the topic has them; their bytes are in the topic alone.';
COMMENT ON COLUMN dead_letter.topic IS 'Topic of the dead letter: that of the run that rejected the event.';
COMMENT ON COLUMN dead_letter.partition IS 'Partition of the dead letter.';
COMMENT ON COLUMN dead_letter.record_offset IS 'Offset of the dead letter: `tidemark dlq show PARTITION:OFFSET`.';
COMMENT ON COLUMN dead_letter.tenant_id IS 'Tenant that the event names; null where it cannot be read.';
COMMENT ON COLUMN dead_letter.customer_id IS 'Customer that the event names; null where it cannot be read.';
COMMENT ON COLUMN dead_letter.meter IS 'Meter that refused it; null when the event was rejected as a whole.';
COMMENT ON COLUMN dead_letter.reason IS 'Reason code.';
COMMENT ON COLUMN dead_letter.is_partial IS 'Whether other meters counted the event.';
COMMENT ON COLUMN dead_letter.event_at IS 'Event time; where it cannot be read, the arrival: the period it belongs to.';
COMMENT ON COLUMN dead_letter.arrived_at IS 'When the event arrived; null when no date can say it.';
COMMENT ON COLUMN dead_letter.source_topic IS 'Topic of the event.';
COMMENT ON COLUMN dead_letter.source_partition IS 'Partition of the event.';
COMMENT ON COLUMN dead_letter.source_offset IS 'Offset of the event.';
COMMENT ON COLUMN dead_letter.part_meter IS 'Meter that is missing the event; empty for a whole event.';
COMMENT ON COLUMN dead_letter.part_run IS 'Run of that meter.';
COMMENT ON COLUMN dead_letter.rejected_again IS 'Whether the event had been redriven: it has an earlier dead letter.';
COMMENT ON TABLE redriven IS 'Events that were sent again, by what they were sent from.';
COMMENT ON COLUMN redriven.topic IS 'The redrive topic.';
COMMENT ON COLUMN redriven.partition IS 'Partition of the record in it.';
COMMENT ON COLUMN redriven.record_offset IS 'Offset of the record in it.';
COMMENT ON COLUMN redriven.origin_topic IS 'Topic in which the event came first.';
COMMENT ON COLUMN redriven.origin_partition IS 'Its partition there.';
COMMENT ON COLUMN redriven.origin_offset IS 'Its offset there.';
COMMENT ON COLUMN redriven.part_meter IS 'Meter it was sent for; empty for a whole event.';
COMMENT ON COLUMN redriven.part_run IS 'Run of that meter.';
COMMENT ON TABLE dead_letter_position IS 'Offsets up to which both topics are indexed; written in the same transaction.';
COMMENT ON COLUMN dead_letter_position.topic IS 'Topic.';
COMMENT ON COLUMN dead_letter_position.topic_id IS 'Id of the topic in Kafka: a topic that was deleted and created again is read from its start.';
COMMENT ON COLUMN dead_letter_position.partition IS 'Partition of the topic.';
COMMENT ON COLUMN dead_letter_position.next_offset IS 'Next offset to be read.';
COMMENT ON VIEW dead_letter_open IS 'Dead letters whose event, or part of it, is still not counted: not redriven, or rejected again.';
DO $$
DECLARE
    documented record;
BEGIN
    FOR documented IN
        SELECT attname, col_description(attrelid, attnum) AS words
        FROM pg_attribute
        WHERE attrelid = 'dead_letter'::regclass AND attnum > 0 AND NOT attisdropped
    LOOP
        EXECUTE format('COMMENT ON COLUMN dead_letter_open.%I IS %L', documented.attname, documented.words);
    END LOOP;
END
$$;
