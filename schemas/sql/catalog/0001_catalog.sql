-- The catalog: who sends usage, what is measured, on which calendar and up to which limit, and what happens to alerts.
-- Every row is one version in event time.

-- Exclusion constraints need equality on text in a gist index.
CREATE EXTENSION IF NOT EXISTS btree_gist WITH SCHEMA public;

CREATE TABLE catalog.calendar (
    calendar_id text        NOT NULL,
    anchor      text,
    "interval"  text,
    boundaries  text[],
    timezone    text        NOT NULL,
    valid_from  timestamptz NOT NULL DEFAULT '-infinity',
    valid_to    timestamptz NOT NULL DEFAULT 'infinity',
    PRIMARY KEY (calendar_id, valid_from),
    CONSTRAINT calendar_half_open CHECK (valid_from < valid_to),
    CONSTRAINT calendar_one_form CHECK (
        CASE
            WHEN "interval" IS NULL THEN anchor IS NULL AND coalesce(cardinality(boundaries), 0) >= 2
            ELSE boundaries IS NULL
        END
    ),
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
    tenant_id      text           NOT NULL,
    customer_id    text           NOT NULL,
    calendar_id    text,
    plan           text,
    revenue_weight numeric(10, 9) CHECK (revenue_weight BETWEEN 0 AND 1),
    valid_from     timestamptz    NOT NULL DEFAULT '-infinity',
    valid_to       timestamptz    NOT NULL DEFAULT 'infinity',
    PRIMARY KEY (tenant_id, customer_id, valid_from),
    CONSTRAINT customer_half_open CHECK (valid_from < valid_to),
    -- A hash in front: a gist index on text alone takes five times as long for ids that begin alike, as customers' do.
    CONSTRAINT customer_one_version
        EXCLUDE USING gist (
            hashtextextended(customer_id, 0) WITH =,
            tenant_id WITH =,
            customer_id WITH =,
            tstzrange(valid_from, valid_to) WITH &&
        )
);

