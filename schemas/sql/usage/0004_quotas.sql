-- Volume of tenants as their stored usage shows it, and the alarms about their quotas.

CREATE VIEW tenant_activity AS
SELECT tenant_id,
       hour_start,
       -- The second row of a weighted sum belongs to the same measurement.
       coalesce(sum(n) FILTER (WHERE part <> 'm'), 0)::bigint AS measurements,
       count(*)                                               AS series,
       max(updated_at)                                        AS updated_at
FROM usage_hour
GROUP BY tenant_id, hour_start;

COMMENT ON VIEW tenant_activity IS 'How much of each tenant was measured in each hour of event time, and in how many series.';
COMMENT ON COLUMN tenant_activity.tenant_id IS 'Tenant that sent the usage.';
COMMENT ON COLUMN tenant_activity.hour_start IS 'Start of the hour of event time, UTC; the hour is half-open.';
COMMENT ON COLUMN tenant_activity.measurements IS 'Measurements applied, voids too: an event counts once for each meter it feeds that is kept by hour.';
COMMENT ON COLUMN tenant_activity.series IS 'Rows of the hour: series (customer, meter, dims, part) with usage in it.';
COMMENT ON COLUMN tenant_activity.updated_at IS 'When one of the rows was last written, by the clock of the database.';

CREATE VIEW tenant_unique AS
SELECT tenant_id,
       customer_id,
       meter,
       period_start,
       min(period_end) AS period_end,
       count(*)        AS value_count,
       max(updated_at) AS updated_at
FROM usage_period
WHERE part LIKE 'u%'
GROUP BY tenant_id, customer_id, meter, period_start;

COMMENT ON VIEW tenant_unique IS 'Values that the unique meters of each customer hold in each billing period: what they cost in rows and state.';
COMMENT ON COLUMN tenant_unique.tenant_id IS 'Tenant that sent the usage.';
COMMENT ON COLUMN tenant_unique.customer_id IS 'Customer of the tenant whose usage it is.';
COMMENT ON COLUMN tenant_unique.meter IS 'Unique meter that measured it, as named in the catalog.';
COMMENT ON COLUMN tenant_unique.period_start IS 'First instant of the billing period of the customer.';
COMMENT ON COLUMN tenant_unique.period_end IS 'First instant after the billing period.';
COMMENT ON COLUMN tenant_unique.value_count IS 'Rows of values over all dimensions; a value in two dimensions is two rows.';
COMMENT ON COLUMN tenant_unique.updated_at IS 'When one of the rows was last written, by the clock of the database.';

CREATE TABLE quota_alarm (
    tenant_id             text        NOT NULL,
    rule                  text        NOT NULL CHECK (rule IN ('tenant_volume', 'tenant_series', 'tenant_unique')),
    since                 timestamptz NOT NULL,
    bound                 bigint      NOT NULL CHECK (bound > 0),
    value                 bigint      NOT NULL CHECK (value > 0),
    hour_start            timestamptz,
    hours                 jsonb       NOT NULL DEFAULT '{}',
    seen_at               timestamptz NOT NULL,
    evidence              jsonb       NOT NULL,
    announced_at          timestamptz,
    resolved_at           timestamptz,
    resolved_announced_at timestamptz,
    PRIMARY KEY (tenant_id, rule, since),
    CONSTRAINT quota_alarm_order CHECK (since <= seen_at AND seen_at <= coalesce(resolved_at, 'infinity')),
    CONSTRAINT quota_alarm_announced CHECK (resolved_announced_at IS NULL OR (announced_at IS NOT NULL AND resolved_at IS NOT NULL))
);
-- One at a time, whatever runs twice.
CREATE UNIQUE INDEX quota_alarm_firing ON quota_alarm (tenant_id, rule) WHERE resolved_at IS NULL;

COMMENT ON TABLE quota_alarm IS 'Times that a tenant was over a bound of volume, series or unique values; a row is stored first and announced then.';
COMMENT ON COLUMN quota_alarm.tenant_id IS 'Tenant that is over the bound.';
COMMENT ON COLUMN quota_alarm.rule IS 'Which bound: tenant_volume and tenant_series of an hour of event time, tenant_unique of open periods.';
COMMENT ON COLUMN quota_alarm.since IS 'When it was first seen, by the clock of the database; part of the id of its alerts.';
COMMENT ON COLUMN quota_alarm.bound IS 'Bound that was passed, from the settings.';
COMMENT ON COLUMN quota_alarm.value IS 'Greatest value seen: measurements, series, or unique values.';
COMMENT ON COLUMN quota_alarm.hour_start IS 'Hour of the greatest value; null for tenant_unique.';
COMMENT ON COLUMN quota_alarm.hours IS 'Hours over the bound with their values at the last news.';
COMMENT ON COLUMN quota_alarm.seen_at IS 'When there was news last; the alarm ends an hour after.';
COMMENT ON COLUMN quota_alarm.evidence IS 'Figures of its start, as sent in the alert.';
COMMENT ON COLUMN quota_alarm.announced_at IS 'When the brokers had the alert of its start; null until then.';
COMMENT ON COLUMN quota_alarm.resolved_at IS 'When it ended; null while it runs.';
COMMENT ON COLUMN quota_alarm.resolved_announced_at IS 'When the brokers had the alert of its end; null until then.';
