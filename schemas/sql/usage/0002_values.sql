-- What people read: one value per meter and bucket, whatever the aggregation, so that nobody merges parts by hand.

CREATE VIEW meter_kind AS
SELECT DISTINCT ON (tenant_id, meter) tenant_id, meter, aggregation, unit, per
FROM (
    SELECT tenant_id, meter, aggregation, unit, per, 1 AS precedence, valid_from
    FROM catalog.meter
    WHERE tenant_id IS NOT NULL
    UNION ALL
    SELECT t.tenant_id, m.meter, m.aggregation, m.unit, m.per, 2, m.valid_from
    FROM catalog.meter m
    CROSS JOIN (SELECT DISTINCT tenant_id FROM catalog.tenant) t
    WHERE m.tenant_id IS NULL
    UNION ALL
    SELECT DISTINCT tenant_id, 'tidemark.unmeasured', 'count', 'events', 'hour', 3, '-infinity'::timestamptz
    FROM catalog.tenant
) visible
ORDER BY tenant_id, meter, precedence, valid_from DESC;

COMMENT ON VIEW meter_kind IS 'How each meter of each tenant adds up; the catalog lets no version of a meter change it.';
COMMENT ON COLUMN meter_kind.tenant_id IS 'Tenant that may use the meter.';
COMMENT ON COLUMN meter_kind.meter IS 'Name of the meter.';
COMMENT ON COLUMN meter_kind.aggregation IS 'How it adds up.';
COMMENT ON COLUMN meter_kind.unit IS 'Unit of its values.';
COMMENT ON COLUMN meter_kind.per IS 'Unit of time of a weighted sum.';

CREATE FUNCTION divide_half_even(numerator numeric, denominator numeric) RETURNS numeric
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    -- On the ninth decimal: the quotient rounded towards zero, then up if the rest is over a half, or a half and odd.
    SELECT CASE
        WHEN denominator = 0 THEN NULL
        ELSE (q + CASE
            WHEN 2 * abs(r) > abs(denominator) OR (2 * abs(r) = abs(denominator) AND mod(q, 2) <> 0)
                THEN sign(numerator) * sign(denominator)
            ELSE 0
        END) * 0.000000001
    END
    FROM (SELECT div(numerator * 1000000000, nullif(denominator, 0)),
                 mod(numerator * 1000000000, nullif(denominator, 0))) AS whole (q, r)
);

COMMENT ON FUNCTION divide_half_even(numeric, numeric) IS 'Quotient rounded half-even to nine decimals; null for a zero denominator.';

CREATE TYPE histogram_bin AS (part text, samples bigint, lo numeric, hi numeric);

COMMENT ON TYPE histogram_bin IS 'One bin of a percentile meter, as rows of the rollups hold it.';

CREATE FUNCTION bin_estimate(part text) RETURNS numeric
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN part = 'b0' THEN 0
    -- The 40 decimals of the base are how many the power is worked out to.
    ELSE round(
        (CASE WHEN part LIKE 'bn%' THEN -2 ELSE 2 END) * power(1.02::numeric(41, 40), substr(part, 3)::int) / 2.02, 18
    )
END;

COMMENT ON FUNCTION bin_estimate(text) IS 'The value that represents a bin: within 0.991 % of all that fall into it.';

CREATE FUNCTION histogram_percentile(bins histogram_bin[], p numeric) RETURNS numeric
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    WITH merged AS (
        SELECT part, sum(samples) AS samples, min(lo) AS lo, max(hi) AS hi
        FROM unnest(bins) AS bin (part, samples, lo, hi)
        GROUP BY part
        HAVING sum(samples) > 0
    ), placed AS (
        SELECT samples, least(greatest(bin_estimate(part), lo), hi) AS value FROM merged
    ), counted AS (
        SELECT value, sum(samples) OVER (ORDER BY value) AS upto, sum(samples) OVER () AS total FROM placed
    )
    SELECT min(value) FROM counted WHERE upto >= greatest(1, ceil(p * total))
);

