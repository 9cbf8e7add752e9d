"""Which events a new or changed meter can refuse: a warning of a plan, for each is missing in that meter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tidemark.catalog.file import TABLES
from tidemark.catalog.timeline import Change

_SIGNED = frozenset({"count", "unique", "weighted_sum"})


def warnings(changes: Sequence[Change]) -> Iterator[str]:
    """A line for each meter that can refuse events which it did not refuse before, or which it was not there for."""
    columns = TABLES["meter"][1]
    for change in changes:
        if change.table != "meter" or change.new is None:
            continue
        before = set() if change.old is None else set(_refused(dict(zip(columns, change.old, strict=True))))
        causes = [cause for cause in _refused(dict(zip(columns, change.new, strict=True))) if cause not in before]
        if causes:
            name = "/".join(part or "*" for part in change.key)
            yield (
                f"meter {name} can refuse events: {', '.join(causes)}. Other meters count them; in this one they are "
                "missing, as partial dead letters."
            )


def _refused(meter: Mapping[str, Any]) -> Iterator[str]:
    """What it does not take, each with the setting that would take it."""
    aggregation, value = meter["aggregation"], meter["value"] or "quantity"
    if aggregation != "count":
        if value != "quantity" and meter["on_missing"] != "skip":
            yield f"without {value} (on_missing: skip leaves them out)"
        if value != "quantity" and aggregation != "unique":
            yield f"with {value} that is no number"
        if aggregation not in _SIGNED and not meter["allow_negative"]:
            yield f"with {value} below 0 (allow_negative: true takes them)"
        if aggregation == "weighted_sum":
            yield f"with {value} of 10^12 or more"
        if meter.get("precision") == "exact":
            yield f"with {value} of more than 9 decimals (precision: exact)"
    if meter["group_by"]:
        yield "with group-by values that are objects, arrays or too long"
