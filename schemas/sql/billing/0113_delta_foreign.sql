-- Records of the topic of deltas that are none: no job counts them, and the index of deltas says where they are.

CREATE TABLE delta_foreign (
    deltas_topic  text        NOT NULL,
    partition     integer     NOT NULL CHECK (partition >= 0),
    record_offset bigint      NOT NULL CHECK (record_offset >= 0),
    seen_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (deltas_topic, partition, record_offset)
);

COMMENT ON TABLE delta_foreign IS 'Records of the topic usage.deltas that meter did not write; nothing counts them.';
COMMENT ON COLUMN delta_foreign.deltas_topic IS 'Topic of the record.';
COMMENT ON COLUMN delta_foreign.partition IS 'Its partition.';
COMMENT ON COLUMN delta_foreign.record_offset IS 'Its offset: the topic has its bytes.';
COMMENT ON COLUMN delta_foreign.seen_at IS 'When the index came to it.';
