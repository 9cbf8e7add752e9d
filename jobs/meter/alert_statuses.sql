-- The status a condition had before, from state: with it each start and each end is sent once, whatever Python repeats.
SELECT
    fingerprint, status, tenant_id, body, seen_at,
    LAG(status) OVER (PARTITION BY fingerprint ORDER BY seen_at) AS status_before
FROM alert_candidates
