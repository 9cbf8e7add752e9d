"""The state of reconciliation as text for Prometheus, for the textfile collector of its node exporter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from tidemark.reconcile.findings import CHECKS


def exposition(open_drift: Mapping[str, int], last_runs: Mapping[str, tuple[int, datetime, int]]) -> str:
    """Open differences of every check; of those that were made, the last run (epoch seconds) and what it compared."""
    names = [*CHECKS, *sorted({*open_drift, *last_runs} - {*CHECKS})]
    made = [name for name in names if name in last_runs]
    lines = [
        *_metric("drift", "Open differences: unexplained, of the last run that looked.",
                 ((name, open_drift.get(name, 0)) for name in names)),
        *_metric("last_run_timestamp_seconds", "When the last run of a check ended that came to a result.",
                 ((name, int(last_runs[name][1].timestamp())) for name in made)),
        *_metric("compared", "Things that run has compared.", ((name, last_runs[name][2]) for name in made)),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _metric(name: str, meaning: str, values: Iterable[tuple[str, int]]) -> Iterable[str]:
    full = f"tidemark_reconcile_{name}"
    yield f"# HELP {full} {meaning}"
    yield f"# TYPE {full} gauge"
    for check, value in values:
        yield f'{full}{{check="{check}"}} {value}'
