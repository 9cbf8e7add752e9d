-- Who has read what over the HTTP API.

CREATE TABLE read_audit (
    id        bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    tenant_id text        NOT NULL,
    key_id    text        NOT NULL REFERENCES api_key,
    run_id    text        NOT NULL,
    route     text        NOT NULL,
    asked     text        NOT NULL,
    rows      bigint      NOT NULL CHECK (rows >= 0)
);
CREATE INDEX read_audit_of_tenant ON read_audit (tenant_id, at);

COMMENT ON TABLE read_audit IS 'Every read over the HTTP API, written before it is answered; a read that cannot be written here is refused.';
COMMENT ON COLUMN read_audit.id IS 'Number of the read.';
COMMENT ON COLUMN read_audit.at IS 'When, by the clock of the database.';
COMMENT ON COLUMN read_audit.tenant_id IS 'Tenant whose data was read: that of the key.';
COMMENT ON COLUMN read_audit.key_id IS 'Key that it was read with.';
COMMENT ON COLUMN read_audit.run_id IS 'Run whose data it is; empty for the live one.';
COMMENT ON COLUMN read_audit.route IS 'Route, as the OpenAPI document has it.';
COMMENT ON COLUMN read_audit.asked IS 'Path and query as sent.';
COMMENT ON COLUMN read_audit.rows IS 'Rows in the answer.';
