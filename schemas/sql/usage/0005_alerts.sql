-- Alerts as taken from the topic, what of them goes to which receiver, and what people did about them.

CREATE TABLE alert (
    alert_id         text        NOT NULL,
    source           text        NOT NULL,
    fingerprint      text        NOT NULL,
    type             text        NOT NULL,
    status           text        NOT NULL CHECK (status IN ('firing', 'resolved')),
    severity         text        NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    impact_severity  text        NOT NULL CHECK (impact_severity IN ('info', 'warning', 'critical')),
    tenant_id        text,
    customer_id      text,
    meter            text,
    value            numeric,
    threshold        numeric,
    period_start     timestamptz,
    period_end       timestamptz,
    rule             text,
    rule_version     text,
    at               timestamptz NOT NULL,
    event            jsonb       NOT NULL CHECK (jsonb_typeof(event #> '{data,evidence}') = 'object'),
    received_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    group_key        text        NOT NULL,
    suppressed_by    text,
    acknowledged_at  timestamptz,
    acknowledged_by  text,
    outcome          text        CHECK (outcome IN ('acted', 'ignored')),
    outcome_at       timestamptz,
    outcome_by       text,
    note             text,
    PRIMARY KEY (alert_id, source),
    CONSTRAINT alert_period CHECK (period_start < period_end AND (period_start IS NULL) = (period_end IS NULL)),
    CONSTRAINT alert_acknowledged CHECK ((acknowledged_at IS NULL) = (acknowledged_by IS NULL)),
    CONSTRAINT alert_outcome CHECK ((outcome IS NULL) = (outcome_at IS NULL) AND (outcome IS NULL) = (outcome_by IS NULL))
);
-- What began with the same fingerprint; what was like it before; what happened lately.
CREATE INDEX alert_fingerprint ON alert (fingerprint, at DESC);
CREATE INDEX alert_similar ON alert (tenant_id, customer_id, meter, at DESC);
-- Whose period has ended, and who may not know.
CREATE INDEX alert_period_end ON alert (period_end) WHERE status = 'firing';
CREATE INDEX alert_at ON alert USING brin (at) WITH (pages_per_range = 32, autosummarize = on);

COMMENT ON TABLE alert IS 'One row per alert of the topic usage.alerts, suppressed ones too.';
COMMENT ON COLUMN alert.alert_id IS 'Id of the CloudEvent; an alert that is sent twice is one row.';
COMMENT ON COLUMN alert.source IS 'Who saw it.';
COMMENT ON COLUMN alert.fingerprint IS 'The same for the start and the end of one condition, and for no other.';
COMMENT ON COLUMN alert.type IS 'What is watched: limit.*, anomaly.* or pipeline.*.';
COMMENT ON COLUMN alert.status IS 'firing when it begins, resolved when it ends.';
COMMENT ON COLUMN alert.severity IS 'How bad it is, as sent.';
COMMENT ON COLUMN alert.impact_severity IS 'How bad it is, given the weight of the customer; routes go by it.';
COMMENT ON COLUMN alert.tenant_id IS 'Tenant it is about; null where there is none.';
COMMENT ON COLUMN alert.customer_id IS 'Customer it is about; null where there is none.';
COMMENT ON COLUMN alert.meter IS 'Meter it is about; null where there is none.';
COMMENT ON COLUMN alert.value IS 'What was seen, in the unit of the meter.';
COMMENT ON COLUMN alert.threshold IS 'What the value is compared with.';
COMMENT ON COLUMN alert.period_start IS 'First instant of the billing period it belongs to.';
COMMENT ON COLUMN alert.period_end IS 'First instant after it: the condition is over then, also unannounced.';
COMMENT ON COLUMN alert.rule IS 'What decided: the limit or the detector.';
COMMENT ON COLUMN alert.rule_version IS 'Version of the rule.';
COMMENT ON COLUMN alert.at IS 'When it was seen: the time that routes, windows and groups go by.';
COMMENT ON COLUMN alert.event IS 'The CloudEvent that receivers get: as sent, with the evidence that the stored usage added when it was taken.';
COMMENT ON COLUMN alert.received_at IS 'When it was stored here, by the clock of the database.';
COMMENT ON COLUMN alert.group_key IS 'Which alerts it belongs to: tenant, cause and window of alert time; of an end, those of its start.';
COMMENT ON COLUMN alert.suppressed_by IS 'Why receivers do not get it: maintenance or suppression with version, or the budget of receivers; null otherwise.';
COMMENT ON COLUMN alert.acknowledged_at IS 'When somebody took notice of it.';
COMMENT ON COLUMN alert.acknowledged_by IS 'Who did.';
COMMENT ON COLUMN alert.outcome IS 'acted: somebody did something because of it; ignored: nothing had to be done.';
COMMENT ON COLUMN alert.outcome_at IS 'When the outcome was recorded.';
COMMENT ON COLUMN alert.outcome_by IS 'Who recorded it.';
COMMENT ON COLUMN alert.note IS 'What was done, or why nothing, in words.';

CREATE TABLE alert_intake (
    topic       text    NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint  NOT NULL CHECK (next_offset >= 0),
    PRIMARY KEY (topic, partition)
);

COMMENT ON TABLE alert_intake IS 'How far the topic was taken, written in one transaction with what was taken: no alert is missed or taken twice.';
COMMENT ON COLUMN alert_intake.topic IS 'Topic that is read.';
COMMENT ON COLUMN alert_intake.partition IS 'Partition of it.';
COMMENT ON COLUMN alert_intake.next_offset IS 'Offset to read next.';

CREATE TABLE notification (
    notification_id text        PRIMARY KEY,
    receiver        text        NOT NULL,
    kind            text        NOT NULL CHECK (kind IN ('pagerduty', 'alertmanager', 'slack', 'webhook')),
    alert_ids       text[]      NOT NULL CHECK (cardinality(alert_ids) > 0),
    alert_sources   text[]      NOT NULL,
    body            jsonb       NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at          timestamptz NOT NULL,
    attempts        integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    last_error      text,
    leased_until    timestamptz,
    lease           text,
    delivered_at    timestamptz,
    dead_at         timestamptz,
    CONSTRAINT notification_alert_keys CHECK (cardinality(alert_ids) = cardinality(alert_sources)),
    CONSTRAINT notification_one_end CHECK (delivered_at IS NULL OR dead_at IS NULL),
    CONSTRAINT notification_lease CHECK ((leased_until IS NULL) = (lease IS NULL))
);
CREATE INDEX notification_due ON notification (due_at) WHERE delivered_at IS NULL AND dead_at IS NULL;
-- Which notifications contain an alert.
CREATE INDEX notification_alerts ON notification USING gin (alert_ids);

COMMENT ON TABLE notification IS 'What goes to a receiver; open for more alerts of its group until it is due, then sent and never changed.';
COMMENT ON COLUMN notification.notification_id IS 'The same for the same receiver, group and status, also when the topic is read again: the idempotency key.';
COMMENT ON COLUMN notification.receiver IS 'Receiver, as named in the alert policy.';
COMMENT ON COLUMN notification.kind IS 'Protocol of the receiver.';
COMMENT ON COLUMN notification.alert_ids IS 'Ids of all its alerts; the first 500 are sent whole.';
COMMENT ON COLUMN notification.alert_sources IS 'Sources of the same alerts, in the same order: id and source are the key of alert.';
COMMENT ON COLUMN notification.body IS 'status, severity, group_key, summary, digest; a notification of a response also has its alert in alerts, since the table alert may not have it yet. A firing group and the end of its last alert share the group_key; ends of some of its alerts have another.';
COMMENT ON COLUMN notification.created_at IS 'When its first alert was taken.';
COMMENT ON COLUMN notification.due_at IS 'When it is to be sent, or sent again; no alert joins it from then on.';
COMMENT ON COLUMN notification.attempts IS 'How often sending was begun; counted before it is sent.';
COMMENT ON COLUMN notification.last_error IS 'Why the last attempt failed, without secrets; null after success.';
COMMENT ON COLUMN notification.leased_until IS 'Until when a worker may send it and no other one to the same receiver; null when none does.';
COMMENT ON COLUMN notification.lease IS 'Names that attempt: no other one may record its outcome.';
COMMENT ON COLUMN notification.delivered_at IS 'When the receiver had it.';
COMMENT ON COLUMN notification.dead_at IS 'When sending was given up.';

CREATE TABLE notification_budget (
    receiver text    NOT NULL,
    day      date    NOT NULL,
    sent     integer NOT NULL DEFAULT 0 CHECK (sent >= 0),
    digested integer NOT NULL DEFAULT 0 CHECK (digested >= 0),
    PRIMARY KEY (receiver, day)
);

COMMENT ON TABLE notification_budget IS 'What each receiver got of its daily budget; the rest of the day is one digest.';
COMMENT ON COLUMN notification_budget.receiver IS 'Receiver, as named in the alert policy.';
COMMENT ON COLUMN notification_budget.day IS 'UTC day in which the notifications are due.';
COMMENT ON COLUMN notification_budget.sent IS 'Notifications made for the day, ends too, digests not.';
COMMENT ON COLUMN notification_budget.digested IS 'Alerts that went into the digest of the day.';

CREATE VIEW alert_current AS
SELECT *
FROM (
    -- A start and an end seen at one instant: it has ended.
    SELECT DISTINCT ON (fingerprint) *, event #>> '{data,summary}' AS summary
    FROM alert
    ORDER BY fingerprint, at DESC, status DESC, received_at DESC
) latest
WHERE status = 'firing' AND (period_end IS NULL OR period_end > now());

COMMENT ON VIEW alert_current IS 'Conditions that are firing now: not resolved, and their billing period has not ended.';
-- The columns are those of the table, and mean the same.
DO $$
DECLARE
    documented record;
BEGIN
    FOR documented IN
        SELECT attname, col_description(attrelid, attnum) AS words
        FROM pg_attribute
        WHERE attrelid = 'alert'::regclass AND attnum > 0 AND NOT attisdropped
    LOOP
        EXECUTE format('COMMENT ON COLUMN alert_current.%I IS %L', documented.attname, documented.words);
    END LOOP;
END
$$;
COMMENT ON COLUMN alert_current.summary IS 'What it is, in words.';

CREATE FUNCTION alert_stats(since timestamptz)
    RETURNS TABLE (
        type text, rule text, fired bigint, suppressed bigint, acknowledged bigint, acted bigint, ignored bigint,
        action_ratio numeric
    )
    LANGUAGE sql STABLE PARALLEL SAFE
-- Bound when it is made: the view over it must work whatever the search path is.
BEGIN ATOMIC
    SELECT type,
           coalesce(rule, ''),
           count(*),
           count(suppressed_by),
           count(acknowledged_at),
           count(*) FILTER (WHERE outcome = 'acted'),
           count(*) FILTER (WHERE outcome = 'ignored'),
           round(
               count(*) FILTER (WHERE outcome = 'acted')::numeric
                   / nullif(count(*) FILTER (WHERE suppressed_by IS NULL OR outcome = 'acted'), 0),
               4
           )
    FROM alert
    WHERE status = 'firing' AND at >= since
    GROUP BY 1, 2;
END;

COMMENT ON FUNCTION alert_stats(timestamptz) IS 'What became of the alerts that fired since an instant, by type and rule; see alert_rule_stats.';

CREATE VIEW alert_rule_stats AS SELECT * FROM alert_stats('-infinity');

COMMENT ON VIEW alert_rule_stats IS 'What became of all alerts that fired, by type and rule: a rule nobody acts on is noise.';
COMMENT ON COLUMN alert_rule_stats.type IS 'What is watched.';
COMMENT ON COLUMN alert_rule_stats.rule IS 'What decided; empty where nothing is named.';
COMMENT ON COLUMN alert_rule_stats.fired IS 'Alerts that fired, suppressed ones too.';
COMMENT ON COLUMN alert_rule_stats.suppressed IS 'Those suppressed by maintenance, a suppression or a budget.';
COMMENT ON COLUMN alert_rule_stats.acknowledged IS 'Those somebody took notice of.';
COMMENT ON COLUMN alert_rule_stats.acted IS 'Those somebody did something about.';
COMMENT ON COLUMN alert_rule_stats.ignored IS 'Those about which nothing had to be done.';
COMMENT ON COLUMN alert_rule_stats.action_ratio IS 'Alert-to-action ratio: acted, of those that were not suppressed (or acted on all the same); null without any.';
