"""Billing accuracy, for finance, and usage, for executives: SQL over the schemas of one run."""

from __future__ import annotations

from infra.dashboards.panels import Dashboard, Panel
from infra.dashboards.pipeline import DEAD_LETTERS
from tidemark.core.names import Names


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
GROUP BY tenant_id ORDER BY periods DESC LIMIT 100""", table=True),
            Panel("Refused by the last close", "Periods that were due and refused, by cause; docs/billing.md has each.",
                  "prometheus", [("max by (cause) (tidemark_periods_refused)", "{{cause}}")]),
            _sql("Corrections", "Corrections of closed periods a day, by cause.", f"""
SELECT date_trunc('day', made_at) AS time, cause AS metric, count(*) AS corrections
FROM {billing}.correction
WHERE $__timeFilter(made_at)
GROUP BY 1, 2 ORDER BY 1"""),
            _sql("Largest corrections", "Lines that corrections changed, the largest share of the value first.", f"""
SELECT tenant_id, customer_id, meter, first_day, value, correction_amount, unit, corrections, changed_at
FROM {report}.invoice_line
WHERE corrections > 0 AND $__timeFilter(changed_at)
ORDER BY abs(correction_amount / nullif(value, 0)) DESC NULLS LAST LIMIT 50""", table=True),
            _sql("Open drift", "Unexplained differences by check; what they concern does not close.", f"""
SELECT check_name, count(*) AS differences, min(found_at) AS found_at
FROM {billing}.drift_open
GROUP BY check_name ORDER BY differences DESC""", table=True),
            _sql("Voids that match nothing", "They were subtracted all the same; ask the producer.", f"""
SELECT tenant_id, source, why, count(*) AS voids
FROM {report}.unmatched_void
GROUP BY tenant_id, source, why ORDER BY voids DESC LIMIT 100""", table=True),
            Panel("Too late to be counted", "Dead letters that arrived after grace, a second (by Flink's reporter).",
                  "prometheus",
                  [(f'sum(rate({DEAD_LETTERS}{{reason="too_late"}}[5m]))',
                    "too late")]),
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
            _sql("Largest customers of the open period", "Share of a customer in its tenant's meter so far.", f"""
SELECT tenant_id, customer_id, meter, value, unit,
       round(100 * value / nullif(sum(value) OVER (PARTITION BY tenant_id, meter), 0), 1) AS percent
FROM {report}.usage_current_period
WHERE aggregation IN ('count', 'sum')
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
ORDER BY fired DESC""", table=True),
        ],
    )  # fmt: skip


def _sql(title: str, description: str, query: str, *, table: bool = False) -> Panel:
    rows = "table" if table else "time_series"
    return Panel(title, description, "postgres", [(query.strip(), rows)], kind="table" if table else "timeseries")
