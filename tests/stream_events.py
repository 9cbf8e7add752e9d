"""The events of the seeded stream: their types, their fields, and the three ways to write them."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

TYPES = {"call": 2, "completion": 3, "transfer": 2, "refund": 1, "request": 4, "resize": 2, "reading": 2, "job": 2}
# Types whose events are plain enough to be spoiled one field at a time.
PLAIN_TYPES = ("call", "completion", "transfer")
SOURCES = ("//eu/gateway", "//us/gateway")
# Fields of an event that CloudEvents have no attribute for.
OWN_FIELDS = ("resource_id", "user_id", "session_id", "region")


class Raw(str):
    """A JSON number as written."""

    __slots__ = ()


# What `_resize` says of its operations, and why the meter of them refuses it while the others count it.
IOPS: tuple[tuple[Any, str | None], ...] = (
    (100, None), ("250.5", None), (0, None), (-1, "negative_quantity"), ("fast", "invalid_quantity"),
    ([7], "wrong_type"), (None, "missing_value"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Made:
    """An event before it is written down.

    Parameters
    ----------
    fields:
        As a native event of version 1 would have them.
    event_ms:
        Event time, epoch ms.
    form:
        `1`: native; `2`: native of version 2, with source; `ce`: CloudEvents.
    source:
        '' when it has none.
    unmeasured:
        Whether all meters that take its type exclude it.
    """

    fields: dict[str, Any]
    event_ms: int
    form: str = "1"
    source: str = ""
    unmeasured: bool = False

    @property
    def tenant(self) -> str:
        return self.fields["tenant_id"]

    @property
    def identity(self) -> tuple[str, str, str, str]:
        return self.tenant, self.source, self.fields["event_id"], ""

    @property
    def partial(self) -> tuple[str, ...]:
        """Reason codes of the meters that refuse it while others count it."""
        if self.fields["event_type"] != "resize":
            return ()
        value = self.fields["properties"].get("iops")
        return tuple(reason for item, reason in IOPS if item == value and reason is not None)


def written(made: Made, **more: Any) -> bytes:
    """The event as JSON in its form; `more` are fields to add or replace (`voids`, `event_id`)."""
    fields = made.fields | more
    if made.form == "ce":
        return dump(cloud_event(fields, made.source))
    if made.form == "2":
        fields = fields | {"schema_version": 2} | ({"source": made.source} if made.source else {})
    return dump(fields)


def cloud_event(fields: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Fields of a native event as CloudEvents attributes; what has no attribute is left out."""
    data = dict(fields.get("properties") or {})
    if "quantity" in fields:
        data["quantity"] = fields["quantity"]
    event = {
        "specversion": "1.0", "id": fields["event_id"], "source": source, "subject": fields["customer_id"],
        "type": fields["event_type"], "tenantid": fields["tenant_id"], "traceparent": "00-1-2-01",
    }  # fmt: skip
    if "timestamp" in fields:
        event["time"] = fields["timestamp"]
    if "voids" in fields:
        event["voids"] = fields["voids"]
    return event | ({"data": data, "datacontenttype": "application/json"} if data else {})


def dump(value: Any) -> bytes:
    """Compact JSON that keeps `Raw` numbers as they are."""
    return _text(value).encode("utf-8", "surrogatepass")


def _text(value: Any) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{json.dumps(name)}:{_text(item)}" for name, item in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


