-- Sliding windows per tenant and meter, for dashboards: 5 min by 1 min, 1 h by 5 min, 24 h by 1 h.

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

COMMENT ON TABLE usage_sliding IS 'Usage per tenant and meter in sliding windows of event time; a window without usage has no row.';
COMMENT ON COLUMN usage_sliding.tenant_id IS 'Tenant that sent the usage.';
COMMENT ON COLUMN usage_sliding.meter IS 'Meter that measured it, as named in the catalog.';
COMMENT ON COLUMN usage_sliding.window_s IS 'Length of the window in seconds: 300, 3600 or 86400.';
COMMENT ON COLUMN usage_sliding.window_start IS 'First instant of the window, event time, UTC.';
COMMENT ON COLUMN usage_sliding.window_end IS 'First instant after the window, event time, UTC.';
COMMENT ON COLUMN usage_sliding.n IS 'Events in the window; a later write may only raise it.';
COMMENT ON COLUMN usage_sliding.total IS 'Sum of the measured amounts in the window, exact, in the unit of the meter.';
COMMENT ON COLUMN usage_sliding.updated_at IS 'When the row was last written, by the clock of the database.';
