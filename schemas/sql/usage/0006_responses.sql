-- What automated responses did about alerts, whom they suspended, and how far each of them has read the topic.

CREATE TABLE response (
    handler     text        NOT NULL,
    source      text        NOT NULL,
    alert_id    text        NOT NULL,
    fingerprint text        NOT NULL,
    begun_at    timestamptz NOT NULL,
    until       timestamptz,
    ended_at    timestamptz,
    ended_by    text,
    PRIMARY KEY (handler, source, alert_id),
    CONSTRAINT response_ended CHECK ((ended_at IS NULL) = (ended_by IS NULL))
);
-- One at a time for a condition, whatever is sent twice.
CREATE UNIQUE INDEX response_open ON response (handler, fingerprint) WHERE ended_at IS NULL;

COMMENT ON TABLE response IS 'What a handler began because of an alert; written in one transaction with its effect and the offset.';
COMMENT ON COLUMN response.handler IS 'Handler that responded.';
COMMENT ON COLUMN response.source IS 'Source of the alert.';
COMMENT ON COLUMN response.alert_id IS 'Id of the alert: one that is sent twice is responded to once.';
COMMENT ON COLUMN response.fingerprint IS 'Condition that is responded to; its end undoes the response.';
COMMENT ON COLUMN response.begun_at IS 'Time of the alert.';
COMMENT ON COLUMN response.until IS 'End of the billing period, with which the condition is over; null where there is none.';
COMMENT ON COLUMN response.ended_at IS 'When it was undone; null until then.';
COMMENT ON COLUMN response.ended_by IS 'What undid it: type of the alert of the end, a person, or the end of the period.';

CREATE TABLE response_offset (
    handler     text    NOT NULL,
    topic       text    NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint  NOT NULL CHECK (next_offset >= 0),
    PRIMARY KEY (handler, topic, partition)
);

COMMENT ON TABLE response_offset IS 'How far each handler has read, written in one transaction with what it did: no alert is missed or responded to twice.';
COMMENT ON COLUMN response_offset.handler IS 'Handler that reads.';
COMMENT ON COLUMN response_offset.topic IS 'Topic that is read.';
COMMENT ON COLUMN response_offset.partition IS 'Partition of it.';
COMMENT ON COLUMN response_offset.next_offset IS 'Offset to read next.';

CREATE TABLE suspension (
    tenant_id          text        NOT NULL,
    customer_id        text        NOT NULL,
    source_fingerprint text        NOT NULL,
    reason             text        NOT NULL,
    since              timestamptz NOT NULL,
    until              timestamptz,
    lifted_at          timestamptz,
    lifted_by          text,
    PRIMARY KEY (tenant_id, customer_id, source_fingerprint, since),
    CONSTRAINT suspension_half_open CHECK (since < until),
    CONSTRAINT suspension_lifted CHECK ((lifted_at IS NULL) = (lifted_by IS NULL))
);
CREATE INDEX suspension_open ON suspension (tenant_id, customer_id) WHERE lifted_at IS NULL;

COMMENT ON TABLE suspension IS 'Customers that an automated response suspended, and who lifted it.';
COMMENT ON COLUMN suspension.tenant_id IS 'Tenant of the customer.';
COMMENT ON COLUMN suspension.customer_id IS 'Customer that is denied.';
COMMENT ON COLUMN suspension.source_fingerprint IS 'Fingerprint of the alert it answers; its end lifts it.';
COMMENT ON COLUMN suspension.reason IS 'Why, in words.';
COMMENT ON COLUMN suspension.since IS 'From when on.';
COMMENT ON COLUMN suspension.until IS 'First instant after it; null until it is lifted.';
COMMENT ON COLUMN suspension.lifted_at IS 'When it was lifted before its end; null otherwise.';
COMMENT ON COLUMN suspension.lifted_by IS 'Who lifted it.';
