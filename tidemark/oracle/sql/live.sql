-- What the live counters hold: the latest period of each customer and meter that has usage, over all dimensions. The
-- counter of a unique meter is its number of distinct values; other parts have no live counter.
CREATE VIEW live AS
WITH period AS (
    SELECT
        tenant_id, customer_id, meter,
        epoch_ms(period_start)                      AS period_start,
        epoch_ms(min(period_end))                   AS period_end,
        count(*)                                    AS n,
        sum(samples)::BIGINT                        AS samples,
        sum(amount)::DECIMAL(38, 9)                 AS total,
        min(amount) FILTER (WHERE samples > 0)      AS lo,
        max(amount) FILTER (WHERE samples > 0)      AS hi,
        max(latest)                                 AS latest
    FROM usage
    WHERE part = ''
    GROUP BY tenant_id, customer_id, meter, usage.period_start
    UNION ALL
    SELECT
        tenant_id, customer_id, meter, epoch_ms(period_start), epoch_ms(min(period_end)),
        count(DISTINCT part), count(DISTINCT part), count(DISTINCT part)::DECIMAL(38, 9), NULL, NULL, NULL
    FROM usage
    WHERE part LIKE 'u%'
    GROUP BY tenant_id, customer_id, meter, usage.period_start
)
SELECT *
FROM period
QUALIFY period_start = max(period_start) OVER (PARTITION BY tenant_id, customer_id, meter)