CREATE TABLE catalog.meter (
    meter          text        NOT NULL,
    tenant_id      text,
    event_types    text[]      NOT NULL CHECK (cardinality(event_types) > 0),
    aggregation    text        NOT NULL CHECK (
        aggregation IN ('count', 'sum', 'min', 'max', 'avg', 'latest', 'unique', 'percentile', 'weighted_sum')
    ),
    value          text        NOT NULL DEFAULT 'quantity',
    filter         jsonb,
    on_missing     text        NOT NULL DEFAULT 'reject' CHECK (on_missing IN ('reject', 'skip')),
    per            text        NOT NULL DEFAULT 'hour' CHECK (per IN ('second', 'minute', 'hour', 'day')),
    precision      text        NOT NULL DEFAULT 'rounded' CHECK (precision IN ('rounded', 'exact')),
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

CREATE TABLE catalog.usage_limit (
    tenant_id  text           NOT NULL,
    scope      text           NOT NULL CHECK (scope IN ('tenant', 'plan', 'customer')),
    scope_id   text           NOT NULL,
    meter      text           NOT NULL,
    cap        numeric(38, 9) NOT NULL CHECK (cap >= 0),
    mode       text           NOT NULL CHECK (mode IN ('hard', 'soft')),
    thresholds text[]         NOT NULL,
    on_unknown text           NOT NULL CHECK (on_unknown IN ('fail_open', 'fail_closed')),
    valid_from timestamptz    NOT NULL DEFAULT '-infinity',
    valid_to   timestamptz    NOT NULL DEFAULT 'infinity',
    PRIMARY KEY (tenant_id, scope, scope_id, meter, valid_from),
    CONSTRAINT usage_limit_scope_id CHECK ((scope = 'tenant') = (scope_id = '')),
    CONSTRAINT usage_limit_half_open CHECK (valid_from < valid_to),
    -- A hash in front, as customer has it: there may be a limit for each.
    CONSTRAINT usage_limit_one_version
        EXCLUDE USING gist (
            hashtextextended(scope_id, 0) WITH =,
            tenant_id WITH =,
            scope WITH =,
            scope_id WITH =,
            meter WITH =,
            tstzrange(valid_from, valid_to) WITH &&
        )
);

-- Workers read the limits that many share whenever the catalog changes: these few, not one per customer.
CREATE INDEX usage_limit_shared ON catalog.usage_limit (tenant_id) WHERE scope <> 'customer';

CREATE TABLE catalog.alert_policy (
    kind       text        NOT NULL CHECK (kind IN ('receiver', 'route', 'suppression', 'maintenance')),
    name       text        NOT NULL,
    body       jsonb       NOT NULL CHECK (jsonb_typeof(body) = 'object'),
    valid_from timestamptz NOT NULL DEFAULT '-infinity',
    valid_to   timestamptz NOT NULL DEFAULT 'infinity',
    PRIMARY KEY (kind, name, valid_from),
    CONSTRAINT alert_policy_half_open CHECK (valid_from < valid_to),
    CONSTRAINT alert_policy_one_version
        EXCLUDE USING gist (kind WITH =, name WITH =, tstzrange(valid_from, valid_to) WITH &&)
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
COMMENT ON COLUMN catalog.calendar.anchor IS 'Local time at which one period begins, ISO 8601 without zone; days clamp to the month from here. Null: aligned to the calendar.';
COMMENT ON COLUMN catalog.calendar."interval" IS 'Length of a period, ISO 8601: P1M, P3M, P1Y, P7D, PT12H; null with boundaries.';
COMMENT ON COLUMN catalog.calendar.boundaries IS 'Local times at which the periods begin, ascending; the last ends the last period. Null with an interval.';
COMMENT ON COLUMN catalog.calendar.timezone IS 'IANA time zone of the anchor and of local days.';
COMMENT ON COLUMN catalog.calendar.valid_from IS 'First event time this version applies to; -infinity for the first version.';
COMMENT ON COLUMN catalog.calendar.valid_to IS 'First event time after this version; infinity while it is open.';

COMMENT ON TABLE catalog.tenant IS 'Who may send usage; an event of another tenant goes to the dead letters.';
COMMENT ON COLUMN catalog.tenant.tenant_id IS 'Identifier of the tenant, as events carry it.';
COMMENT ON COLUMN catalog.tenant.calendar_id IS 'Calendar of customers that name none; a calendar month in UTC when null.';
COMMENT ON COLUMN catalog.tenant.valid_from IS 'First event time this version applies to; -infinity for the first version.';
COMMENT ON COLUMN catalog.tenant.valid_to IS 'First event time after this version; infinity while it is open.';

COMMENT ON TABLE catalog.customer IS 'Customers with a calendar, plan or weight of their own; any other is counted on the default of its tenant.';
COMMENT ON COLUMN catalog.customer.tenant_id IS 'Tenant of the customer.';
COMMENT ON COLUMN catalog.customer.customer_id IS 'Identifier of the customer within its tenant, as events carry it.';
COMMENT ON COLUMN catalog.customer.calendar_id IS 'Billing calendar; the default of the tenant when null.';
COMMENT ON COLUMN catalog.customer.plan IS 'Plan of the customer, whose limits it has; null for none.';
COMMENT ON COLUMN catalog.customer.revenue_weight IS 'Declared share of the revenue of the tenant, 0 to 1; null if none is declared.';
COMMENT ON COLUMN catalog.customer.valid_from IS 'First event time this version applies to; -infinity for the first version.';
COMMENT ON COLUMN catalog.customer.valid_to IS 'First event time after this version; infinity while it is open.';

COMMENT ON TABLE catalog.meter IS 'What is measured: which event types, how they add up, and by which dimensions.';
COMMENT ON COLUMN catalog.meter.meter IS 'Name of the meter; one of a tenant hides one of the same name for all tenants.';
COMMENT ON COLUMN catalog.meter.tenant_id IS 'Tenant the meter belongs to; null for all tenants.';
COMMENT ON COLUMN catalog.meter.event_types IS 'Event types that feed the meter.';
COMMENT ON COLUMN catalog.meter.aggregation IS 'How values add up: count, sum, min, max, avg, latest, unique, percentile or weighted_sum; never changes.';
COMMENT ON COLUMN catalog.meter.value IS 'What is aggregated: quantity, or the path of a property.';
COMMENT ON COLUMN catalog.meter.filter IS 'Which events are measured; null for all.';
COMMENT ON COLUMN catalog.meter.on_missing IS 'An event without the value is rejected, or skipped by this meter.';
COMMENT ON COLUMN catalog.meter.per IS 'Unit of time of a weighted_sum.';
COMMENT ON COLUMN catalog.meter.precision IS 'What becomes of a value of more than 9 decimals: it is rounded half-even, or, exact, the meter refuses the event.';
COMMENT ON COLUMN catalog.meter.group_by IS 'Properties whose values split the usage into series; a missing one counts as empty text.';
COMMENT ON COLUMN catalog.meter.unit IS 'Unit of the totals, for people and invoices.';
COMMENT ON COLUMN catalog.meter.allow_negative IS 'Whether a negative quantity is counted; otherwise the event goes to the dead letters.';
COMMENT ON COLUMN catalog.meter.valid_from IS 'First event time this version applies to; -infinity for the first version.';
COMMENT ON COLUMN catalog.meter.valid_to IS 'First event time after this version; infinity while it is open.';

COMMENT ON TABLE catalog.usage_limit IS 'What a customer may use of a meter in a billing period; the most specific row holds whole: customer, plan, tenant.';
COMMENT ON COLUMN catalog.usage_limit.tenant_id IS 'Tenant whose customers are limited.';
COMMENT ON COLUMN catalog.usage_limit.scope IS 'tenant: every customer of it, each on its own; plan: every customer of the plan; customer: one.';
COMMENT ON COLUMN catalog.usage_limit.scope_id IS 'Name of the plan or identifier of the customer; empty for tenant.';
COMMENT ON COLUMN catalog.usage_limit.meter IS 'Meter that is limited: a count, a sum or a unique.';
COMMENT ON COLUMN catalog.usage_limit.cap IS 'Usage of a period at which the limit is reached, in the unit of the meter.';
COMMENT ON COLUMN catalog.usage_limit.mode IS 'hard: denied at the cap; soft: alerts only.';
COMMENT ON COLUMN catalog.usage_limit.thresholds IS 'What raises an alert besides the cap: 80%, 5000, every 10%, every 1000.';
COMMENT ON COLUMN catalog.usage_limit.on_unknown IS 'Answer of a reader that cannot know the usage: fail_open allows, fail_closed denies.';
COMMENT ON COLUMN catalog.usage_limit.valid_from IS 'First event time this version applies to; -infinity for the first version.';
COMMENT ON COLUMN catalog.usage_limit.valid_to IS 'First event time after this version; infinity while it is open.';

COMMENT ON TABLE catalog.alert_policy IS 'What happens to alerts: who receives them, by which route, and which are suppressed.';
COMMENT ON COLUMN catalog.alert_policy.kind IS 'receiver, route, suppression or maintenance.';
COMMENT ON COLUMN catalog.alert_policy.name IS 'Name of the entry among those of its kind.';
COMMENT ON COLUMN catalog.alert_policy.body IS 'The entry as the catalog file has it, with defaults; an empty list matches any.';
COMMENT ON COLUMN catalog.alert_policy.valid_from IS 'First instant of alerts this version applies to; -infinity for the first version.';
COMMENT ON COLUMN catalog.alert_policy.valid_to IS 'First instant after this version; infinity while it is open.';

COMMENT ON TABLE catalog.revision IS 'One row: how often the catalog has changed. Workers read the catalog again when it moves.';
COMMENT ON COLUMN catalog.revision.revision IS 'Raised by each apply that changed something; 0 before the first.';
COMMENT ON COLUMN catalog.revision.applied_at IS 'Instant of that apply.';
COMMENT ON COLUMN catalog.revision.one IS 'Always true: keeps the table to one row.';