COMMENT ON FUNCTION histogram_percentile(histogram_bin[], numeric) IS 'Smallest value that a share p of the samples does not exceed, at most 1 % off; merges bins of any number of rows.';

CREATE FUNCTION meter_value(
    aggregation text, samples numeric, total numeric, lo numeric, hi numeric, latest text, uniques bigint, median numeric
) RETURNS numeric
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE aggregation
    WHEN 'count'      THEN total
    WHEN 'sum'        THEN total
    WHEN 'min'        THEN lo
    WHEN 'max'        THEN hi
    -- Where voids leave no sample there is nothing to average.
    WHEN 'avg'        THEN CASE WHEN samples > 0 THEN divide_half_even(total, samples) END
    WHEN 'latest'     THEN split_part(latest, U&'\001f', 4)::numeric
    WHEN 'unique'     THEN nullif(uniques, 0)
    WHEN 'percentile' THEN median
END;

COMMENT ON FUNCTION meter_value(text, numeric, numeric, numeric, numeric, text, bigint, numeric) IS 'The value of a bucket from what its parts add up to; a weighted sum needs the level before, see usage_weighted_sum.';

CREATE VIEW usage_minute_value AS
SELECT *
FROM (
    SELECT u.tenant_id, u.customer_id, u.meter, u.dims, u.minute_start,
           k.aggregation,
           k.unit,
           coalesce(sum(samples) FILTER (WHERE part NOT IN ('m', 'v')), 0)::bigint AS samples,
           meter_value(
               k.aggregation,
               sum(samples) FILTER (WHERE part = ''),
               sum(total) FILTER (WHERE part = ''),
               min(lo) FILTER (WHERE part = ''),
               max(hi) FILTER (WHERE part = ''),
               max(latest COLLATE "C"),
               count(*) FILTER (WHERE part LIKE 'u%' AND samples > 0),
               histogram_percentile(
                   array_agg((part, samples, lo, hi)::histogram_bin) FILTER (WHERE part LIKE 'b%'), 0.5
               )
           ) AS value,
           max(updated_at) AS updated_at
    FROM usage_minute u
    JOIN meter_kind k USING (tenant_id, meter)
    GROUP BY u.tenant_id, u.customer_id, u.meter, u.dims, u.minute_start, k.aggregation, k.unit
) bucket
WHERE value IS NOT NULL;

COMMENT ON VIEW usage_minute_value IS 'Usage per series and minute, one value a row; weighted sums: usage_weighted_sum.';
COMMENT ON COLUMN usage_minute_value.tenant_id IS 'Tenant that sent the usage.';
COMMENT ON COLUMN usage_minute_value.customer_id IS 'Customer of the tenant whose usage it is.';
COMMENT ON COLUMN usage_minute_value.meter IS 'Meter that measured it, as named in the catalog.';
COMMENT ON COLUMN usage_minute_value.dims IS 'Group-by values as canonical JSON with sorted keys; empty text when the meter has none.';
COMMENT ON COLUMN usage_minute_value.minute_start IS 'Start of the minute of event time, UTC.';
COMMENT ON COLUMN usage_minute_value.aggregation IS 'How the meter adds up.';
COMMENT ON COLUMN usage_minute_value.unit IS 'Unit of the value.';
COMMENT ON COLUMN usage_minute_value.samples IS 'Measurements in it, less those taken back by voids.';
COMMENT ON COLUMN usage_minute_value.value IS 'The value of the meter: exact, but for averages (rounded half-even to nine decimals) and percentiles (p50, at most 1 % off).';
COMMENT ON COLUMN usage_minute_value.updated_at IS 'When one of its rows was last written, by the clock of the database.';

