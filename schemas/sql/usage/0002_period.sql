-- Totals of billing periods: what an invoice reads, and what the live counters are restored from.

CREATE TABLE usage_period (
    tenant_id    text           NOT NULL,
    customer_id  text           NOT NULL,
    meter        text           NOT NULL,
    dims         text           NOT NULL,
    period_start timestamptz    NOT NULL,
    period_end   timestamptz    NOT NULL,
    n            bigint         NOT NULL CHECK (n > 0),
    total        numeric(38, 9) NOT NULL,
    lo           numeric(38, 9) NOT NULL,
    hi           numeric(38, 9) NOT NULL,
    updated_at   timestamptz    NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant_id, customer_id, meter, dims, period_start, period_end),
    CONSTRAINT usage_period_half_open CHECK (period_start < period_end),
    CONSTRAINT usage_period_aligned CHECK (
        date_bin('1 second', period_start, '1970-01-01 00:00:00+00') = period_start
        AND date_bin('1 second', period_end, '1970-01-01 00:00:00+00') = period_end
    ),
    CONSTRAINT usage_period_bounds CHECK (lo <= hi)
);

-- The keeper of the live counters asks every few seconds what was touched since its last push.
CREATE INDEX usage_period_updated_at ON usage_period (updated_at);

-- For questions about all customers in a range of time, such as what ended in a month; brings the keys with it.
CREATE INDEX usage_period_of_all ON usage_period (period_end, tenant_id, customer_id, meter, period_start);

COMMENT ON TABLE usage_period IS 'Usage per series and billing period: absolute values, replaced as they grow.';
COMMENT ON COLUMN usage_period.tenant_id IS 'Tenant that sent the usage.';
COMMENT ON COLUMN usage_period.customer_id IS 'Customer of the tenant whose usage it is.';
COMMENT ON COLUMN usage_period.meter IS 'Meter that measured it, as named in the catalog.';
COMMENT ON COLUMN usage_period.dims IS 'Group-by values as canonical JSON with sorted keys; empty text when the meter has none.';
COMMENT ON COLUMN usage_period.period_start IS 'First instant of the billing period of the customer.';
COMMENT ON COLUMN usage_period.period_end IS 'First instant after the billing period.';
COMMENT ON COLUMN usage_period.n IS 'Events applied so far: the version of the row, which only grows. Not a billable count.';
COMMENT ON COLUMN usage_period.total IS 'Sum of the measured amounts, exact, in the unit of the meter.';
COMMENT ON COLUMN usage_period.lo IS 'Smallest measured amount, in the unit of the meter.';
COMMENT ON COLUMN usage_period.hi IS 'Largest measured amount, in the unit of the meter.';
COMMENT ON COLUMN usage_period.updated_at IS 'When the row was last written, by the clock of the database.';

CREATE VIEW usage_total AS
SELECT tenant_id,
       customer_id,
       meter,
       period_start,
       period_end,
       sum(n)::bigint  AS n,
       sum(total)      AS total,
       min(lo)         AS lo,
       max(hi)         AS hi,
       max(updated_at) AS updated_at
FROM usage_period
GROUP BY tenant_id, customer_id, meter, period_start, period_end;

COMMENT ON VIEW usage_total IS 'Usage per customer, meter and billing period, over all dimensions: one line of an invoice.';
COMMENT ON COLUMN usage_total.tenant_id IS 'Tenant that sent the usage.';
COMMENT ON COLUMN usage_total.customer_id IS 'Customer of the tenant whose usage it is.';
COMMENT ON COLUMN usage_total.meter IS 'Meter that measured it, as named in the catalog.';
COMMENT ON COLUMN usage_total.period_start IS 'First instant of the billing period of the customer.';
COMMENT ON COLUMN usage_total.period_end IS 'First instant after the billing period.';
COMMENT ON COLUMN usage_total.n IS 'Events applied so far, over all dimensions.';
COMMENT ON COLUMN usage_total.total IS 'Sum of the measured amounts, exact, in the unit of the meter.';
COMMENT ON COLUMN usage_total.lo IS 'Smallest measured amount, in the unit of the meter.';
COMMENT ON COLUMN usage_total.hi IS 'Largest measured amount, in the unit of the meter.';
COMMENT ON COLUMN usage_total.updated_at IS 'When one of the dimensions was last written, by the clock of the database.';
