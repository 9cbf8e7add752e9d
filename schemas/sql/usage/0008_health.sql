-- How the pipeline itself does: what processes of `tidemark serve` report of their roles, and alarms about the pipeline.

CREATE TABLE role_report (
    role         text        NOT NULL,
    instance     text        NOT NULL,
    state        text        NOT NULL
        CHECK (state IN ('starting', 'running', 'standby', 'stalled', 'failing', 'stopped')),
    ready        boolean     NOT NULL,
    reason       text        NOT NULL,
    succeeded_at timestamptz,
    figures      jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(figures) = 'object'),
    reported_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (role, instance)
);

COMMENT ON TABLE role_report IS 'What each process of `tidemark serve` last reported of each of its roles; the last report of a role is kept.';
COMMENT ON COLUMN role_report.role IS 'Role, as `tidemark serve --roles` names it.';
COMMENT ON COLUMN role_report.instance IS 'Process: host, process id and start.';
COMMENT ON COLUMN role_report.state IS 'The worst state of the services of the role; standby while another instance acts.';
COMMENT ON COLUMN role_report.ready IS 'Whether it does what it should, as /readyz says.';
COMMENT ON COLUMN role_report.reason IS 'Why it is not ready, or what a standby waits for.';
COMMENT ON COLUMN role_report.succeeded_at IS 'Last success of the service whose last success is oldest; null before its first.';
COMMENT ON COLUMN role_report.figures IS 'What waits for the role, by metric and labels, as /metrics shows it.';
COMMENT ON COLUMN role_report.reported_at IS 'When it was reported, by the clock of the database.';

CREATE TABLE pipeline_alarm (
    trouble               text        NOT NULL
        CHECK (trouble IN ('job_down', 'lag', 'checkpoints', 'role_failing', 'disk')),
    subject               text        NOT NULL,
    since                 timestamptz NOT NULL,
    evidence              jsonb       NOT NULL CHECK (jsonb_typeof(evidence) = 'object'),
    announced_at          timestamptz,
    resolved_at           timestamptz,
    resolved_announced_at timestamptz,
    PRIMARY KEY (trouble, subject, since),
    CONSTRAINT pipeline_alarm_order CHECK (since <= resolved_at)
);
-- One at a time, whatever runs twice.
CREATE UNIQUE INDEX pipeline_alarm_firing ON pipeline_alarm (trouble, subject) WHERE resolved_at IS NULL;

COMMENT ON TABLE pipeline_alarm IS 'Times that something of the pipeline did not run as it should; a row is stored first and announced then.';
COMMENT ON COLUMN pipeline_alarm.trouble IS 'What is wrong; the type of the alert is `pipeline.` and this.';
COMMENT ON COLUMN pipeline_alarm.subject IS 'Job, role or folder of the disk that it is about.';
COMMENT ON COLUMN pipeline_alarm.since IS 'When it began, by the clock of the database; part of the id of its alerts.';
COMMENT ON COLUMN pipeline_alarm.evidence IS 'Figures of its start, as sent in the alert.';
COMMENT ON COLUMN pipeline_alarm.announced_at IS 'When the brokers had the alert of its start; null until then.';
COMMENT ON COLUMN pipeline_alarm.resolved_at IS 'When it ended; null while it runs.';
COMMENT ON COLUMN pipeline_alarm.resolved_announced_at IS 'When the brokers had the alert of its end; null until then.';

-- Dead notifications are counted every few seconds; delivered ones grow without bound.
CREATE INDEX notification_dead ON notification (dead_at) WHERE dead_at IS NOT NULL;