CREATE VIEW usage_hour_value AS
SELECT *
FROM (
    SELECT u.tenant_id, u.customer_id, u.meter, u.dims, u.hour_start,
           k.aggregation,
           k.unit,
           coalesce(sum(samples) FILTER (WHERE part NOT IN ('m', 'v')), 0)::bigint AS samples,
           meter_value(
               k.aggregation,
               sum(samples) FILTER (WHERE part = ''),
               sum(total) FILTER (WHERE part = ''),
               min(lo) FILTER (WHERE part = ''),
               max(hi) FILTER (WHERE part = ''),
               max(latest COLLATE "C"),
               count(*) FILTER (WHERE part LIKE 'u%' AND samples > 0),
               histogram_percentile(
                   array_agg((part, samples, lo, hi)::histogram_bin) FILTER (WHERE part LIKE 'b%'), 0.5
               )
           ) AS value,
           max(updated_at) AS updated_at
    FROM usage_hour u
    JOIN meter_kind k USING (tenant_id, meter)
    GROUP BY u.tenant_id, u.customer_id, u.meter, u.dims, u.hour_start, k.aggregation, k.unit
) bucket
WHERE value IS NOT NULL;

COMMENT ON VIEW usage_hour_value IS 'Usage per series and hour, one value a row; weighted sums: usage_weighted_sum.';
COMMENT ON COLUMN usage_hour_value.tenant_id IS 'Tenant that sent the usage.';
COMMENT ON COLUMN usage_hour_value.customer_id IS 'Customer of the tenant whose usage it is.';
COMMENT ON COLUMN usage_hour_value.meter IS 'Meter that measured it, as named in the catalog.';
COMMENT ON COLUMN usage_hour_value.dims IS 'Group-by values as canonical JSON with sorted keys; empty text when the meter has none.';
COMMENT ON COLUMN usage_hour_value.hour_start IS 'Start of the hour of event time, UTC.';
COMMENT ON COLUMN usage_hour_value.aggregation IS 'How the meter adds up.';
COMMENT ON COLUMN usage_hour_value.unit IS 'Unit of the value.';
COMMENT ON COLUMN usage_hour_value.samples IS 'Measurements in it, less those taken back by voids.';
COMMENT ON COLUMN usage_hour_value.value IS 'The value of the meter: exact, but for averages (rounded half-even to nine decimals) and percentiles (p50, at most 1 % off).';
COMMENT ON COLUMN usage_hour_value.updated_at IS 'When one of its rows was last written, by the clock of the database.';

CREATE VIEW usage_day_value AS
SELECT *
FROM (
    SELECT u.tenant_id, u.customer_id, u.meter, u.dims, u.day,
           k.aggregation,
           k.unit,
           coalesce(sum(samples) FILTER (WHERE part NOT IN ('m', 'v')), 0)::bigint AS samples,
           meter_value(
               k.aggregation,
               sum(samples) FILTER (WHERE part = ''),
               sum(total) FILTER (WHERE part = ''),
               min(lo) FILTER (WHERE part = ''),
               max(hi) FILTER (WHERE part = ''),
               max(latest COLLATE "C"),
               count(*) FILTER (WHERE part LIKE 'u%' AND samples > 0),
               histogram_percentile(
                   array_agg((part, samples, lo, hi)::histogram_bin) FILTER (WHERE part LIKE 'b%'), 0.5
               )
           ) AS value,
           max(updated_at) AS updated_at
    FROM usage_day u
    JOIN meter_kind k USING (tenant_id, meter)
    GROUP BY u.tenant_id, u.customer_id, u.meter, u.dims, u.day, k.aggregation, k.unit
) bucket
WHERE value IS NOT NULL;

