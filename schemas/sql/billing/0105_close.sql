-- How far closed periods were looked at again.

CREATE TABLE close_look (
    one       boolean     NOT NULL DEFAULT true PRIMARY KEY CHECK (one),
    upto      timestamptz NOT NULL,
    -- The watermark that periods were closed by last: one that is far ahead of it needs somebody's yes.
    watermark timestamptz
);
INSERT INTO close_look (upto) VALUES ('-infinity');

COMMENT ON TABLE close_look IS 'One row: how far closed periods were looked at for usage that came after their close.';
COMMENT ON COLUMN close_look.one IS 'Always true: keeps the table to one row.';
COMMENT ON COLUMN close_look.upto IS 'Rollups written earlier, by the clock of the database, are in the ledger; the next look begins a minute before.';
COMMENT ON COLUMN close_look.watermark IS 'Arrival watermark that periods were closed by last; null before the first close.';

CREATE TABLE close_alarm (
    since                 timestamptz NOT NULL PRIMARY KEY,
    evidence              jsonb       NOT NULL CHECK (jsonb_typeof(evidence) = 'object'),
    announced_at          timestamptz,
    resolved_at           timestamptz,
    resolved_announced_at timestamptz
);
-- One condition: it begins when periods wait for a yes, and ends when none does.
CREATE UNIQUE INDEX close_alarm_running ON close_alarm ((true)) WHERE resolved_at IS NULL;

COMMENT ON TABLE close_alarm IS 'When periods that are due waited for somebody''s yes, and what was told of it.';
COMMENT ON COLUMN close_alarm.since IS 'When it began, by the clock of the database.';
COMMENT ON COLUMN close_alarm.evidence IS 'How many periods waited then, by cause, and the causes in words.';
COMMENT ON COLUMN close_alarm.announced_at IS 'When its begin was sent to the topic of alerts; null: not yet.';
COMMENT ON COLUMN close_alarm.resolved_at IS 'When no period waited any more; null: it goes on.';
COMMENT ON COLUMN close_alarm.resolved_announced_at IS 'When its end was sent; null: not yet.';

COMMENT ON VIEW usage_minute IS 'Usage per series and minute, of the live run and of promoted replays where they reach.';
COMMENT ON VIEW usage_hour IS 'Usage per series and hour, of the live run and of promoted replays where they reach.';
COMMENT ON VIEW usage_day IS 'Usage per series and local day, of the live run and of promoted replays where they reach.';
COMMENT ON VIEW usage_period IS 'Usage per series and billing period, of the live run and of promoted replays where they reach.';

-- A column means the same in every view.
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT c.relname, a.attname, words.meaning
        FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        JOIN (VALUES
            ('tenant_id', 'Tenant that sent the usage.'),
            ('customer_id', 'Customer of the tenant whose usage it is.'),
            ('meter', 'Meter that measured it, as named in the catalog.'),
            ('dims', 'Group-by values as canonical JSON with sorted keys; empty text when the meter has none.'),
            ('part', 'Which part of the aggregation the row is; empty for what is not made of parts.'),
            ('minute_start', 'Start of the minute of event time, UTC; the minute is half-open.'),
            ('hour_start', 'Start of the hour of event time, UTC; the hour is half-open.'),
            ('day', 'Calendar day of the event time in the time zone of the customer.'),
            ('period_start', 'First instant of the billing period of the customer.'),
            ('period_end', 'First instant after the billing period.'),
            ('n', 'Measurements applied, voids too. Not a billable count.'),
            ('samples', 'Measurements, less those taken back by voids.'),
            ('total', 'Sum of the measured amounts, exact, in the unit of the meter.'),
            ('lo', 'Smallest measured amount, in the unit of the meter.'),
            ('hi', 'Largest measured amount, in the unit of the meter.'),
            ('latest', 'Event time (21 digits of ns), source, event id and value of the latest event, U+001F between them; latest meters only.'),
            ('updated_at', 'When the row was last written, by the clock of the database.'),
            ('aggregation', 'How the meter adds up.'),
            ('unit', 'Unit of the value.'),
            ('value', 'The value of the meter in the period; of one that runs: so far.'),
            ('projected_value', 'Weighted sums of open periods: what it comes to if the level stays as it is to the end; else null.'),
            ('time_zone', 'Time zone of the customer, by the calendar it had when the period began.'),
            ('first_day', 'Local date of the first instant of the period.'),
            ('last_day', 'Local date of the last instant of the period.'),
            ('closed_at', 'When the period was closed, by the clock of the database.'),
            ('corrections', 'Corrections so far.'),
            ('stands', 'Whether the period still is one: false when another calendar put others in its place.'),
            ('content_hash', 'SHA-256 of the period and its present lines, see docs/billing.md.'),
            ('changed_at', 'When it was closed or last corrected.'),
            ('final', 'Whether the period is closed: the value changes only by a correction.'),
            ('status', 'The same in words: final, final and corrected, or an estimate and from when on it can be final.'),
            ('final_at', 'When it was closed; of an estimate: the earliest instant at which it can be.')
        ) AS words (name, meaning) ON words.name = a.attname
        WHERE c.relnamespace = current_schema()::regnamespace
          -- One that says something of its own keeps it.
          AND col_description(c.oid, a.attnum) IS NULL
          AND c.relname IN (
              'usage_minute', 'usage_hour', 'usage_day', 'usage_period', 'usage_first_closed', 'usage_corrected',
              'period_standing', 'usage_closed_line', 'usage_closed_total', 'usage_open_total', 'usage_current', 'usage_current_by_dims'
          )
    LOOP
        EXECUTE format('COMMENT ON COLUMN %I.%I IS %L', one.relname, one.attname, one.meaning);
    END LOOP;
END
$$;
