-- Where the events behind a number are: offsets of the source topics, by series and period, updated from the deltas.

CREATE TABLE delta_range (
    deltas_topic     text           NOT NULL,
    tenant_id        text           NOT NULL,
    customer_id      text           NOT NULL,
    meter            text           NOT NULL,
    period_start     timestamptz    NOT NULL,
    dims             text           NOT NULL,
    source_topic     text           NOT NULL,
    source_partition integer        NOT NULL CHECK (source_partition >= 0),
    stretch          bigint         NOT NULL CHECK (stretch >= 0),
    first_offset     bigint         NOT NULL CHECK (first_offset >= 0),
    last_offset      bigint         NOT NULL,
    n                bigint         NOT NULL CHECK (n > 0),
    samples          bigint         NOT NULL,
    total            numeric(38, 9) NOT NULL,
    PRIMARY KEY (
        tenant_id, customer_id, meter, period_start, deltas_topic, dims, source_topic, source_partition, stretch
    ),
    CONSTRAINT delta_range_offsets CHECK (last_offset >= first_offset)
);

CREATE TABLE delta_position (
    deltas_topic text    NOT NULL,
    topic_id     uuid    NOT NULL,
    partition    integer NOT NULL CHECK (partition >= 0),
    next_offset  bigint  NOT NULL CHECK (next_offset >= 0),
    PRIMARY KEY (deltas_topic, partition)
);

COMMENT ON TABLE delta_range IS 'Offsets of the events of a series and period: a row for each stretch of 10 000 offsets that has any.';
COMMENT ON COLUMN delta_range.deltas_topic IS 'Topic of the deltas it was made from: that of the run that counted the events.';
COMMENT ON COLUMN delta_range.tenant_id IS 'Tenant of the customer.';
COMMENT ON COLUMN delta_range.customer_id IS 'Customer whose usage it is.';
COMMENT ON COLUMN delta_range.meter IS 'Meter, as named in the catalog.';
COMMENT ON COLUMN delta_range.period_start IS 'First instant of the billing period of the customer.';
COMMENT ON COLUMN delta_range.dims IS 'Group-by values as canonical JSON; empty text when the meter has none.';
COMMENT ON COLUMN delta_range.source_topic IS 'Topic of the events.';
COMMENT ON COLUMN delta_range.source_partition IS 'Partition of the source topic.';
COMMENT ON COLUMN delta_range.stretch IS 'First offset of the deltas in it, divided by 10 000 and rounded down.';
COMMENT ON COLUMN delta_range.first_offset IS 'Offset of the first event.';
COMMENT ON COLUMN delta_range.last_offset IS 'Offset of the last event; others may lie between.';
COMMENT ON COLUMN delta_range.n IS 'Measurements, voids too.';
COMMENT ON COLUMN delta_range.samples IS 'Measurements, less those taken back by voids.';
COMMENT ON COLUMN delta_range.total IS 'Sum of the measured amounts; time moments of weighted sums are left out.';
COMMENT ON TABLE delta_position IS 'Offsets up to which delta_range includes the deltas of a topic; written in the same transaction.';
COMMENT ON COLUMN delta_position.deltas_topic IS 'Topic of the deltas.';
COMMENT ON COLUMN delta_position.topic_id IS 'Id of the topic in Kafka: a topic that was deleted and created again is read from its start.';
COMMENT ON COLUMN delta_position.partition IS 'Partition of the topic.';
COMMENT ON COLUMN delta_position.next_offset IS 'Next offset to be read.';