COMMENT ON VIEW usage_day_value IS 'Usage per series and day, one value a row; weighted sums: usage_weighted_sum.';
COMMENT ON COLUMN usage_day_value.tenant_id IS 'Tenant that sent the usage.';
COMMENT ON COLUMN usage_day_value.customer_id IS 'Customer of the tenant whose usage it is.';
COMMENT ON COLUMN usage_day_value.meter IS 'Meter that measured it, as named in the catalog.';
COMMENT ON COLUMN usage_day_value.dims IS 'Group-by values as canonical JSON with sorted keys; empty text when the meter has none.';
COMMENT ON COLUMN usage_day_value.day IS 'Calendar day of the event time in the time zone of the customer.';
COMMENT ON COLUMN usage_day_value.aggregation IS 'How the meter adds up.';
COMMENT ON COLUMN usage_day_value.unit IS 'Unit of the value.';
COMMENT ON COLUMN usage_day_value.samples IS 'Measurements in it, less those taken back by voids.';
COMMENT ON COLUMN usage_day_value.value IS 'The value of the meter: exact, but for averages (rounded half-even to nine decimals) and percentiles (p50, at most 1 % off).';
COMMENT ON COLUMN usage_day_value.updated_at IS 'When one of its rows was last written, by the clock of the database.';

CREATE VIEW usage_period_value AS
SELECT *
FROM (
    SELECT u.tenant_id, u.customer_id, u.meter, u.dims, u.period_start, min(u.period_end) AS period_end,
           k.aggregation,
           k.unit,
           coalesce(sum(samples) FILTER (WHERE part NOT IN ('m', 'v')), 0)::bigint AS samples,
           meter_value(
               k.aggregation,
               sum(samples) FILTER (WHERE part = ''),
               sum(total) FILTER (WHERE part = ''),
               min(lo) FILTER (WHERE part = ''),
               max(hi) FILTER (WHERE part = ''),
               max(latest COLLATE "C"),
               count(*) FILTER (WHERE part LIKE 'u%' AND samples > 0),
               histogram_percentile(
                   array_agg((part, samples, lo, hi)::histogram_bin) FILTER (WHERE part LIKE 'b%'), 0.5
               )
           ) AS value,
           NULL::numeric AS projected_value,
           max(updated_at) AS updated_at
    FROM usage_period u
    JOIN meter_kind k USING (tenant_id, meter)
    GROUP BY u.tenant_id, u.customer_id, u.meter, u.dims, u.period_start, k.aggregation, k.unit
    UNION ALL
    -- A weighted sum begins with the level that the periods before have left, and lasts until now or the end.
    SELECT tenant_id, customer_id, meter, dims, period_start, period_end, 'weighted_sum', unit, samples,
           divide_half_even(level_before * (upto - begin) + change * upto - moment, per_ms),
           divide_half_even(level_before * (finish - begin) + change * finish - moment, per_ms),
           updated_at
    FROM (
        SELECT *, sum(change) OVER before - change AS level_before
        FROM (
            SELECT tenant_id, customer_id, meter, dims, period_start, min(period_end) AS period_end, unit,
                   CASE per WHEN 'second' THEN 1000 WHEN 'minute' THEN 60000 WHEN 'day' THEN 86400000 ELSE 3600000 END
                       AS per_ms,
                   floor(extract(epoch FROM period_start) * 1000)                   AS begin,
                   floor(extract(epoch FROM min(period_end)) * 1000)                AS finish,
                   -- A period that runs has come as far as the clock.
                   floor(extract(epoch FROM greatest(period_start, least(min(period_end), now()))) * 1000) AS upto,
                   coalesce(sum(samples) FILTER (WHERE part = ''), 0)::bigint       AS samples,
                   coalesce(sum(total) FILTER (WHERE part = ''), 0)                 AS change,
                   coalesce(sum(total) FILTER (WHERE part = 'm'), 0)                AS moment,
                   max(updated_at)                                                  AS updated_at
            FROM usage_period
            JOIN meter_kind USING (tenant_id, meter)
            WHERE aggregation = 'weighted_sum'
            GROUP BY tenant_id, customer_id, meter, dims, period_start, unit, per
        ) integrated
        WINDOW before AS (PARTITION BY tenant_id, customer_id, meter, dims ORDER BY period_start)
    ) carried
) bucket
WHERE value IS NOT NULL;

