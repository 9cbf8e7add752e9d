-- Anomalies that the anomaly job saw; the topic of alerts has the same, once each.

CREATE TABLE anomaly (
    tenant_id   text           NOT NULL,
    customer_id text           NOT NULL,
    meter       text           NOT NULL,
    kind        text           NOT NULL
        CHECK (kind IN ('spike', 'drop', 'missing', 'drift', 'customer_spike', 'error_rate')),
    since       timestamptz    NOT NULL,
    status      text           NOT NULL CHECK (status IN ('firing', 'resolved')),
    expected    numeric(38, 9) NOT NULL,
    observed    numeric(38, 9) NOT NULL,
    threshold   numeric(38, 9) NOT NULL,
    score       numeric(38, 9) NOT NULL,
    seen_at     timestamptz    NOT NULL,
    updated_at  timestamptz    NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, customer_id, meter, kind, since),
    CONSTRAINT anomaly_order CHECK (since <= seen_at)
);
CREATE INDEX anomaly_since ON anomaly (since);
CREATE INDEX anomaly_firing ON anomaly (tenant_id) WHERE status = 'firing';

CREATE FUNCTION anomaly_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION anomaly_written() IS 'Stamps a row of anomaly whenever it is written.';
CREATE TRIGGER anomaly_written BEFORE UPDATE ON anomaly FOR EACH ROW EXECUTE FUNCTION anomaly_written();

COMMENT ON TABLE anomaly IS 'Anomalies of usage: one row each, with the figures of its start until it ends, then with those of its end.';
COMMENT ON COLUMN anomaly.tenant_id IS 'Tenant whose usage it is.';
COMMENT ON COLUMN anomaly.customer_id IS 'Customer of the tenant, for customer_spike; empty for the others.';
COMMENT ON COLUMN anomaly.meter IS 'Meter that measured it, as named in the catalog; empty for error_rate.';
COMMENT ON COLUMN anomaly.kind IS 'What it is: spike, drop, missing, drift, customer_spike or error_rate.';
COMMENT ON COLUMN anomaly.since IS 'When it began, event time; part of the id of its alerts.';
COMMENT ON COLUMN anomaly.status IS 'firing while it runs, then resolved.';
COMMENT ON COLUMN anomaly.expected IS 'Usage that was expected of the window, in the unit of the meter; of error_rate the usual share.';
COMMENT ON COLUMN anomaly.observed IS 'Usage of the window, exact, in the unit of the meter; of error_rate the share of dead letters.';
COMMENT ON COLUMN anomaly.threshold IS 'What would have been too much or too little of it.';
COMMENT ON COLUMN anomaly.score IS 'How far observed is from expected, in robust standard deviations; negative below it.';
COMMENT ON COLUMN anomaly.seen_at IS 'End of the window the figures are of, event time: an hour, or seven days for drift.';
COMMENT ON COLUMN anomaly.updated_at IS 'When the row was last written, by the clock of the database.';
