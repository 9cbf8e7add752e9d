-- Publishing is the effect, the alert its rare by-product; the sub-query keeps it at one evaluation per row. One packed
-- column is much cheaper to hand to Python than eleven.
INSERT INTO alerts_sink
SELECT alert
FROM (
    SELECT publish_live(CONCAT_WS(
        U&'\001f',
        tenant_id, customer_id, meter,
        CAST(period_start_ms AS STRING), CAST(period_end_ms AS STRING), CAST(n AS STRING), CAST(samples AS STRING),
        CAST(total AS STRING), COALESCE(CAST(lo AS STRING), ''), COALESCE(CAST(hi AS STRING), ''), COALESCE(latest, '')
    )) AS alert
    FROM period_totals
)
WHERE alert IS NOT NULL
