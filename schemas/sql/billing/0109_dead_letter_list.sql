-- What `tidemark dlq list` asks the index of dead letters for.

CREATE INDEX dead_letter_arrived ON dead_letter (topic, arrived_at DESC NULLS LAST);

CREATE TABLE dead_letter_foreign (
    topic         text    NOT NULL,
    partition     integer NOT NULL CHECK (partition >= 0),
    record_offset bigint  NOT NULL CHECK (record_offset >= 0),
    PRIMARY KEY (topic, partition, record_offset)
);

COMMENT ON TABLE dead_letter_foreign IS 'Records of the topic usage.dlq that are no dead letters, whoever wrote them.';
COMMENT ON COLUMN dead_letter_foreign.topic IS 'Topic of the record.';
COMMENT ON COLUMN dead_letter_foreign.partition IS 'Its partition.';
COMMENT ON COLUMN dead_letter_foreign.record_offset IS 'Its offset.';
