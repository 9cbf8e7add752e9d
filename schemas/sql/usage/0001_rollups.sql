-- Rollups by minute, hour and local day: one row per series and bucket, absolute values, written by `rollup` alone.

-- No default time index: every reader names the series or prunes chunks, and each index is paid for by every upsert.

CREATE TABLE usage_minute (
    tenant_id    text           NOT NULL,
    customer_id  text           NOT NULL,
    meter        text           NOT NULL,
    dims         text           NOT NULL,
    minute_start timestamptz    NOT NULL,
    n            bigint         NOT NULL CHECK (n > 0),
    total        numeric(38, 9) NOT NULL,
    lo           numeric(38, 9) NOT NULL,
    hi           numeric(38, 9) NOT NULL,
    updated_at   timestamptz    NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, customer_id, meter, dims, minute_start),
    CONSTRAINT usage_minute_aligned
        CHECK (date_bin('1 minute', minute_start, '1970-01-01 00:00:00+00') = minute_start),
    CONSTRAINT usage_minute_bounds CHECK (lo <= hi)
);
SELECT create_hypertable('usage_minute', by_range('minute_start', INTERVAL '14 days'), create_default_indexes => false);

CREATE TABLE usage_hour (
    tenant_id   text           NOT NULL,
    customer_id text           NOT NULL,
    meter       text           NOT NULL,
    dims        text           NOT NULL,
    hour_start  timestamptz    NOT NULL,
    n           bigint         NOT NULL CHECK (n > 0),
    total       numeric(38, 9) NOT NULL,
    lo          numeric(38, 9) NOT NULL,
    hi          numeric(38, 9) NOT NULL,
    updated_at  timestamptz    NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, customer_id, meter, dims, hour_start),
    CONSTRAINT usage_hour_aligned
        CHECK (date_bin('1 hour', hour_start, '1970-01-01 00:00:00+00') = hour_start),
    CONSTRAINT usage_hour_bounds CHECK (lo <= hi)
);
SELECT create_hypertable('usage_hour', by_range('hour_start', INTERVAL '60 days'), create_default_indexes => false);

CREATE TABLE usage_day (
    tenant_id   text           NOT NULL,
    customer_id text           NOT NULL,
    meter       text           NOT NULL,
    dims        text           NOT NULL,
    day         date           NOT NULL,
    n           bigint         NOT NULL CHECK (n > 0),
    total       numeric(38, 9) NOT NULL,
    lo          numeric(38, 9) NOT NULL,
    hi          numeric(38, 9) NOT NULL,
    updated_at  timestamptz    NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, customer_id, meter, dims, day),
    CONSTRAINT usage_day_bounds CHECK (lo <= hi)
);
SELECT create_hypertable('usage_day', by_range('day', INTERVAL '365 days'), create_default_indexes => false);
-- Days are the one grain that is asked for all customers at once. Of a column that never changes: updates do not pay.
CREATE INDEX usage_day_of_all ON usage_day (day);

COMMENT ON TABLE usage_minute IS 'Usage per series and minute of event time (UTC): absolute values, replaced as they grow.';
COMMENT ON COLUMN usage_minute.tenant_id IS 'Tenant that sent the usage.';
COMMENT ON COLUMN usage_minute.customer_id IS 'Customer of the tenant whose usage it is.';
COMMENT ON COLUMN usage_minute.meter IS 'Meter that measured it, as named in the catalog.';
COMMENT ON COLUMN usage_minute.dims IS 'Group-by values as canonical JSON with sorted keys; empty text when the meter has none.';
COMMENT ON COLUMN usage_minute.minute_start IS 'Start of the minute of event time, UTC; the minute is half-open.';
COMMENT ON COLUMN usage_minute.n IS 'Events applied so far: the version of the row, which only grows. Not a billable count.';
COMMENT ON COLUMN usage_minute.total IS 'Sum of the measured amounts, exact, in the unit of the meter.';
COMMENT ON COLUMN usage_minute.lo IS 'Smallest measured amount, in the unit of the meter.';
COMMENT ON COLUMN usage_minute.hi IS 'Largest measured amount, in the unit of the meter.';
COMMENT ON COLUMN usage_minute.updated_at IS 'When the row was last written, by the clock of the database.';

COMMENT ON TABLE usage_hour IS 'Usage per series and hour of event time (UTC): absolute values, replaced as they grow.';
COMMENT ON COLUMN usage_hour.tenant_id IS 'Tenant that sent the usage.';
COMMENT ON COLUMN usage_hour.customer_id IS 'Customer of the tenant whose usage it is.';
COMMENT ON COLUMN usage_hour.meter IS 'Meter that measured it, as named in the catalog.';
COMMENT ON COLUMN usage_hour.dims IS 'Group-by values as canonical JSON with sorted keys; empty text when the meter has none.';
COMMENT ON COLUMN usage_hour.hour_start IS 'Start of the hour of event time, UTC; the hour is half-open.';
COMMENT ON COLUMN usage_hour.n IS 'Events applied so far: the version of the row, which only grows. Not a billable count.';
COMMENT ON COLUMN usage_hour.total IS 'Sum of the measured amounts, exact, in the unit of the meter.';
COMMENT ON COLUMN usage_hour.lo IS 'Smallest measured amount, in the unit of the meter.';
COMMENT ON COLUMN usage_hour.hi IS 'Largest measured amount, in the unit of the meter.';
COMMENT ON COLUMN usage_hour.updated_at IS 'When the row was last written, by the clock of the database.';

COMMENT ON TABLE usage_day IS 'Usage per series and local day of the customer: absolute values, replaced as they grow.';
COMMENT ON COLUMN usage_day.tenant_id IS 'Tenant that sent the usage.';
COMMENT ON COLUMN usage_day.customer_id IS 'Customer of the tenant whose usage it is.';
COMMENT ON COLUMN usage_day.meter IS 'Meter that measured it, as named in the catalog.';
COMMENT ON COLUMN usage_day.dims IS 'Group-by values as canonical JSON with sorted keys; empty text when the meter has none.';
COMMENT ON COLUMN usage_day.day IS 'Calendar day of the event time in the time zone of the customer.';
COMMENT ON COLUMN usage_day.n IS 'Events applied so far: the version of the row, which only grows. Not a billable count.';
COMMENT ON COLUMN usage_day.total IS 'Sum of the measured amounts, exact, in the unit of the meter.';
COMMENT ON COLUMN usage_day.lo IS 'Smallest measured amount, in the unit of the meter.';
COMMENT ON COLUMN usage_day.hi IS 'Largest measured amount, in the unit of the meter.';
COMMENT ON COLUMN usage_day.updated_at IS 'When the row was last written, by the clock of the database.';
