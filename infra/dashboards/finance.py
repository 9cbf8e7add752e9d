"""Billing accuracy, for finance, and usage, for executives: SQL over the schemas of one run."""

from __future__ import annotations

from infra.dashboards.panels import Dashboard, Panel
from infra.dashboards.pipeline import DEAD_LETTERS, WORKER
from tidemark.core.names import Names

# Of all events that were decoded; a copy counts as often as it came.
LATE_SHARE = (
    f'sum(rate({DEAD_LETTERS}{{reason="too_late"}}[15m])) / '
    f"(sum(rate({WORKER}_accepted[15m])) + sum(rate({WORKER}_rejected[15m])))"
)


def accuracy(names: Names) -> Dashboard:
    """What is closed, what is not and why, what was corrected, what does not add up."""
    billing, report = names.billing_schema, names.report_schema
    return Dashboard(
        "tidemark-billing",
        "Tidemark: billing accuracy",
        "now-90d",
        [
            _sql("Periods closed", "Billing periods closed a day.", f"""
SELECT date_trunc('day', closed_at) AS time, count(*) AS closed
FROM {billing}.period_close
WHERE $__timeFilter(closed_at)
GROUP BY 1 ORDER BY 1"""),
            _sql("Final and not closed", "Lines whose period could be closed and is not, by how long ago.", f"""
SELECT tenant_id, count(DISTINCT (customer_id, period_start)) AS periods, min(final_at) AS could_be_closed_since
FROM {report}.invoice_line
WHERE status NOT LIKE 'final%' AND final_at < now()
GROUP BY tenant_id ORDER BY periods DESC LIMIT 100""", table=True, empty="Everything that is final is closed."),
            Panel("Refused by the last close", "Periods that were due and refused, by cause; docs/billing.md has each.",
                  "prometheus", [("max by (cause) (tidemark_periods_refused)", "{{cause}}")],
                  empty="No process runs the role close."),
            _sql("Corrections", "Corrections of closed periods a day, by cause.", f"""
SELECT date_trunc('day', made_at) AS time, cause AS metric, count(*) AS corrections
FROM {billing}.correction
WHERE $__timeFilter(made_at)
GROUP BY 1, 2 ORDER BY 1""", empty="No closed period was corrected."),
            _sql("Largest corrections", "Lines that corrections changed, the largest share of the value first.", f"""
SELECT tenant_id, customer_id, meter, first_day, value, correction_amount, unit, corrections, changed_at
FROM {report}.invoice_line
WHERE corrections > 0 AND $__timeFilter(changed_at)
ORDER BY abs(correction_amount / nullif(value, 0)) DESC NULLS LAST LIMIT 50""", table=True,
                 empty="No closed period was corrected."),
            _sql("Open drift", "Unexplained differences by check; what they concern does not close.", f"""
SELECT check_name, count(*) AS differences, min(found_at) AS found_at
FROM {billing}.drift_open
GROUP BY check_name ORDER BY differences DESC""", table=True, empty="No difference is unexplained."),
            _sql("Voids that match nothing", "They were subtracted all the same; ask the producer.", f"""
SELECT tenant_id, source, why, count(*) AS voids
FROM {report}.unmatched_void
GROUP BY tenant_id, source, why ORDER BY voids DESC LIMIT 100""", table=True, empty="Every void took something back."),
            Panel("Too late to be counted", "Share of events that arrived after grace (Flink's reporter must be on).",
                  "prometheus", [(LATE_SHARE, "too late")], unit="percentunit"),
            _sql("Not counted, by source", "Dead letters by tenant and the partition they came from, with the too late"
                 " for each million measurements of the tenant.", f"""
WITH counted AS (
    SELECT tenant_id, sum(n) AS n FROM {names.usage_schema}.usage_day
    WHERE $__timeFilter(day) AND part = '' GROUP BY tenant_id
)
SELECT d.tenant_id, d.source_topic || '/' || d.source_partition AS source, count(*) AS dead_letters,
       count(*) FILTER (WHERE d.reason = 'too_late') AS too_late,
       round(1e6 * count(*) FILTER (WHERE d.reason = 'too_late') / max(c.n)) AS late_per_million
FROM {billing}.dead_letter d
LEFT JOIN counted c USING (tenant_id)
WHERE $__timeFilter(arrived_at)
GROUP BY d.tenant_id, source ORDER BY too_late DESC, dead_letters DESC LIMIT 100""", table=True,
                 empty="Everything was counted."),
            _sql("Dead letters a day", "What was not counted, by reason; `tidemark dlq` lists and redrives it.", f"""
SELECT date_trunc('day', arrived_at) AS time, reason AS metric, count(*) AS dead_letters
FROM {billing}.dead_letter
WHERE $__timeFilter(arrived_at)
GROUP BY 1, 2 ORDER BY 1""", empty="Everything was counted."),
        ],
    )  # fmt: skip


