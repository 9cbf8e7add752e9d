-- The catalog: who sends usage, what is measured, and on which calendar; every row is one version in event time.

-- Exclusion constraints need equality on text in a gist index.
CREATE EXTENSION IF NOT EXISTS btree_gist WITH SCHEMA public;

CREATE TABLE catalog.calendar (
    calendar_id text        NOT NULL,
    anchor      text        NOT NULL,
    "interval"  text        NOT NULL,
    timezone    text        NOT NULL,
    valid_from  timestamptz NOT NULL DEFAULT '-infinity',
    valid_to    timestamptz NOT NULL DEFAULT 'infinity',
    PRIMARY KEY (calendar_id, valid_from),
    CONSTRAINT calendar_half_open CHECK (valid_from < valid_to),
    CONSTRAINT calendar_one_version
        EXCLUDE USING gist (calendar_id WITH =, tstzrange(valid_from, valid_to) WITH &&)
);

CREATE TABLE catalog.tenant (
    tenant_id   text        NOT NULL,
    calendar_id text,
    valid_from  timestamptz NOT NULL DEFAULT '-infinity',
    valid_to    timestamptz NOT NULL DEFAULT 'infinity',
    PRIMARY KEY (tenant_id, valid_from),
    CONSTRAINT tenant_half_open CHECK (valid_from < valid_to),
    CONSTRAINT tenant_one_version
        EXCLUDE USING gist (tenant_id WITH =, tstzrange(valid_from, valid_to) WITH &&)
);

CREATE TABLE catalog.customer (
    tenant_id   text        NOT NULL,
    customer_id text        NOT NULL,
    calendar_id text,
    valid_from  timestamptz NOT NULL DEFAULT '-infinity',
    valid_to    timestamptz NOT NULL DEFAULT 'infinity',
    PRIMARY KEY (tenant_id, customer_id, valid_from),
    CONSTRAINT customer_half_open CHECK (valid_from < valid_to),
    CONSTRAINT customer_one_version
        EXCLUDE USING gist (tenant_id WITH =, customer_id WITH =, tstzrange(valid_from, valid_to) WITH &&)
);

CREATE TABLE catalog.meter (
    meter          text        NOT NULL,
    tenant_id      text,
    event_types    text[]      NOT NULL CHECK (cardinality(event_types) > 0),
    aggregation    text        NOT NULL CHECK (aggregation IN ('count', 'sum')),
    value          text        NOT NULL DEFAULT 'quantity',
    group_by       text[]      NOT NULL DEFAULT '{}',
    unit           text        NOT NULL,
    allow_negative boolean     NOT NULL DEFAULT false,
    valid_from     timestamptz NOT NULL DEFAULT '-infinity',
    valid_to       timestamptz NOT NULL DEFAULT 'infinity',
    CONSTRAINT meter_half_open CHECK (valid_from < valid_to),
    -- No primary key: a meter of all tenants has no tenant_id. The exclusion covers uniqueness.
    CONSTRAINT meter_one_version
        EXCLUDE USING gist ((coalesce(tenant_id, '')) WITH =, meter WITH =, tstzrange(valid_from, valid_to) WITH &&)
);

CREATE TABLE catalog.revision (
    revision   bigint      NOT NULL CHECK (revision >= 0),
    applied_at timestamptz NOT NULL,
    one        boolean     NOT NULL DEFAULT true PRIMARY KEY CHECK (one)
);
INSERT INTO catalog.revision (revision, applied_at) VALUES (0, date_trunc('milliseconds', clock_timestamp()));

CREATE FUNCTION catalog.epoch_ms(moment timestamptz) RETURNS bigint
    LANGUAGE sql STABLE PARALLEL SAFE AS
$$
    -- An infinity has no epoch: null here, and the reader puts its own end of time in its place.
    SELECT CASE WHEN isfinite(moment) THEN floor(extract(epoch FROM moment) * 1000)::bigint END
$$;

COMMENT ON FUNCTION catalog.epoch_ms(timestamptz) IS 'Epoch milliseconds of a finite moment; null for -infinity and infinity.';

