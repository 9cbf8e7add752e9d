-- What the live counters hold: the latest period of each customer and meter that has usage, over all dimensions.
CREATE VIEW live AS
WITH period AS (
    SELECT
        tenant_id, customer_id, meter,
        epoch_ms(period_start)      AS period_start,
        epoch_ms(period_end)        AS period_end,
        count(*)                    AS n,
        sum(amount)::DECIMAL(38, 9) AS total,
        min(amount)                 AS lo,
        max(amount)                 AS hi
    FROM usage
    GROUP BY ALL
)
SELECT *
FROM period
QUALIFY period_start = max(period_start) OVER (PARTITION BY tenant_id, customer_id, meter)