COMMENT ON VIEW usage_period_value IS 'Usage per series and billing period, one value a row; of a weighted sum, so far; a period without events has none: usage_weighted_sum.';
COMMENT ON COLUMN usage_period_value.tenant_id IS 'Tenant that sent the usage.';
COMMENT ON COLUMN usage_period_value.customer_id IS 'Customer of the tenant whose usage it is.';
COMMENT ON COLUMN usage_period_value.meter IS 'Meter that measured it, as named in the catalog.';
COMMENT ON COLUMN usage_period_value.dims IS 'Group-by values as canonical JSON with sorted keys; empty text when the meter has none.';
COMMENT ON COLUMN usage_period_value.period_start IS 'First instant of the billing period of the customer.';
COMMENT ON COLUMN usage_period_value.period_end IS 'First instant after the billing period.';
COMMENT ON COLUMN usage_period_value.aggregation IS 'How the meter adds up.';
COMMENT ON COLUMN usage_period_value.unit IS 'Unit of the value.';
COMMENT ON COLUMN usage_period_value.samples IS 'Measurements in it, less those taken back by voids.';
COMMENT ON COLUMN usage_period_value.value IS 'The value of the meter so far: exact, but for averages (rounded half-even to nine decimals) and percentiles (p50, at most 1 % off).';
COMMENT ON COLUMN usage_period_value.projected_value IS 'Weighted sums alone: what it comes to if the level stays as it is to the end of the period; equal to the value once that is past.';
COMMENT ON COLUMN usage_period_value.updated_at IS 'When one of its rows was last written, by the clock of the database.';

CREATE VIEW usage_day_total AS
SELECT *
FROM (
    SELECT u.tenant_id, u.customer_id, u.meter, u.day,
           k.aggregation,
           k.unit,
           coalesce(sum(samples) FILTER (WHERE part NOT IN ('m', 'v')), 0)::bigint AS samples,
           meter_value(
               k.aggregation,
               sum(samples) FILTER (WHERE part = ''),
               sum(total) FILTER (WHERE part = ''),
               min(lo) FILTER (WHERE part = ''),
               max(hi) FILTER (WHERE part = ''),
               max(latest COLLATE "C"),
               count(DISTINCT part) FILTER (WHERE part LIKE 'u%' AND samples > 0),
               histogram_percentile(
                   array_agg((part, samples, lo, hi)::histogram_bin) FILTER (WHERE part LIKE 'b%'), 0.5
               )
           ) AS value,
           max(updated_at) AS updated_at
    FROM usage_day u
    JOIN meter_kind k USING (tenant_id, meter)
    GROUP BY u.tenant_id, u.customer_id, u.meter, u.day, k.aggregation, k.unit
) bucket
WHERE value IS NOT NULL;

COMMENT ON VIEW usage_day_total IS 'Usage per customer, meter and local day, over all dimensions; weighted sums: usage_weighted_sum.';
COMMENT ON COLUMN usage_day_total.tenant_id IS 'Tenant that sent the usage.';
COMMENT ON COLUMN usage_day_total.customer_id IS 'Customer of the tenant whose usage it is.';
COMMENT ON COLUMN usage_day_total.meter IS 'Meter that measured it, as named in the catalog.';
COMMENT ON COLUMN usage_day_total.day IS 'Calendar day of the event time in the time zone of the customer.';
COMMENT ON COLUMN usage_day_total.aggregation IS 'How the meter adds up.';
COMMENT ON COLUMN usage_day_total.unit IS 'Unit of the value.';
COMMENT ON COLUMN usage_day_total.samples IS 'Measurements in it, less those taken back by voids.';
COMMENT ON COLUMN usage_day_total.value IS 'The value of the meter: exact, but for averages (rounded half-even to nine decimals) and percentiles (p50, at most 1 % off).';
COMMENT ON COLUMN usage_day_total.updated_at IS 'When one of its rows was last written, by the clock of the database.';

