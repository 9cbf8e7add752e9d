"""Keys without a default that neither a catalog file nor what is stored has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tidemark.catalog.entries import entries
from tidemark.catalog.text import Fault

_NEEDED: Mapping[str, tuple[str, ...]] = {
    "calendar": ("timezone",),
    "meter": ("event_types", "aggregation", "unit"),
    "usage_limit": ("cap",),
    "receiver": ("kind", "url"),
    "route": ("receivers",),
    "suppression": ("reason",),
    "maintenance": ("from", "until", "reason"),
}
_EXAMPLES: Mapping[str, str] = {
    "timezone": "write for example `timezone: Europe/Berlin`",
    "interval": "write for example `interval: P1M`, or list `boundaries`",
    "event_types": "write for example `event_types: api_call`",
    "aggregation": "write for example `aggregation: count`",
    "unit": "write for example `unit: calls`",
    "cap": "write for example `{cap: 5000}`",
    "kind": "write for example `kind: webhook`",
    "url": "write where it listens, for example `url: https://billing.example/hooks`",
    "receivers": "write for example `receivers: [oncall]`",
    "reason": "write why, for whoever misses an alert",
    "from": "write the first instant, for example 2026-12-01T20:00:00Z",
    "until": "write the first instant after it, for example 2026-12-02T02:00:00Z",
}


def missing_faults(content: Mapping[str, Any]) -> Iterator[Fault]:
    """Faults of a file's content merged with what is stored; what is no mapping is the schema's to refuse."""
    for table, key, path, item in entries(content):
        if not isinstance(item, Mapping):
            continue
        kind = str(key[0]) if table == "alert_policy" else table
        missing = [name for name in _NEEDED.get(kind, ()) if name not in item]
        if table == "calendar" and "interval" not in item and "boundaries" not in item:
            missing.append("interval")
        for name in missing:
            yield Fault(f"{path}.{name}", f"it is missing, and nothing is stored for it: {_EXAMPLES[name]}.")
