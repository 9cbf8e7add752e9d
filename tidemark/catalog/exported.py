"""The stored catalog as a file: applied again, it changes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import yaml

from tidemark.catalog.entries import POLICY_KINDS
from tidemark.catalog.file import TABLES, Key
from tidemark.catalog.instants import shown
from tidemark.catalog.stored_entries import entry
from tidemark.catalog.timeline import Stored, Timeline, Version
from udfs.meters.meter import FOREVER_MS

# Text that every reader of YAML takes for text without quotes.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*", re.ASCII)
_WORDS = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n"))
_GROUPS = {kind: name for name, kind in POLICY_KINDS.items()}
_Entries = dict[Key, dict[str, Any]]


def exported(stored: Stored, now_ms: int, tenant: str | None = None, at_ms: int | None = None) -> dict[str, Any]:
    """The content of a file that describes what is stored.

    Parameters
    ----------
    stored:
        All versions.
    now_ms:
        UTC epoch ms; a version that begins later has its `valid_from`.
    tenant:
        Only this one, with the calendars it names and the meters of all tenants; None for all, with the alert policy.
    at_ms:
        What holds at this event time; None for what is to hold in the end, planned versions too.
    """

    def chosen(timeline: Timeline) -> Version | None:
        if at_ms is None:
            return timeline[-1] if timeline and timeline[-1].valid_to_ms == FOREVER_MS else None
        return next((item for item in timeline if item.valid_from_ms <= at_ms < item.valid_to_ms), None)

    result = {table: _entries(table, stored, chosen, now_ms if at_ms is None else None) for table in TABLES}
    tenants = {
        str(name): _tenant(result, str(name), item)
        for (name,), item in result["tenant"].items()
        if tenant in (None, name)
    }
    calendars = _named(result["calendar"], tenants, everything=tenant is None)
    content: dict[str, Any] = {"calendars": calendars, "tenants": tenants, "meters": _below(result["meter"], None)}
    if tenant is None:
        alerts: dict[str, Any] = {}
        for (kind, name), item in result["alert_policy"].items():
            alerts.setdefault(_GROUPS[str(kind)], {})[name] = item
        content["alerts"] = alerts
    return {name: value for name, value in content.items() if value}


def text(content: Mapping[str, Any]) -> str:
    """YAML of a file's content, with every text in quotes that some reader would take for something else."""
    return yaml.dump(
        dict(content), Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=1_000, allow_unicode=True
    )


def _entries(table: str, stored: Stored, chosen: Callable[[Timeline], Version | None], now_ms: int | None) -> _Entries:
    result: _Entries = {}
    for key in sorted(stored[table], key=lambda key: [part or "" for part in key]):
        if (version := chosen(stored[table][key])) is not None:
            result[key] = entry(table, key, version.values)
            if now_ms is not None and version.valid_from_ms > now_ms:
                result[key]["valid_from"] = shown(version.valid_from_ms)
    return result


def _tenant(result: Mapping[str, _Entries], tenant: str, entry: dict[str, Any]) -> dict[str, Any]:
    customers = _below(result["customer"], tenant)
    # A plan without limits is stored nowhere but with its customers.
    plans: dict[str, Any] = {item["plan"]: {} for item in customers.values() if "plan" in item}
    groups: dict[str, dict[str, Any]] = {"customer": customers, "plan": plans}
    limits: dict[str, Any] = {}
    for (owner, scope, name, meter), item in result["usage_limit"].items():
        if owner == tenant:
            group = limits
            if scope != "tenant":
                group = groups[str(scope)].setdefault(str(name), {}).setdefault("limits", {})
            group[str(meter)] = item
    parts = {"limits": limits, "plans": plans, "customers": customers, "meters": _below(result["meter"], tenant)}
    return entry | {name: value for name, value in parts.items() if value}


def _below(entries: _Entries, owner: str | None) -> dict[str, Any]:
    return {str(name): item for (parent, name), item in entries.items() if parent == owner}


def _named(calendars: _Entries, tenants: Mapping[str, Any], *, everything: bool) -> dict[str, Any]:
    owners = [
        *tenants.values(),
        *(item for tenant in tenants.values() for item in tenant.get("customers", {}).values()),
    ]
    named = {item.get("calendar") for item in owners}
    return {str(name): item for (name,), item in calendars.items() if everything or name in named}


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Texts as the catalog reads them, decimals exact, nothing by alias."""

    def ignore_aliases(self, _: Any) -> bool:
        """Each entry is written out."""
        return True


def _text_node(dumper: Any, value: str) -> Any:
    is_plain = _PLAIN.fullmatch(value) and value.casefold() not in _WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if is_plain else '"')


def _decimal_node(dumper: Any, value: Decimal) -> Any:
    written = format(value, "f")
    return dumper.represent_scalar(f"tag:yaml.org,2002:{'float' if '.' in written else 'int'}", written)


_Dumper.add_representer(str, _text_node)
_Dumper.add_representer(Decimal, _decimal_node)
