-- What changes live counters, and reevaluations, which add nothing. A bounded run has none of these: it evaluates no counter
-- later than its last event.
SELECT
    tenant_id, customer_id, meter, period_start_ms, period_end_ms, n, samples, total, lo, hi, latest,
    dims, at_ms, tick_time
FROM counted
WHERE NOT backlog
UNION ALL
SELECT
    tenant_id, customer_id, meter, period_start_ms, period_end_ms, n, samples, total, lo, hi, latest,
    dims, at_ms, tick_time
FROM backlog_changes
$reevaluation_rows