CREATE VIEW usage_total AS
SELECT *
FROM (
    SELECT u.tenant_id, u.customer_id, u.meter, u.period_start, min(u.period_end) AS period_end,
           k.aggregation,
           k.unit,
           coalesce(sum(samples) FILTER (WHERE part NOT IN ('m', 'v')), 0)::bigint AS samples,
           meter_value(
               k.aggregation,
               sum(samples) FILTER (WHERE part = ''),
               sum(total) FILTER (WHERE part = ''),
               min(lo) FILTER (WHERE part = ''),
               max(hi) FILTER (WHERE part = ''),
               max(latest COLLATE "C"),
               count(DISTINCT part) FILTER (WHERE part LIKE 'u%' AND samples > 0),
               histogram_percentile(
                   array_agg((part, samples, lo, hi)::histogram_bin) FILTER (WHERE part LIKE 'b%'), 0.5
               )
           ) AS value,
           NULL::numeric AS projected_value,
           max(updated_at) AS updated_at
    FROM usage_period u
    JOIN meter_kind k USING (tenant_id, meter)
    GROUP BY u.tenant_id, u.customer_id, u.meter, u.period_start, k.aggregation, k.unit
    UNION ALL
    -- A weighted sum begins with the level that the periods before have left, and lasts until now or the end.
    SELECT tenant_id, customer_id, meter, period_start, period_end, 'weighted_sum', unit, samples,
           divide_half_even(level_before * (upto - begin) + change * upto - moment, per_ms),
           divide_half_even(level_before * (finish - begin) + change * finish - moment, per_ms),
           updated_at
    FROM (
        SELECT *, sum(change) OVER before - change AS level_before
        FROM (
            SELECT tenant_id, customer_id, meter, period_start, min(period_end) AS period_end, unit,
                   CASE per WHEN 'second' THEN 1000 WHEN 'minute' THEN 60000 WHEN 'day' THEN 86400000 ELSE 3600000 END
                       AS per_ms,
                   floor(extract(epoch FROM period_start) * 1000)                   AS begin,
                   floor(extract(epoch FROM min(period_end)) * 1000)                AS finish,
                   -- A period that runs has come as far as the clock.
                   floor(extract(epoch FROM greatest(period_start, least(min(period_end), now()))) * 1000) AS upto,
                   coalesce(sum(samples) FILTER (WHERE part = ''), 0)::bigint       AS samples,
                   coalesce(sum(total) FILTER (WHERE part = ''), 0)                 AS change,
                   coalesce(sum(total) FILTER (WHERE part = 'm'), 0)                AS moment,
                   max(updated_at)                                                  AS updated_at
            FROM usage_period
            JOIN meter_kind USING (tenant_id, meter)
            WHERE aggregation = 'weighted_sum'
            GROUP BY tenant_id, customer_id, meter, period_start, unit, per
        ) integrated
        WINDOW before AS (PARTITION BY tenant_id, customer_id, meter ORDER BY period_start)
    ) carried
) bucket
WHERE value IS NOT NULL;

