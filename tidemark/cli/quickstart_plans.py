"""What `tidemark quickstart` measures first: by a template, or by what three questions were answered."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import yaml

from tidemark.core.errors import UsageError
from udfs.values import rfc3339

# What a person is asked to choose from; other aggregations need more than three answers.
AGGREGATIONS = {"count": "how often it happens", "sum": "its quantities together", "max": "its greatest quantity"}
_ENDINGS = {"count": "count", "sum": "total", "max": "peak"}
_UNITS = {"count": "events", "sum": "units", "max": "units"}
# What no name of a meter may have.
_NOT_NAMED = re.compile(r"[^A-Za-z0-9_]+")
_EXAMPLE_QUANTITY = 12
_HEAD = """\
# Made by `tidemark quickstart`. It is yours now: change it, then `tidemark catalog apply` it.
# A tenant is a company that sells by usage, a customer whom it bills. Event types and properties are your own words.
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """A first catalog, and an event that it counts.

    Parameters
    ----------
    meters, limits:
        As in a catalog file.
    meter:
        The one whose number is looked at first; `quantity` is that number after one event.
    event_type, quantity, properties:
        Of the event.
    """

    meters: Mapping[str, Any]
    meter: str
    event_type: str
    quantity: int = 1
    properties: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)


TEMPLATES = {
    "ai-tokens": Plan(
        {
            "tokens": {"event_types": "completion", "aggregation": "sum", "group_by": ["model"], "unit": "tokens"},
            "completions": {"event_types": "completion", "aggregation": "count", "unit": "completions"},
        },
        "tokens", "completion", 1_520, {"model": "large"}, {"tokens": {"cap": 100_000}},
    ),
    "api-calls": Plan(
        {
            "calls": {"event_types": "request", "aggregation": "count", "group_by": ["route"], "unit": "calls"},
            "failed_calls": {
                "event_types": "request", "aggregation": "count", "unit": "calls",
                "filter": {"property": "status", "gte": 500},
            },
        },
        "calls", "request", 1, {"route": "/v1/search", "status": 200}, {"calls": {"cap": 10_000, "mode": "soft"}},
    ),
    "storage": Plan(
        {
            "stored_peak": {"event_types": "stored", "aggregation": "max", "group_by": ["region"], "unit": "GB"},
            # Events of this type say by how much the level changes; what is billed is level times time.
            "stored": {
                "event_types": "resized", "aggregation": "weighted_sum", "value": "delta_gb", "per": "hour",
                "unit": "GB-hours",
            },
        },
        "stored_peak", "stored", 250, {"region": "eu"},
    ),
}  # fmt: skip


def template(name: str) -> Plan:
    """The plan of a template; raises UsageError where there is none of this name."""
    if name not in TEMPLATES:
        raise UsageError(f"there is no template {name!r}.", f"give one of {', '.join(TEMPLATES)}.")
    return TEMPLATES[name]


def answered(event_type: str, aggregation: str, group_by: str) -> Plan:
    """The plan of three answers: what happens, what of it adds up, by which property (empty: none).

    Raises
    ------
    UsageError
        The aggregation is not offered, or no name can be made of the event type.
    """
    if aggregation not in AGGREGATIONS:
        raise UsageError(f"{aggregation!r} is no way to add up.", f"give one of {', '.join(AGGREGATIONS)}.")
    name = _NOT_NAMED.sub("_", event_type).strip("_")
    if not name:
        raise UsageError(f"{event_type!r} has neither a letter nor a digit.", "give a word, such as completion.")
    meter = f"{name[:80]}_{_ENDINGS[aggregation]}"
    groups = {"group_by": [group_by]} if group_by else {}
    quantity = 1 if aggregation == "count" else _EXAMPLE_QUANTITY
    properties = {group_by: "example"} if group_by else {}
    entry = {"event_types": event_type, "aggregation": aggregation, **groups, "unit": _UNITS[aggregation]}
    return Plan({meter: entry}, meter, event_type, quantity, properties)


def catalog_text(plan: Plan, tenant: str, customer: str) -> str:
    """The catalog file of a plan."""
    own = {"meters": dict(plan.meters), "customers": {customer: {}}}
    content = {"tenants": {tenant: own | ({"limits": dict(plan.limits)} if plan.limits else {})}}
    return _HEAD + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)


def event(plan: Plan, customer: str, event_id: str, at: datetime) -> dict[str, Any]:
    """An event that the plan counts; its tenant is that of the key."""
    return {
        "event_id": event_id, "customer_id": customer, "event_type": plan.event_type, "timestamp": rfc3339(at),
        "quantity": plan.quantity, "properties": dict(plan.properties),
    }  # fmt: skip


def curl(api: str, key: str, body: Mapping[str, Any]) -> str:
    """The command that sends an event, as a shell takes it."""
    return (
        f"curl -sS -X POST {api}/v1/events \\\n"
        f"  -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(json.dumps(body, ensure_ascii=False))}"
    )