def timestamp(ms: int, rng: random.Random) -> str:
    """RFC 3339 in one of the ways producers write it."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    style = rng.randrange(7)
    if style == 0:
        at = at.astimezone(timezone(timedelta(hours=5, minutes=30)))
    if style == 1:
        at = at.astimezone(timezone(timedelta(hours=-8)))
    text = at.isoformat(timespec="milliseconds")
    if style == 2:
        return text.replace("T", "t").replace("+00:00", "z")
    if style == 3:
        return text.replace("+00:00", "999999Z")
    if style == 4:
        return text.replace("+00:00", f"{rng.randint(0, 10**9):09d}Z")
    return text.replace("+00:00", "Z")


def details(event_type: str, rng: random.Random) -> tuple[dict[str, Any], bool]:
    """Quantity, properties and optional fields that fit the type, and whether no meter measures it."""
    fields, unmeasured = _DETAILS.get(event_type, lambda _: ({}, False))(rng)
    if rng.random() < 0.2:
        fields = {"user_id": "u", "region": None, "unknown_field": {"a": [1, "}"]}} | fields
    return fields, unmeasured


def _completion(rng: random.Random) -> tuple[dict[str, Any], bool]:
    properties: dict[str, Any] = {"model": rng.choice(["small", "large", 'größer "2"']), "tries": rng.randint(1, 3)}
    if rng.random() < 0.7:
        properties["region"] = rng.choice(["eu", "us", None, 7, Raw("7.0"), Raw("0.7E1"), "7", "7.0", Raw("-0"), True])
    return {"quantity": rng.randint(1, 50_000), "properties": properties}, False


def _transfer(rng: random.Random) -> tuple[dict[str, Any], bool]:
    long = Raw(f"{rng.randint(0, 10**9)}.{rng.randint(0, 10**9 - 1):09}")
    others = [Raw("1.5e3"), Raw("25E-1"), Raw("1.50000000000"), "0.000000001", "12.5", 0]
    return {"quantity": rng.choice([long, _fine(rng), *others])}, False


def _fine(rng: random.Random) -> Any:
    """A value with more than 9 decimals, which is rounded: sums of binary fractions, ties either way, nothing left."""
    tie = Raw(f"{rng.randint(0, 99)}.{rng.randint(0, 10**9 - 1):09}5")
    others = [Raw("0.30000000000000004"), "0.00000000150", Raw("5E-10"), Raw("1e-99999999999999999999")]
    return rng.choice([tie, str(tie), *others])


def _refund(rng: random.Random) -> tuple[dict[str, Any], bool]:
    return {"quantity": Raw(f"-{rng.randint(0, 999)}.{rng.randint(0, 99):02}")}, False


def _request(rng: random.Random) -> tuple[dict[str, Any], bool]:
    """Latencies over six decades; status and user are nested, or named by a key with a dot, or the event's own."""
    properties: dict[str, Any] = {"plan": rng.choice(["free", "pro", ""])}
    if rng.random() < 0.9:
        millis = Raw(f"{10 ** rng.uniform(-2, 4):.4f}")
        properties["latency"] = rng.choice([millis, millis, str(millis), _fine(rng), 0, None])
    status = rng.choices([200, 404, 408, 429, 500, "503"], [70, 10, 5, 5, 5, 5])[0]
    http = {"status": status, "method": rng.choice(["GET", "PUT", None])}
    properties["http"] = http
    if rng.random() < 0.1:
        # The key that is spelled like the path wins over the path.
        properties["http.status"] = 200
    if status in {408, 429}:
        properties["retried"] = rng.choice([True, False, "true"])
    if rng.random() < 0.3:
        properties |= {"team": rng.choice(["a", 1, ""]), "zone": rng.choice("ab"), "host": {"name": rng.choice("xy")}}
        properties |= {"app": "shop", "build": rng.choice([1, Raw("1.0"), 2.5, Raw("1e2"), 100, None])}
    fields: dict[str, Any] = {"properties": properties}
    user: Any = rng.choice([f"u{rng.randint(1, 40)}", rng.randint(1, 40), Raw(f"{rng.randint(1, 40)}.0"), True])
    place = rng.random()
    if place < 0.4:
        properties["user"] = {"id": user}
        properties["user_id"] = user
    elif place < 0.8:
        fields["user_id"] = str(user)
    if rng.random() < 0.5:
        fields["region"] = rng.choice(["eu", "us"])
    return fields, False


def _resize(rng: random.Random) -> tuple[dict[str, Any], bool]:
    """Steps of a level: up and down by little, about as often."""
    step = rng.choice([1, 2, -1, -2, Raw("0.5"), Raw("-0.125"), "3.000000001", "-3.000000001", 0])
    properties: dict[str, Any] = {"volume": rng.choice(["a", "b"])}
    if rng.random() < 0.5:
        properties["cores"] = rng.choice([1, -1, 4, -4])
    value, _ = rng.choices(IOPS, [30, 30, 30, 2, 2, 2, 4])[0]
    if value is not None or rng.random() < 0.5:
        properties["iops"] = value
    return {"quantity": step, "properties": properties}, False


def _reading(rng: random.Random) -> tuple[dict[str, Any], bool]:
    properties: dict[str, Any] = {"seats": rng.randint(0, 50)}
    if rng.random() < 0.9:
        properties["sensor"] = {"celsius": rng.choice([Raw(f"{rng.gauss(5, 15):.2f}"), 0, "-0.5", Raw("1E1"), None])}
    fields: dict[str, Any] = {"properties": properties}
    if rng.random() < 0.5:
        fields["resource_id"] = rng.choice(["roof", "cellar"])
    return fields, False


def _job(rng: random.Random) -> tuple[dict[str, Any], bool]:
    """Half of them are excluded by the filters of both meters, or have nothing to add."""
    if rng.random() < 0.5:
        excluded = [
            {"state": "queued", "priority": 4, "cost": 1},
            {"state": "done", "priority": 2},
            {"state": "done", "priority": "high"},
            {"state": "done", "priority": 4, "test": "true", "cost": None},
            {"state": ["done"], "priority": 4, "cost": {"EUR": 1}},
            {"state": None, "cost": 2},
        ]
        return {"properties": rng.choice(excluded)}, True
    state = rng.choice(["done", "failed"])
    properties: dict[str, Any] = {"state": state, "priority": rng.choice([1, 3, "4", Raw("5.0"), 6, None])}
    properties["cost"] = rng.choice([Raw("0.25"), "7", 0])
    return {"properties": properties}, False


_DETAILS = {
    "completion": _completion, "transfer": _transfer, "refund": _refund, "request": _request, "resize": _resize,
    "reading": _reading, "job": _job,
}  # fmt: skip
