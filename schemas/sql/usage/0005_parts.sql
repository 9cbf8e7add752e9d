-- Every aggregation as rows that add up: a part per value, histogram bin or moment, and what an average needs.

-- A bucket of a series is one row per part. `part` is empty for what count, sum, min, max, avg and latest need, `u` and a
-- hash for each value of a unique meter, `bp`, `bn` or `b0` for a bin of a percentile, `m` for the moment of a weighted
-- sum, `v` for voids of meters that nothing can be taken from.

ALTER TABLE usage_minute
    DROP CONSTRAINT usage_minute_pkey,
    ADD COLUMN part    text   NOT NULL DEFAULT '',
    ADD COLUMN samples bigint NOT NULL DEFAULT 0,
    ADD COLUMN latest  text,
    ALTER COLUMN lo DROP NOT NULL,
    ALTER COLUMN hi DROP NOT NULL,
    ADD PRIMARY KEY (tenant_id, customer_id, meter, dims, part, minute_start);
ALTER TABLE usage_hour
    DROP CONSTRAINT usage_hour_pkey,
    ADD COLUMN part    text   NOT NULL DEFAULT '',
    ADD COLUMN samples bigint NOT NULL DEFAULT 0,
    ADD COLUMN latest  text,
    ALTER COLUMN lo DROP NOT NULL,
    ALTER COLUMN hi DROP NOT NULL,
    ADD PRIMARY KEY (tenant_id, customer_id, meter, dims, part, hour_start);
ALTER TABLE usage_day
    DROP CONSTRAINT usage_day_pkey,
    ADD COLUMN part    text   NOT NULL DEFAULT '',
    ADD COLUMN samples bigint NOT NULL DEFAULT 0,
    ADD COLUMN latest  text,
    ALTER COLUMN lo DROP NOT NULL,
    ALTER COLUMN hi DROP NOT NULL,
    ADD PRIMARY KEY (tenant_id, customer_id, meter, dims, part, day);
DROP VIEW usage_total;
ALTER TABLE usage_period
    DROP CONSTRAINT usage_period_pkey,
    ADD COLUMN part    text   NOT NULL DEFAULT '',
    ADD COLUMN samples bigint NOT NULL DEFAULT 0,
    ADD COLUMN latest  text,
    ALTER COLUMN lo DROP NOT NULL,
    ALTER COLUMN hi DROP NOT NULL,
    ADD PRIMARY KEY (tenant_id, customer_id, meter, dims, part, period_start);

-- Until now every row was one sample a measurement.
UPDATE usage_minute SET samples = n;
UPDATE usage_hour SET samples = n;
UPDATE usage_day SET samples = n;
UPDATE usage_period SET samples = n;

COMMENT ON COLUMN usage_minute.part IS 'Which part of the aggregation the row is; empty for what is not made of parts.';
COMMENT ON COLUMN usage_minute.samples IS 'Measurements less those taken back by voids: what an average divides by.';
COMMENT ON COLUMN usage_minute.latest IS 'Event time (21 digits of ns), source, event id and value of the latest event, U+001F between them; latest meters only.';
COMMENT ON COLUMN usage_hour.part IS 'Which part of the aggregation the row is; empty for what is not made of parts.';
COMMENT ON COLUMN usage_hour.samples IS 'Measurements less those taken back by voids: what an average divides by.';
COMMENT ON COLUMN usage_hour.latest IS 'Event time (21 digits of ns), source, event id and value of the latest event, U+001F between them; latest meters only.';
COMMENT ON COLUMN usage_day.part IS 'Which part of the aggregation the row is; empty for what is not made of parts.';
COMMENT ON COLUMN usage_day.samples IS 'Measurements less those taken back by voids: what an average divides by.';
COMMENT ON COLUMN usage_day.latest IS 'Event time (21 digits of ns), source, event id and value of the latest event, U+001F between them; latest meters only.';
COMMENT ON COLUMN usage_period.part IS 'Which part of the aggregation the row is; empty for what is not made of parts.';
COMMENT ON COLUMN usage_period.samples IS 'Measurements less those taken back by voids: what an average divides by.';
COMMENT ON COLUMN usage_period.latest IS 'Event time (21 digits of ns), source, event id and value of the latest event, U+001F between them; latest meters only.';
COMMENT ON COLUMN usage_period.period_end IS 'First instant after the billing period: the earliest that an event was told, when a change of calendar cut the period.';
