-- What each tenant costs, by month: for charge-back. It reads all rollups, so it is for a statement and no dashboard.

CREATE VIEW tenant_volume AS
WITH stored AS (
    SELECT tenant_id, date_trunc('month', minute_start AT TIME ZONE 'UTC')::date AS month,
           0::numeric AS measurements, count(*) AS rows, sum(pg_column_size(u)) AS bytes
    FROM usage_minute u GROUP BY 1, 2
    UNION ALL
    SELECT tenant_id, date_trunc('month', hour_start AT TIME ZONE 'UTC')::date, 0, count(*), sum(pg_column_size(u))
    FROM usage_hour u GROUP BY 1, 2
    UNION ALL
    -- The second row of a weighted sum belongs to the same measurement.
    SELECT tenant_id, date_trunc('month', day::timestamp)::date, coalesce(sum(n) FILTER (WHERE part <> 'm'), 0),
           count(*), sum(pg_column_size(u))
    FROM usage_day u GROUP BY 1, 2
    UNION ALL
    SELECT tenant_id, date_trunc('month', period_start AT TIME ZONE 'UTC')::date, 0, count(*), sum(pg_column_size(u))
    FROM usage_period u GROUP BY 1, 2
), summed AS (
    SELECT tenant_id, month, sum(measurements)::bigint AS measurements, sum(rows)::bigint AS rows,
           sum(bytes)::bigint AS bytes
    FROM stored GROUP BY 1, 2
), counted AS (
    SELECT tenant_id, month, sum(events)::bigint AS events, sum(deltas)::bigint AS deltas
    FROM delta_volume GROUP BY 1, 2
)
SELECT tenant_id, month, events, deltas, measurements, rows, bytes,
       round(measurements / nullif(sum(measurements) OVER (PARTITION BY month), 0), 6) AS measurement_share,
       round(bytes / nullif(sum(bytes) OVER (PARTITION BY month), 0), 6) AS byte_share
FROM summed LEFT JOIN counted USING (tenant_id, month);

COMMENT ON VIEW tenant_volume IS 'Volume of each tenant by month of event time, and its share of that of all: for charge-back. Reads all rollups.';
COMMENT ON COLUMN tenant_volume.tenant_id IS 'Tenant that sent the usage.';
COMMENT ON COLUMN tenant_volume.month IS 'First day of the month: UTC, and local days of customers for measurements.';
COMMENT ON COLUMN tenant_volume.events IS 'Counted events, each once; null where no deltas of the month were indexed (billing.delta_volume).';
COMMENT ON COLUMN tenant_volume.deltas IS 'Records of the topic of deltas; null as for events.';
COMMENT ON COLUMN tenant_volume.measurements IS 'Measurements, voids too: an event counts once for each meter it feeds. What counting costs grows with it.';
COMMENT ON COLUMN tenant_volume.rows IS 'Rows of minutes, hours, days and periods that are there now.';
COMMENT ON COLUMN tenant_volume.bytes IS 'Their bytes, without indexes: retention and a longer key both show.';
COMMENT ON COLUMN tenant_volume.measurement_share IS 'Share of the measurements of the month, 0 to 1.';
COMMENT ON COLUMN tenant_volume.byte_share IS 'Share of the bytes of the month, 0 to 1.';
