"""What a catalog document holds: where its groups of meters, limits and alert policy are, and the columns of each."""

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
_UNKNOWN = {"hard": "fail_closed", "soft": "fail_open"}


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
        scopes: tuple[tuple[Scope, str], ...] = (("plan", "plans"), ("customer", "customers"))
        for scope, group in scopes:
            for name, one in mapping(entry.get(group)).items():
                limits = mapping(mapping(one).get("limits"))
                yield LimitGroup(tenant, scope, name, f"{path}.{group}.{name}.limits", limits)


def policy_entries(content: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    """Kind, name, path and content of each entry of `alerts`; tolerates any content."""
    alerts = mapping(content.get("alerts"))
    for group, kind in POLICY_KINDS.items():
        for name, entry in mapping(alerts.get(group)).items():
            yield kind, name, f"alerts.{group}.{name}", mapping(entry)


def limit_values(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    """Cap, mode, thresholds and on_unknown of a limit without faults; the cap as plain decimal text.

    Thresholds are sorted: in another order they are the same limit, not a new version that is told again.
    """
    mode = entry.get("mode", "soft")
    thresholds = sorted(map(canonical_threshold, entry.get("thresholds", ("80%",))), key=_rank)
    return decimal_text(entry["cap"]), mode, tuple(thresholds), entry.get("when_unknown", _UNKNOWN[mode])


def _rank(threshold: str) -> tuple[bool, bool, Decimal]:
    """Shares before amounts, each ascending, and steps after both."""
    amount = threshold.removeprefix("every ").removesuffix("%")
    return threshold.startswith("every"), not threshold.endswith("%"), Decimal(amount)


def policy_body(kind: str, entry: Mapping[str, Any]) -> str:
    """Canonical JSON of an entry of `alerts` without faults: defaults filled in, instants in UTC."""
    body = {name: [] for name in MATCHERS[kind]} | {key: one for key, one in entry.items() if key != "valid_from"}
    if kind == "receiver":
        body = {"secret_env": None, "daily_budget": DAILY_BUDGET} | body
    if kind == "maintenance":
        body |= {part: shown(instant_ms(entry[part])) for part in ("from", "until")}
    return canonical_json(body)


def canonical_json(document: Any) -> str:
    """JSON text that is the same for equal documents of text, whole numbers and lists."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def decimal_text(stated: Any) -> str:
    """Plain text of a decimal that `decimal_cap` takes, without zeros at its end."""
    return format(decimal_cap(stated), "f")