COMMENT ON TABLE catalog.calendar IS 'Billing calendars: periods follow from anchor, interval and time zone.';
COMMENT ON COLUMN catalog.calendar.calendar_id IS 'Name of the calendar.';
COMMENT ON COLUMN catalog.calendar.anchor IS 'Local time at which one period begins, ISO 8601 without zone; days clamp to the month from here.';
COMMENT ON COLUMN catalog.calendar."interval" IS 'Length of a period, ISO 8601: P1M, P3M, P1Y, P7D, PT12H.';
COMMENT ON COLUMN catalog.calendar.timezone IS 'IANA time zone of the anchor and of local days.';
COMMENT ON COLUMN catalog.calendar.valid_from IS 'First event time this version applies to; -infinity for the first version.';
COMMENT ON COLUMN catalog.calendar.valid_to IS 'First event time after this version; infinity while it is open.';

COMMENT ON TABLE catalog.tenant IS 'Who may send usage; an event of another tenant goes to the dead letters.';
COMMENT ON COLUMN catalog.tenant.tenant_id IS 'Identifier of the tenant, as events carry it.';
COMMENT ON COLUMN catalog.tenant.calendar_id IS 'Calendar of customers that name none; a calendar month in UTC when null.';
COMMENT ON COLUMN catalog.tenant.valid_from IS 'First event time this version applies to; -infinity for the first version.';
COMMENT ON COLUMN catalog.tenant.valid_to IS 'First event time after this version; infinity while it is open.';

COMMENT ON TABLE catalog.customer IS 'Customers with a calendar of their own; any other customer is counted on the default of its tenant.';
COMMENT ON COLUMN catalog.customer.tenant_id IS 'Tenant of the customer.';
COMMENT ON COLUMN catalog.customer.customer_id IS 'Identifier of the customer within its tenant, as events carry it.';
COMMENT ON COLUMN catalog.customer.calendar_id IS 'Billing calendar; the default of the tenant when null.';
COMMENT ON COLUMN catalog.customer.valid_from IS 'First event time this version applies to; -infinity for the first version.';
COMMENT ON COLUMN catalog.customer.valid_to IS 'First event time after this version; infinity while it is open.';

COMMENT ON TABLE catalog.meter IS 'What is measured: which event types, how they add up, and by which dimensions.';
COMMENT ON COLUMN catalog.meter.meter IS 'Name of the meter; one of a tenant hides one of the same name for all tenants.';
COMMENT ON COLUMN catalog.meter.tenant_id IS 'Tenant the meter belongs to; null for all tenants.';
COMMENT ON COLUMN catalog.meter.event_types IS 'Event types that feed the meter.';
COMMENT ON COLUMN catalog.meter.aggregation IS 'count: one per event; sum: the value of each event.';
COMMENT ON COLUMN catalog.meter.value IS 'Field a sum adds up: quantity.';
COMMENT ON COLUMN catalog.meter.group_by IS 'Properties whose values split the usage into series; a missing one counts as empty text.';
COMMENT ON COLUMN catalog.meter.unit IS 'Unit of the totals, for people and invoices.';
COMMENT ON COLUMN catalog.meter.allow_negative IS 'Whether a negative quantity is counted; otherwise the event goes to the dead letters.';
COMMENT ON COLUMN catalog.meter.valid_from IS 'First event time this version applies to; -infinity for the first version.';
COMMENT ON COLUMN catalog.meter.valid_to IS 'First event time after this version; infinity while it is open.';

COMMENT ON TABLE catalog.revision IS 'One row: how often the catalog has changed. Workers read the catalog again when it moves.';
COMMENT ON COLUMN catalog.revision.revision IS 'Raised by each apply that changed something; 0 before the first.';
COMMENT ON COLUMN catalog.revision.applied_at IS 'Instant of that apply; versions opened by it begin here.';
COMMENT ON COLUMN catalog.revision.one IS 'Always true: keeps the table to one row.';
