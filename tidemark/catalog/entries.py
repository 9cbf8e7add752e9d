"""Parts of a catalog document: where its groups of meters, limits and alert policy are, and the columns of each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tidemark.catalog.instants import instant_ms, shown
from udfs.limits.rule import Scope, canonical_threshold, decimal_cap

# Groups of `alerts` in a file, and the kind of their entries.
POLICY_KINDS: Mapping[str, str] = {
    "receivers": "receiver",
    "routes": "route",
    "suppressions": "suppression",
    "maintenance": "maintenance",
}
# Lists by which each kind picks alerts; an empty one picks any.
MATCHERS: Mapping[str, tuple[str, ...]] = {
    "receiver": (),
    "route": ("types", "severities", "tenants"),
    "suppression": ("types", "tenants", "customers", "meters"),
    "maintenance": ("types", "tenants"),
}
# Alerts a day that somebody on call can act on one by one.
DAILY_BUDGET = 20
# How readers decide by the mode of a limit when the usage cannot be known.
UNKNOWN = {"hard": "fail_closed", "soft": "fail_open"}
# Aggregations that count events, or values as text: they round nothing.
UNROUNDED = frozenset(("count", "unique"))
LIMIT_SCOPES: tuple[tuple[Scope, str], ...] = (("plan", "plans"), ("customer", "customers"))
# Keys of a file that are columns of another name.
_COLUMNS = {"calendar": "calendar_id", "when_unknown": "on_unknown"}
# Keys of an entry that are no columns of its own row.
_NO_COLUMNS = frozenset(("valid_from", "limits", "plans", "customers", "meters"))
# A calendar is made of an interval or of boundaries: naming one of them takes the other's place.
ALTERNATIVES: Mapping[str, tuple[str, ...]] = {"boundaries": ("anchor", "interval"), "interval": ("boundaries",)}


# Table, key, path and content of an entry of a file.
FileEntry = tuple[str, tuple[str | None, ...], str, Any]


@dataclass(frozen=True, slots=True)
class LimitGroup:
    """Limits of one scope by meter, and where the file has them."""

    tenant: str
    scope: Scope
    scope_id: str
    path: str
    limits: Mapping[str, Any]


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def meter_groups(content: Mapping[str, Any]) -> Iterator[tuple[str | None, str, Mapping[str, Any]]]:
    """Owner (None for all tenants), path and entries of each group of meters; tolerates any content."""
    yield None, "meters", mapping(content.get("meters"))
    for tenant, entry in mapping(content.get("tenants")).items():
        yield tenant, f"tenants.{tenant}.meters", mapping(mapping(entry).get("meters"))


def limit_groups(content: Mapping[str, Any]) -> Iterator[LimitGroup]:
    """Each group of limits; tolerates any content."""
    for tenant, value in mapping(content.get("tenants")).items():
        entry, path = mapping(value), f"tenants.{tenant}"
        yield LimitGroup(tenant, "tenant", "", f"{path}.limits", mapping(entry.get("limits")))
        for scope, group in LIMIT_SCOPES:
            for name, group_entry in mapping(entry.get(group)).items():
                limits = mapping(mapping(group_entry).get("limits"))
                yield LimitGroup(tenant, scope, name, f"{path}.{group}.{name}.limits", limits)


def policy_entries(content: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    """Kind, name, path and content of each entry of `alerts`; tolerates any content."""
    alerts = mapping(content.get("alerts"))
    for group, kind in POLICY_KINDS.items():
        for name, entry in mapping(alerts.get(group)).items():
            yield kind, name, f"alerts.{group}.{name}", mapping(entry)


def entries(content: Mapping[str, Any]) -> Iterator[FileEntry]:
    """Table, key, path and content of every entry of a file, in the order of the tables; tolerates any content."""
    tenants = mapping(content.get("tenants"))
    yield from (("calendar", (n,), f"calendars.{n}", one) for n, one in mapping(content.get("calendars")).items())
    yield from (("tenant", (name,), f"tenants.{name}", one) for name, one in tenants.items())
    for tenant, one in tenants.items():
        for name, customer in mapping(mapping(one).get("customers")).items():
            yield "customer", (tenant, name), f"tenants.{tenant}.customers.{name}", customer
    yield from (("meter", (None, name), f"meters.{name}", one) for name, one in mapping(content.get("meters")).items())
    for tenant, one in tenants.items():
        for name, meter in mapping(mapping(one).get("meters")).items():
            yield "meter", (tenant, name), f"tenants.{tenant}.meters.{name}", meter
    for tenant, one in tenants.items():
        yield from _limit_entries(tenant, mapping(one))
    for name, kind in POLICY_KINDS.items():
        for key, policy in mapping(mapping(content.get("alerts")).get(name)).items():
            yield "alert_policy", (kind, key), f"alerts.{name}.{key}", policy


def _limit_entries(tenant: str, holder: Mapping[str, Any]) -> Iterator[FileEntry]:
    path = f"tenants.{tenant}"
    for meter, limit in mapping(holder.get("limits")).items():
        yield "usage_limit", (tenant, "tenant", "", meter), f"{path}.limits.{meter}", limit
    for scope, group in LIMIT_SCOPES:
        for name, scoped in mapping(holder.get(group)).items():
            for meter, limit in mapping(mapping(scoped).get("limits")).items():
                yield "usage_limit", (tenant, scope, name, meter), f"{path}.{group}.{name}.limits.{meter}", limit


def named(table: str, stated: Mapping[str, Any]) -> frozenset[str]:
    """Columns (of an alert policy: keys of its body) that an entry of a file sets."""
    columns = {
        name: _COLUMNS.get(name, name) if table != "alert_policy" else name
        for name in stated
        if name not in _NO_COLUMNS
    }
    names = {*columns.values()}
    if table == "calendar":
        given = {column for name, column in columns.items() if stated[name] is not None}
        names |= {other for name in given for other in ALTERNATIVES.get(name, ())}
    return frozenset(names)


def limit_values(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    """Cap, mode, thresholds and on_unknown of a limit without faults; the cap as plain decimal text.

    Thresholds are sorted: in another order they are the same limit, not a new version that raises its alerts again.
    """
    mode = entry.get("mode", "soft")
    thresholds = sorted(map(canonical_threshold, entry.get("thresholds", ("80%",))), key=_rank)
    return decimal_text(entry["cap"]), mode, tuple(thresholds), entry.get("when_unknown", UNKNOWN[mode])


def _rank(threshold: str) -> tuple[bool, bool, Decimal]:
    """Shares before amounts, each ascending, and steps after both."""
    amount = threshold.removeprefix("every ").removesuffix("%")
    return threshold.startswith("every"), not threshold.endswith("%"), Decimal(amount)


def policy_body(kind: str, entry: Mapping[str, Any]) -> str:
    """Canonical JSON of an entry of `alerts` without faults: defaults filled in, instants in UTC."""
    body = {name: [] for name in MATCHERS[kind]} | {key: value for key, value in entry.items() if key != "valid_from"}
    if kind == "receiver":
        body = {"secret_file": None, "daily_budget": DAILY_BUDGET} | body
    if kind == "maintenance":
        body |= {part: shown(instant_ms(entry[part])) for part in ("from", "until")}
    return canonical_json(body)


def canonical_json(document: Any) -> str:
    """JSON text that is the same for equal documents of text, whole numbers and lists."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def decimal_text(stated: Any) -> str:
    """Plain text of a decimal that `decimal_cap` takes, without zeros at its end."""
    return format(decimal_cap(stated), "f")
