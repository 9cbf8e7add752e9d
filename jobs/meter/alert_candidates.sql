-- Publishing is the effect, candidates for alerts its rare by-product; the sub-query keeps it at one evaluation per row.
-- One packed column (udfs.wire.LiveChange) is much cheaper to hand to Python than fourteen. Python may repeat a candidate
-- (udfs.wire.Candidate) after a restart or a change of the catalog: it has no state.
SELECT
    $candidate_columns,
    PROCTIME() AS seen_at
FROM (
    SELECT publish_live($live_change) AS candidates
    FROM period_totals
)
CROSS JOIN UNNEST($candidate_rows) AS published (candidate)
WHERE candidates IS NOT NULL