def usage(names: Names) -> Dashboard:
    """Who uses what, and how that moves."""
    report, stored = names.report_schema, names.usage_schema
    return Dashboard(
        "tidemark-usage",
        "Tidemark: usage",
        "now-30d",
        [
            _sql("Usage a day", "Usage of each tenant and meter a local day, of meters that add up.", f"""
SELECT day::timestamp AT TIME ZONE 'UTC' AS time, tenant_id || ' ' || meter || ' (' || unit || ')' AS metric,
       sum(value) AS usage
FROM {report}.usage_daily
WHERE $__timeFilter(day) AND aggregation IN ('count', 'sum')
GROUP BY 1, 2 ORDER BY 1"""),
            _sql("Customers with usage a day", "Customers of each tenant that used anything.", f"""
SELECT day::timestamp AT TIME ZONE 'UTC' AS time, tenant_id AS metric, count(DISTINCT customer_id) AS customers
FROM {report}.usage_daily
WHERE $__timeFilter(day)
GROUP BY 1, 2 ORDER BY 1"""),
            _sql("Largest customers of the open period", "Percent of a customer in a meter of its tenant so far, and in"
                 " the revenue of its tenant, where the catalog declares it.", f"""
SELECT u.tenant_id, u.customer_id, u.meter, u.value, u.unit,
       round(100 * u.value / nullif(sum(u.value) OVER (PARTITION BY u.tenant_id, u.meter), 0), 1) AS percent,
       round(100 * c.revenue_weight, 1) AS revenue
FROM {report}.usage_current_period u
LEFT JOIN catalog.customer c
    ON (c.tenant_id, c.customer_id) = (u.tenant_id, u.customer_id) AND c.valid_from <= now() AND c.valid_to > now()
WHERE u.aggregation IN ('count', 'sum')
ORDER BY percent DESC NULLS LAST LIMIT 50""", table=True),
            _sql("Growth", "Usage of each meter in the last whole month of the range, against the month before.", f"""
WITH months AS (
    SELECT tenant_id, meter, unit, date_trunc('month', day) AS month, sum(value) AS usage
    FROM {report}.usage_daily
    WHERE $__timeFilter(day) AND aggregation IN ('count', 'sum')
    GROUP BY 1, 2, 3, 4
), compared AS (
    SELECT *, lag(usage) OVER (PARTITION BY tenant_id, meter, unit ORDER BY month) AS before
    FROM months
)
SELECT tenant_id, meter, to_char(month, 'YYYY-MM') AS month, before, usage, unit,
       round(100 * (usage - before) / nullif(before, 0), 1) AS percent
FROM compared
WHERE month = (SELECT max(month) - INTERVAL '1 month' FROM months) AND before IS NOT NULL
ORDER BY percent DESC NULLS LAST LIMIT 50""", table=True),
            _sql("Final usage a month", "Closed periods with corrections, by the month in which they ended.", f"""
SELECT date_trunc('month', period_end) AS time, tenant_id || ' ' || meter || ' (' || unit || ')' AS metric,
       sum(value) AS usage
FROM {report}.invoice_line
WHERE $__timeFilter(period_end) AND status LIKE 'final%' AND aggregation IN ('count', 'sum', 'weighted_sum')
GROUP BY 1, 2 ORDER BY 1"""),
            _sql("Alerts", "What fired, and how much of it somebody acted on.", f"""
SELECT type, rule, fired, suppressed, acted, action_ratio
FROM {stored}.alert_rule_stats
ORDER BY fired DESC""", table=True, empty="Nothing fired."),
        ],
    )  # fmt: skip


def _sql(title: str, description: str, query: str, *, table: bool = False, empty: str = "") -> Panel:
    rows, kind = ("table", "table") if table else ("time_series", "timeseries")
    return Panel(title, description, "postgres", [(query.strip(), rows)], kind=kind, empty=empty)  # type: ignore[arg-type]
