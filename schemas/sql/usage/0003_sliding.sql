-- Sliding windows of tenants and of customers, and ratios of two meters in the same windows.

CREATE TABLE usage_sliding (
    tenant_id    text           NOT NULL,
    meter        text           NOT NULL,
    window_s     integer        NOT NULL CHECK (window_s > 0),
    window_start timestamptz    NOT NULL,
    window_end   timestamptz    NOT NULL,
    n            bigint         NOT NULL CHECK (n > 0),
    total        numeric(38, 9) NOT NULL,
    updated_at   timestamptz    NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, meter, window_s, window_end),
    CONSTRAINT usage_sliding_length CHECK (window_end - window_start = make_interval(secs => window_s)),
    CONSTRAINT usage_sliding_aligned
        CHECK (date_bin('1 minute', window_end, '1970-01-01 00:00:00+00') = window_end)
);
SELECT create_hypertable('usage_sliding', by_range('window_end', INTERVAL '14 days'), create_default_indexes => false);
CREATE TRIGGER refuse_older BEFORE UPDATE ON usage_sliding FOR EACH ROW EXECUTE FUNCTION refuse_older();

COMMENT ON TABLE usage_sliding IS 'Usage per tenant and meter in sliding windows of event time; a window without usage has no row.';
COMMENT ON COLUMN usage_sliding.tenant_id IS 'Tenant that sent the usage.';
COMMENT ON COLUMN usage_sliding.meter IS 'Meter that measured it, as named in the catalog.';
COMMENT ON COLUMN usage_sliding.window_s IS 'Length of the window in seconds: 300, 3600, 86400 or 604800.';
COMMENT ON COLUMN usage_sliding.window_start IS 'First instant of the window, event time, UTC.';
COMMENT ON COLUMN usage_sliding.window_end IS 'First instant after the window, event time, UTC.';
COMMENT ON COLUMN usage_sliding.n IS 'Events in the window; a later write may only raise it.';
COMMENT ON COLUMN usage_sliding.total IS 'Sum of the measured amounts in the window, exact, in the unit of the meter.';
COMMENT ON COLUMN usage_sliding.updated_at IS 'When the row was last written, by the clock of the database.';

CREATE TABLE usage_sliding_customer (
    tenant_id    text           NOT NULL,
    customer_id  text           NOT NULL,
    meter        text           NOT NULL,
    window_s     integer        NOT NULL CHECK (window_s > 0),
    window_start timestamptz    NOT NULL,
    window_end   timestamptz    NOT NULL,
    n            bigint         NOT NULL CHECK (n > 0),
    total        numeric(38, 9) NOT NULL,
    updated_at   timestamptz    NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, customer_id, meter, window_s, window_end),
    CONSTRAINT usage_sliding_customer_length CHECK (window_end - window_start = make_interval(secs => window_s)),
    CONSTRAINT usage_sliding_customer_aligned
        CHECK (date_bin('1 minute', window_end, '1970-01-01 00:00:00+00') = window_end)
);
-- Up to 17 rows a customer, meter and minute: a chunk a day, so that old ones can be dropped by the day.
SELECT create_hypertable('usage_sliding_customer', by_range('window_end', INTERVAL '1 day'), create_default_indexes => false);
-- Windows are written in the order of time, so ranges of pages tell: which were written lately, and all rows of a window.
CREATE INDEX usage_sliding_customer_updated_at ON usage_sliding_customer
    USING brin (updated_at, window_end) WITH (pages_per_range = 32, autosummarize = on);
CREATE TRIGGER refuse_older BEFORE UPDATE ON usage_sliding_customer FOR EACH ROW EXECUTE FUNCTION refuse_older();

COMMENT ON TABLE usage_sliding_customer IS 'Usage per customer and meter in sliding windows of event time; a window without usage has no row.';
COMMENT ON COLUMN usage_sliding_customer.tenant_id IS 'Tenant that sent the usage.';
COMMENT ON COLUMN usage_sliding_customer.customer_id IS 'Customer of the tenant whose usage it is.';
COMMENT ON COLUMN usage_sliding_customer.meter IS 'Meter that measured it, as named in the catalog.';
COMMENT ON COLUMN usage_sliding_customer.window_s IS 'Length of the window in seconds: 300 or 3600.';
COMMENT ON COLUMN usage_sliding_customer.window_start IS 'First instant of the window, event time, UTC.';
COMMENT ON COLUMN usage_sliding_customer.window_end IS 'First instant after the window, event time, UTC.';
COMMENT ON COLUMN usage_sliding_customer.n IS 'Measurements in the window, voids too; a later write may only raise it.';
COMMENT ON COLUMN usage_sliding_customer.total IS 'Sum of the measured amounts in the window, exact, in the unit of the meter.';
COMMENT ON COLUMN usage_sliding_customer.updated_at IS 'When the row was last written, by the clock of the database.';

-- Grouped rather than joined: a condition on tenant, customer or window then reaches the index of the table.
CREATE FUNCTION sliding_ratio(numerator_meter text, denominator_meter text, window_s integer)
    RETURNS TABLE (
        tenant_id text, window_start timestamptz, window_end timestamptz,
        numerator numeric, denominator numeric, ratio numeric
    )
    LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT s.tenant_id, s.window_start, s.window_end,
           coalesce(sum(s.total) FILTER (WHERE s.meter = numerator_meter), 0),
           sum(s.total) FILTER (WHERE s.meter = denominator_meter),
           divide_half_even(
               coalesce(sum(s.total) FILTER (WHERE s.meter = numerator_meter), 0),
               sum(s.total) FILTER (WHERE s.meter = denominator_meter)
           )
    FROM usage_sliding s
    WHERE s.meter IN (numerator_meter, denominator_meter) AND s.window_s = sliding_ratio.window_s
    GROUP BY s.tenant_id, s.window_start, s.window_end;
END;

COMMENT ON FUNCTION sliding_ratio(text, text, integer) IS 'Two meters of a tenant and their ratio, half-even to nine decimals, in every sliding window that has one of them; 0 for a missing numerator, a null ratio for a denominator that is missing or 0.';

CREATE FUNCTION sliding_customer_ratio(numerator_meter text, denominator_meter text, window_s integer)
    RETURNS TABLE (
        tenant_id text, customer_id text, window_start timestamptz, window_end timestamptz,
        numerator numeric, denominator numeric, ratio numeric
    )
    LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT s.tenant_id, s.customer_id, s.window_start, s.window_end,
           coalesce(sum(s.total) FILTER (WHERE s.meter = numerator_meter), 0),
           sum(s.total) FILTER (WHERE s.meter = denominator_meter),
           divide_half_even(
               coalesce(sum(s.total) FILTER (WHERE s.meter = numerator_meter), 0),
               sum(s.total) FILTER (WHERE s.meter = denominator_meter)
           )
    FROM usage_sliding_customer s
    WHERE s.meter IN (numerator_meter, denominator_meter) AND s.window_s = sliding_customer_ratio.window_s
    GROUP BY s.tenant_id, s.customer_id, s.window_start, s.window_end;
END;

COMMENT ON FUNCTION sliding_customer_ratio(text, text, integer) IS 'Two meters of a customer and their ratio in every sliding window that has one of them; otherwise as sliding_ratio.';
