-- Starts, and ends of what had started. The number of the transition makes the id: odd ones start, even ones end.
SELECT
    fingerprint, tenant_id, body,
    COUNT(*) OVER (
        PARTITION BY fingerprint ORDER BY seen_at ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS transition
FROM alert_statuses
WHERE (status_before IS NULL AND status = 'firing') OR status_before <> status
