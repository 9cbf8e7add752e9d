-- Every counted measurement as the parts that it adds to, with its minute, local day and billing period. A void takes
-- back additive amounts; for other aggregations it changes only the number of measurements, in a part of its own where
-- a meter has parts.
CREATE TABLE usage AS
WITH counted AS (
    SELECT
        m.* EXCLUDE (refusal),
        m.aggregation IN ('count', 'sum', 'avg', 'weighted_sum')     AS additive,
        CASE WHEN m.is_void THEN -1 ELSE 1 END                       AS sign
    FROM measured AS m
    JOIN outcomes AS v ON v.partition = m.partition AND v."offset" = m."offset" AND v.outcome = 'counted'
    WHERE m.refusal IS NULL
),
unmeasured AS (
    SELECT e.*
    FROM looked_up AS e
    JOIN outcomes AS v ON v.partition = e.partition AND v."offset" = e."offset" AND v.outcome = 'counted'
    ANTI JOIN measured AS m ON m.partition = e.partition AND m."offset" = e."offset"
)
SELECT
    partition, "offset", tenant_id, customer_id, event_id, event_ms, nanos, source, minute_utc, day, period_start, period_end, meter,
    aggregation, dims, is_void, value_text,
    CASE
        WHEN is_void AND aggregation IN ('unique', 'percentile') THEN 'v'
        WHEN is_void                    THEN ''
        WHEN aggregation = 'unique'     THEN 'u' || left(sha256(value_text), 32)
        WHEN aggregation = 'percentile' THEN bin_of(value)
        ELSE ''
    END                                                              AS part,
    CASE
        WHEN additive                   THEN value * sign
        WHEN is_void                    THEN 0
        ELSE value
    END::DECIMAL(38, 9)                                              AS amount,
    CASE WHEN additive THEN sign WHEN is_void THEN 0 ELSE 1 END      AS samples,
    CASE WHEN aggregation = 'latest' AND NOT is_void
        THEN lpad(event_ms::VARCHAR, 15, '0') || nanos || chr(31) || source || chr(31) || event_id || chr(31) || plain_text(value) END AS latest
FROM counted
UNION ALL
-- The moment of a level: with the change of the level itself it gives the integral over any range of time.
SELECT
    partition, "offset", tenant_id, customer_id, event_id, event_ms, nanos, source, minute_utc, day, period_start, period_end, meter,
    aggregation, dims, is_void, NULL, 'm', (value * event_ms * sign)::DECIMAL(38, 9), sign, NULL
FROM counted
WHERE aggregation = 'weighted_sum'
UNION ALL
SELECT
    partition, "offset", tenant_id, customer_id, event_id, event_ms, nanos, source, minute_utc, day, period_start, period_end,
    'tidemark.unmeasured', 'count', '', voids IS NOT NULL, NULL, '',
    CASE WHEN voids IS NULL THEN 1 ELSE -1 END, CASE WHEN voids IS NULL THEN 1 ELSE -1 END, NULL
FROM unmeasured
