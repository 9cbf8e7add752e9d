-- Meters with filters and every aggregation; calendars aligned by themselves, or listed boundary by boundary.

ALTER TABLE catalog.meter
    ADD COLUMN filter     jsonb,
    ADD COLUMN on_missing text NOT NULL DEFAULT 'reject' CHECK (on_missing IN ('reject', 'skip')),
    ADD COLUMN per        text NOT NULL DEFAULT 'hour' CHECK (per IN ('second', 'minute', 'hour', 'day')),
    ADD COLUMN precision  text NOT NULL DEFAULT 'rounded' CHECK (precision IN ('rounded', 'exact')),
    DROP CONSTRAINT meter_aggregation_check,
    ADD CONSTRAINT meter_aggregation_check CHECK (
        aggregation IN ('count', 'sum', 'min', 'max', 'avg', 'latest', 'unique', 'percentile', 'weighted_sum')
    );

ALTER TABLE catalog.calendar
    ALTER COLUMN anchor DROP NOT NULL,
    ALTER COLUMN "interval" DROP NOT NULL,
    ADD COLUMN boundaries text[],
    ADD CONSTRAINT calendar_one_form CHECK (
        CASE
            WHEN "interval" IS NULL THEN anchor IS NULL AND coalesce(cardinality(boundaries), 0) >= 2
            ELSE boundaries IS NULL
        END
    );

-- A hash in front: a gist index on text alone takes five times as long for ids that begin alike, as customers' do.
ALTER TABLE catalog.customer
    DROP CONSTRAINT customer_one_version,
    ADD CONSTRAINT customer_one_version
        EXCLUDE USING gist (
            hashtextextended(customer_id, 0) WITH =,
            tenant_id WITH =,
            customer_id WITH =,
            tstzrange(valid_from, valid_to) WITH &&
        );

COMMENT ON COLUMN catalog.calendar.anchor IS 'Local time at which one period begins, ISO 8601 without zone; days clamp to the month from here. Null: aligned to the calendar.';
COMMENT ON COLUMN catalog.calendar."interval" IS 'Length of a period, ISO 8601: P1M, P3M, P1Y, P7D, PT12H; null with boundaries.';
COMMENT ON COLUMN catalog.calendar.boundaries IS 'Local times at which the periods begin, ascending; the last ends the last period. Null with an interval.';
COMMENT ON COLUMN catalog.meter.aggregation IS 'How values add up: count, sum, min, max, avg, latest, unique, percentile or weighted_sum; never changes.';
COMMENT ON COLUMN catalog.meter.value IS 'What is aggregated: quantity, or the path of a property.';
COMMENT ON COLUMN catalog.meter.filter IS 'Which events are measured; null for all.';
COMMENT ON COLUMN catalog.meter.on_missing IS 'An event without the value is rejected, or skipped by this meter.';
COMMENT ON COLUMN catalog.meter.per IS 'Unit of time of a weighted_sum.';
COMMENT ON COLUMN catalog.meter.precision IS 'What becomes of a value of more than 9 decimals: it is rounded half-even, or, exact, the meter refuses the event.';
COMMENT ON COLUMN catalog.revision.applied_at IS 'Instant of that apply.';
