-- Publishing is the effect, candidates for alerts its rare by-product; the sub-query keeps it at one evaluation per row.
-- One packed column is much cheaper to hand to Python than fourteen. Python may say the same twice, after a restart or a
-- change of the catalog: it has no state.
SELECT
    SPLIT_INDEX(candidate, U&'\001f', 0) AS fingerprint,
    SPLIT_INDEX(candidate, U&'\001f', 1) AS status,
    SPLIT_INDEX(candidate, U&'\001f', 2) AS tenant_id,
    SPLIT_INDEX(candidate, U&'\001f', 3) AS body,
    PROCTIME() AS seen_at
FROM (
    SELECT publish_live(CONCAT_WS(
        U&'\001f',
        tenant_id, customer_id, meter,
        CAST(period_start_ms AS STRING), CAST(period_end_ms AS STRING), CAST(n AS STRING), CAST(samples AS STRING),
        CAST(total AS STRING), COALESCE(CAST(lo AS STRING), ''), COALESCE(CAST(hi AS STRING), ''),
        CAST(added AS STRING), CAST(at_ms AS STRING), dims, COALESCE(latest, '')
    )) AS candidates
    FROM period_totals
)
CROSS JOIN UNNEST(SPLIT(candidates, U&'\001e')) AS told (candidate)
WHERE candidates IS NOT NULL
