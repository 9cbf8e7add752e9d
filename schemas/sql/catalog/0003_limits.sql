-- Limits of tenants, plans and customers; and what happens to alerts: receivers, routes, suppressions, maintenance.

ALTER TABLE catalog.customer
    ADD COLUMN plan           text,
    ADD COLUMN revenue_weight numeric(10, 9) CHECK (revenue_weight BETWEEN 0 AND 1);

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

COMMENT ON TABLE catalog.customer IS 'Customers with a calendar, plan or weight of their own; any other is counted on the default of its tenant.';
COMMENT ON COLUMN catalog.customer.plan IS 'Plan of the customer, whose limits it has; null for none.';
COMMENT ON COLUMN catalog.customer.revenue_weight IS 'Declared share of the revenue of the tenant, 0 to 1; null if none is declared.';

COMMENT ON TABLE catalog.usage_limit IS 'What a customer may use of a meter in a billing period; the most specific row holds whole: customer, plan, tenant.';
COMMENT ON COLUMN catalog.usage_limit.tenant_id IS 'Tenant whose customers are limited.';
COMMENT ON COLUMN catalog.usage_limit.scope IS 'tenant: every customer of it, each on its own; plan: every customer of the plan; customer: one.';
COMMENT ON COLUMN catalog.usage_limit.scope_id IS 'Name of the plan or identifier of the customer; empty for tenant.';
COMMENT ON COLUMN catalog.usage_limit.meter IS 'Meter that is limited: a count, a sum or a unique.';
COMMENT ON COLUMN catalog.usage_limit.cap IS 'Usage of a period at which the limit is reached, in the unit of the meter.';
COMMENT ON COLUMN catalog.usage_limit.mode IS 'hard: denied at the cap; soft: told only.';
COMMENT ON COLUMN catalog.usage_limit.thresholds IS 'What is told besides the cap: 80%, 5000, every 10%, every 1000.';
COMMENT ON COLUMN catalog.usage_limit.on_unknown IS 'Answer of a reader that cannot know the usage: fail_open allows, fail_closed denies.';
COMMENT ON COLUMN catalog.usage_limit.valid_from IS 'First event time this version applies to; -infinity for the first version.';
COMMENT ON COLUMN catalog.usage_limit.valid_to IS 'First event time after this version; infinity while it is open.';

COMMENT ON TABLE catalog.alert_policy IS 'What happens to alerts: who receives them, by which route, and which are held back.';
COMMENT ON COLUMN catalog.alert_policy.kind IS 'receiver, route, suppression or maintenance.';
COMMENT ON COLUMN catalog.alert_policy.name IS 'Name of the entry among those of its kind.';
COMMENT ON COLUMN catalog.alert_policy.body IS 'The entry as the catalog file has it, with defaults; an empty list matches any.';
COMMENT ON COLUMN catalog.alert_policy.valid_from IS 'First instant of alerts this version applies to; -infinity for the first version.';
COMMENT ON COLUMN catalog.alert_policy.valid_to IS 'First instant after this version; infinity while it is open.';