COMMENT ON VIEW usage_total IS 'Usage per customer, meter and billing period, over all dimensions: one line of an invoice.';
COMMENT ON COLUMN usage_total.tenant_id IS 'Tenant that sent the usage.';
COMMENT ON COLUMN usage_total.customer_id IS 'Customer of the tenant whose usage it is.';
COMMENT ON COLUMN usage_total.meter IS 'Meter that measured it, as named in the catalog.';
COMMENT ON COLUMN usage_total.period_start IS 'First instant of the billing period of the customer.';
COMMENT ON COLUMN usage_total.period_end IS 'First instant after the billing period.';
COMMENT ON COLUMN usage_total.aggregation IS 'How the meter adds up.';
COMMENT ON COLUMN usage_total.unit IS 'Unit of the value.';
COMMENT ON COLUMN usage_total.samples IS 'Measurements in it, less those taken back by voids.';
COMMENT ON COLUMN usage_total.value IS 'The value of the meter so far: exact, but for averages (rounded half-even to nine decimals) and percentiles (p50, at most 1 % off).';
COMMENT ON COLUMN usage_total.projected_value IS 'Weighted sums alone: what it comes to if the level stays as it is to the end of the period; equal to the value once that is past.';
COMMENT ON COLUMN usage_total.updated_at IS 'When one of its rows was last written, by the clock of the database.';

CREATE FUNCTION usage_percentile(
    tenant text, customer text, meter_name text, from_at timestamptz, to_at timestamptz, p numeric, only_dims text DEFAULT NULL
) RETURNS numeric
    LANGUAGE sql STABLE PARALLEL SAFE
RETURN (
    SELECT histogram_percentile(array_agg((part, samples, lo, hi)::histogram_bin), p)
    FROM usage_minute
    WHERE tenant_id = tenant AND (customer IS NULL OR customer_id = customer) AND meter = meter_name
      AND (only_dims IS NULL OR dims = only_dims) AND part LIKE 'b%'
      AND minute_start >= from_at AND minute_start < to_at
);

COMMENT ON FUNCTION usage_percentile(text, text, text, timestamptz, timestamptz, numeric, text) IS 'Percentile p (0 to 1) of a percentile meter over any minutes, for one customer or, with null, all of the tenant; at most 1 % off.';

CREATE FUNCTION usage_level(
    tenant text, customer text, meter_name text, at timestamptz, only_dims text DEFAULT NULL
) RETURNS numeric
    LANGUAGE sql STABLE PARALLEL SAFE
RETURN (
    SELECT coalesce(sum(total), 0)
    FROM usage_minute
    WHERE tenant_id = tenant AND customer_id = customer AND meter = meter_name
      AND (only_dims IS NULL OR dims = only_dims) AND part = '' AND minute_start < at
);

COMMENT ON FUNCTION usage_level(text, text, text, timestamptz, text) IS 'Level of a weighted sum just before the minute that begins at an instant.';

CREATE FUNCTION usage_weighted_sum(
    tenant text, customer text, meter_name text, from_at timestamptz, to_at timestamptz, only_dims text DEFAULT NULL
) RETURNS numeric
    LANGUAGE sql STABLE PARALLEL SAFE
RETURN (
    -- The level before, for all of the time, and each change from its own instant to the end.
    SELECT divide_half_even(
        usage_level(tenant, customer, meter_name, from_at, only_dims) * (finish - begin)
            + coalesce(change, 0) * finish - coalesce(moment, 0),
        (SELECT CASE per WHEN 'second' THEN 1000 WHEN 'minute' THEN 60000 WHEN 'day' THEN 86400000 ELSE 3600000 END
         FROM meter_kind k WHERE k.tenant_id = tenant AND k.meter = meter_name)
    )
    FROM (
        SELECT sum(total) FILTER (WHERE part = '')  AS change,
               sum(total) FILTER (WHERE part = 'm') AS moment,
               floor(extract(epoch FROM from_at) * 1000) AS begin,
               floor(extract(epoch FROM to_at) * 1000)   AS finish
        FROM usage_minute
        WHERE tenant_id = tenant AND customer_id = customer AND meter = meter_name
          AND (only_dims IS NULL OR dims = only_dims) AND minute_start >= from_at AND minute_start < to_at
    ) inside
);

COMMENT ON FUNCTION usage_weighted_sum(text, text, text, timestamptz, timestamptz, text) IS 'Time integral of a level over any whole minutes, in its unit times `per`: for example GB-hours of a billing period; rounded half-even to nine decimals.';
