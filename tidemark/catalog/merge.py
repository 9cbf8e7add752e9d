"""A file's entries merged with what is stored: a key that is absent stays as it was, null clears it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tidemark.catalog.entries import ALTERNATIVES, LIMIT_SCOPES, POLICY_KINDS, UNKNOWN, canonical_json, mapping, named
from tidemark.catalog.file import TABLES, Key, Row
from tidemark.catalog.stored_entries import entry
from tidemark.catalog.timeline import Stored, Version

# The version an entry is merged with: of a table and key, for the event time its change takes effect at.
Base = Callable[[str, Key, Mapping[str, Any]], Version | None]
# Meters that are limited, by tenant, scope and its id.
Limits = Callable[[str, str, str], list[str]]


def completed(content: Any, base: Base, limits: Limits) -> Any:
    """The content of a file with every entry whole; tolerates any content.

    Parameters
    ----------
    content:
        As the file has it.
    base:
        What is stored of an entry; None for nothing.
    limits:
        Meters that a scope of a tenant limits as it is stored: `limits: null` clears them all.
    """
    return _Merge(base, limits).file(content) if isinstance(content, Mapping) else content


@dataclass(frozen=True, slots=True)
class _Merge:
    base: Base
    limits: Limits

    def file(self, content: Mapping[str, Any]) -> dict[str, Any]:
        result = {
            **content,
            **self.group("calendar", content, "calendars"),
            **self.group("meter", content, "meters", None),
        }
        if isinstance(content.get("tenants"), Mapping):
            tenants = {name: self.tenant(name, item) for name, item in content["tenants"].items()}
            result |= self.group("tenant", {"tenants": tenants}, "tenants")
        if isinstance(content.get("alerts"), Mapping):
            alerts = dict(content["alerts"])
            for name, kind in POLICY_KINDS.items():
                alerts |= self.group("alert_policy", alerts, name, kind)
            result["alerts"] = alerts
        return result

    def tenant(self, tenant: str, item: Any) -> Any:
        item = self.limited(tenant, "tenant", "", {} if item is None else item)
        if not isinstance(item, Mapping):
            return item
        result = dict(item)
        for scope, name in LIMIT_SCOPES:
            if isinstance(item.get(name), Mapping):
                result[name] = {key: self.limited(tenant, scope, key, value) for key, value in item[name].items()}
        return {
            **result,
            **self.group("customer", result, "customers", tenant),
            **self.group("meter", result, "meters", tenant),
        }

    def limited(self, tenant: str, scope: str, scope_id: str, item: Any) -> Any:
        if not isinstance(item, Mapping) or "limits" not in item:
            return item
        stated = item["limits"]
        if stated is None:
            stated = dict.fromkeys(self.limits(tenant, scope, scope_id))
        return {**item, **self.group("usage_limit", {"limits": stated}, "limits", tenant, scope, scope_id)}

    def group(self, table: str, content: Mapping[str, Any], name: str, *owner: str | None) -> dict[str, Any]:
        result = content.get(name)
        if not isinstance(result, Mapping):
            return {name: result} if name in content else {}
        return {name: {item: self.entry(table, (*owner, item), value) for item, value in result.items()}}

    def entry(self, table: str, key: Key, stated: Any) -> Any:
        return merged(table, key, stated, self.base(table, key, mapping(stated)))


def merged(table: str, key: Key, stated: Any, version: Version | None) -> Any:
    """One entry with what is stored of it; the schema reports what is not a mapping, and None clears a limit."""
    if table == "usage_limit" and stated is None:
        return None
    if stated is not None and not isinstance(stated, Mapping):
        return stated
    stated = stated or {}
    known = {} if version is None else entry(table, key, version.values)
    replaced = {other for name in named(table, stated) for other in ALTERNATIVES.get(name, ()) if table == "calendar"}
    kept = {name: value for name, value in known.items() if name not in replaced and name not in stated}
    return kept | {name: value for name, value in stated.items() if value is not None}


def overlaid(table: str, row: Row, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Values of a stored version with what a row names in their place."""
    if row.named is None:
        return row.values
    if table == "alert_policy":
        body, stated = json.loads(values[0]), json.loads(row.values[0])
        return (canonical_json(body | {name: stated[name] for name in row.named if name in stated}),)
    result = [
        stated_value if name in row.named else stored
        for name, stated_value, stored in zip(TABLES[table][1], row.values, values, strict=True)
    ]
    if table == "usage_limit" and "mode" in row.named and "on_unknown" not in row.named and _follows_mode(values):
        result[3] = UNKNOWN[result[1]]
    return tuple(result)


def _follows_mode(limit: tuple[Any, ...]) -> bool:
    """Whether a stored limit has the on_unknown of its mode by default: then it has that of another mode too."""
    return bool(limit[3] == UNKNOWN[limit[1]])


def stored_base(stored: Stored, effect_ms: Callable[[str, Key, Mapping[str, Any]], int]) -> Base:
    """The version that holds when an entry takes effect, or else the next one; None where no version follows."""

    def base(table: str, key: Key, stated: Mapping[str, Any]) -> Version | None:
        timeline = stored[table].get(key)
        if not timeline:
            return None
        at_ms = effect_ms(table, key, stated)
        return next((item for item in timeline if item.valid_to_ms > at_ms), None)

    return base


def stored_limits(stored: Stored) -> Limits:
    """Meters that a scope of a tenant limits in any open version."""

    def limits(tenant: str, scope: str, scope_id: str) -> list[str]:
        return [str(key[3]) for key in stored["usage_limit"] if key[:3] == (tenant, scope, scope_id)]

    return limits


def alone(content: Any) -> Any:
    """The content of a file that is merged with nothing: null clears what has a default."""
    return completed(content, lambda *_: None, lambda *_: [])
