-- Publishing is the effect, the alert its rare by-product; the sub-query keeps it at one evaluation per row.
INSERT INTO alerts_sink
SELECT alert
FROM (
    SELECT publish_live(
        tenant_id, customer_id, meter, period_start_ms, period_end_ms,
        n, CAST(total AS STRING), CAST(lo AS STRING), CAST(hi AS STRING)
    ) AS alert
    FROM period_totals
)
WHERE alert IS NOT NULL
