"""The state of reconciliation as text for Prometheus' textfile collector (node exporter)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from tidemark.reconcile.findings import CHECKS


def exposition(open_drift: Mapping[str, int], last_runs: Mapping[str, tuple[int, datetime, int]]) -> str:
    """Open differences of every check; for checks that ran, the last run (epoch seconds) and its comparisons."""
    names = [*CHECKS, *sorted({*open_drift, *last_runs} - {*CHECKS})]
    ran = [name for name in names if name in last_runs]
    lines = [
        *_metric("drift", "Open differences: unexplained, in the last run of the check.",
                 ((name, open_drift.get(name, 0)) for name in names)),
        *_metric("last_run_timestamp_seconds", "End of the last run of a check that had a result.",
                 ((name, int(last_runs[name][1].timestamp())) for name in ran)),
        *_metric("compared", "Comparisons of that run.", ((name, last_runs[name][2]) for name in ran)),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _metric(name: str, meaning: str, values: Iterable[tuple[str, int]]) -> Iterable[str]:
    full = f"tidemark_reconcile_{name}"
    yield f"# HELP {full} {meaning}"
    yield f"# TYPE {full} gauge"
    for check, value in values:
        yield f'{full}{{check="{check}"}} {value}'
