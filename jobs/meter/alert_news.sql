-- Begins, and ends of what had begun. Their number within the condition makes their id: odd begins, even ends.
SELECT
    fingerprint, tenant_id, body,
    COUNT(*) OVER (
        PARTITION BY fingerprint ORDER BY seen_at ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS turn
FROM alert_statuses
WHERE (status_before IS NULL AND status = 'firing') OR status_before <> status
