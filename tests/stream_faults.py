"""Ways to spoil an event of the seeded stream, each with the expected reason of rejection."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.stream_events import Raw, cloud_event, dump

GRACE_MS = 172_800_000
FUTURE_TOLERANCE_MS = 300_000
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Bad:
    """A way to spoil an event; reason None is one that looks bad and is not (the edge of a rule).

    `refused_by` are the meters that refuse it for that reason while others count it; none: it is rejected as a whole.
    """

    reason: str | None
    spoil: Callable[[dict[str, Any]], bytes | None]
    # Event time minus arrival; 1 s before when None.
    shift_ms: Callable[[random.Random], int] | None = None
    refused_by: tuple[str, ...] = ()


def _set(**changed: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda event: dump(event | changed)


def _raw(value: bytes | None) -> Callable[[dict[str, Any]], bytes | None]:
    return lambda _: value


def _sum(quantity: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda event: dump(_without(event, "properties") | {"event_type": "transfer", "quantity": quantity})


def _without(event: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != name}


def _completion(**properties: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda event: dump(event | {"event_type": "completion", "quantity": 1, "properties": properties})


def _with(event_type: str, **properties: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda event: dump(_without(event, "quantity") | {"event_type": event_type, "properties": properties})


def _cloud(without: str = "", **changed: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda event: dump(_without(cloud_event(event, "//eu/gateway") | changed, without))


_LATENCIES = ("latency", "latency_least", "latency_mean", "latency_most")

# Every kind of bad input. Spoiled are native events of plain types, of customers that have a period at any time.
BAD: tuple[Bad, ...] = (
    Bad("empty_value", _raw(None)),
    Bad("empty_value", _raw(b"")),
    Bad("empty_value", _raw(b" \n")),
    Bad("invalid_utf8", lambda event: dump(event).replace(b'"event_id":"', b'"event_id":"\xff\xfe')),
    Bad("malformed_json", _raw(b"not json at all")),
    Bad("malformed_json", lambda event: dump(event)[:-1] + b",}"),
    Bad("malformed_json", lambda event: dump(event).replace(b":", b"=", 1)),
    Bad("malformed_json", _set(unknown_field=Raw("NaN"))),
    Bad("truncated_json", lambda event: dump(event)[:-1]),
    Bad("truncated_json", lambda event: dump(event)[:25]),
    Bad("not_an_object", _raw(b"[]")),
    Bad("not_an_object", _raw(b"null")),
    Bad("not_an_object", _raw(b'"text"')),
    Bad("not_an_object", lambda event: b"[" + dump(event) + b"]"),
    Bad("nesting_too_deep", _set(unknown_field=Raw("[" * 100 + "]" * 100))),
    Bad("duplicate_key", lambda event: dump(event)[:-1] + b',"event_id":"other"}'),
    Bad("duplicate_key", _set(properties=Raw('{"model":"a","model":"b"}'))),
    Bad("nul_character", _set(event_id="a\0b")),
    Bad("nul_character", _set(properties={"note": "\0"})),
    Bad("invalid_unicode", _set(resource_id=Raw(r'"\ud800"'))),
    *(
        Bad("missing_field", lambda event, name=name: dump(_without(event, name)))
        for name in ("event_id", "tenant_id", "customer_id", "event_type", "timestamp")
    ),
    Bad("wrong_type", _set(event_id=1)),
    Bad("wrong_type", _set(customer_id=None)),
    Bad("wrong_type", _set(timestamp=1_709_000_000)),
    Bad("wrong_type", _set(properties=["a"])),
    Bad("wrong_type", _set(user_id=7)),
    Bad("wrong_type", _set(schema_version="1")),
    Bad("wrong_type", _sum(None)),
    Bad("wrong_type", _sum(True)),
    Bad("wrong_type", _sum([1])),
    Bad("wrong_type", _completion(model={"a": 1}), refused_by=("tokens",)),
    Bad("invalid_id", _set(customer_id="")),
    Bad("invalid_id", _set(customer_id="a\nb")),
    Bad("invalid_id", _set(customer_id="a\u0085b")),
    Bad("invalid_id", _set(customer_id="a\u202eb")),
    Bad("invalid_timestamp", _set(timestamp="2024-03-01T10:17:60Z")),
    Bad(None, lambda event: b"\xef\xbb\xbf" + dump(event)),
    Bad(None, lambda event: dump(event | {"event_type": "call", "properties": None, "schema_version": None})),
    Bad("id_too_long", _set(event_id="x" * 257)),
    Bad("id_too_long", _set(customer_id="ä" * 129)),
    Bad("unknown_tenant", _set(tenant_id="nobody")),
    Bad("source_not_allowed", _set(schema_version=2, source="//elsewhere")),
    Bad("source_not_allowed", _set(schema_version=2, source="//elsewhere", event_type="nothing")),
    Bad("source_not_allowed", _cloud(source="//elsewhere")),
    # Version 1 has no source.
    Bad(None, _set(source="//elsewhere")),
    Bad("unknown_event_type", _set(event_type="nothing")),
    Bad("unsupported_schema_version", _set(schema_version=3)),
    Bad("unsupported_schema_version", _set(schema_version=0)),
    Bad("unsupported_schema_version", _cloud(specversion="0.3")),
    Bad("invalid_timestamp", _set(timestamp=None)),
    Bad("invalid_timestamp", _set(timestamp="yesterday")),
    Bad("invalid_timestamp", _set(timestamp="2024-02-30T00:00:00Z")),
    Bad("invalid_timestamp", _set(timestamp="1969-12-31T23:59:59Z")),
    Bad("timestamp_without_zone", _set(timestamp="2024-03-01T00:00:00")),
    Bad("too_late", _set(), lambda rng: -GRACE_MS - rng.randint(1, 30 * DAY_MS)),
    Bad("too_late", _set(), lambda _: -GRACE_MS - 1),
    Bad(None, _set(), lambda _: -GRACE_MS),
    Bad("in_future", _set(), lambda rng: FUTURE_TOLERANCE_MS + rng.randint(1, 30 * DAY_MS)),
    Bad("in_future", _set(), lambda _: FUTURE_TOLERANCE_MS + 1),
    Bad(None, _set(), lambda _: FUTURE_TOLERANCE_MS),
    Bad("non_finite_quantity", _sum(Raw("NaN"))),
    Bad("non_finite_quantity", _sum(Raw("-Infinity"))),
    Bad("non_finite_quantity", _sum("Infinity")),
    Bad("invalid_quantity", _sum("many")),
    Bad("invalid_quantity", _sum("")),
    Bad("quantity_out_of_range", _sum(Raw("1e400"))),
    Bad("quantity_out_of_range", _sum(Raw("1" * 40))),
    Bad("quantity_out_of_range", _sum("1e18")),
    Bad("quantity_out_of_range", _sum(Raw("999999999999999999.9999999995"))),
    Bad("negative_quantity", _sum(Raw("-0.5"))),
    Bad("dimension_too_long", _completion(model="m" * 1_100), refused_by=("tokens",)),
    Bad("dimension_too_long", _with("request", team="t" * 600, app="a" * 600), refused_by=("detailed",)),
    # Values of a property: the rules of the quantity.
    Bad("missing_value", _with("reading")),
    Bad("missing_value", _with("reading", seats=None, sensor={"celsius": 1}), refused_by=("seats",)),
    Bad("wrong_type", _with("reading", seats=True)),
    Bad("wrong_type", _with("reading", seats={"count": 1})),
    Bad("wrong_type", _with("request", user_id=[1], user={"id": [1]}, http={"status": 200}), refused_by=("visitors",)),
    Bad("invalid_quantity", _with("request", latency="fast"), refused_by=_LATENCIES),
    Bad("non_finite_quantity", _with("request", latency="nan"), refused_by=_LATENCIES),
    Bad("quantity_too_precise", _with("reading", seats=Raw("1e-10"))),
    Bad("quantity_too_precise", _with("reading", seats="3.00000000000000000001")),
    Bad("negative_quantity", _with("request", latency=-1), refused_by=_LATENCIES),
    Bad("negative_quantity", _with("reading", seats="-1")),
    # A level changes by less than 10^12: its integral must fit too.
    Bad("quantity_out_of_range", lambda event: dump(event | {"event_type": "resize", "quantity": Raw("1e12")})),
    Bad("quantity_out_of_range", lambda event: dump(event | {"event_type": "resize", "quantity": "-1000000000000"})),
    Bad("too_many_properties", _set(properties={f"p{place}": place for place in range(257)})),
    Bad(None, _set(event_type="call", properties={f"p{place}": place for place in range(256)})),
    # Voids and sources.
    Bad("wrong_type", _set(voids=7)),
    Bad("invalid_id", _set(voids="")),
    Bad("id_too_long", _set(voids="x" * 257)),
    Bad("wrong_type", _set(schema_version=2, source=7)),
    # CloudEvents.
    *(Bad("missing_field", _cloud(without=name)) for name in ("id", "source", "subject", "type", "tenantid")),
    Bad("wrong_type", _cloud(data_base64="AAAA", without="data")),
    Bad("wrong_type", _cloud(datacontenttype="text/xml")),
    Bad("wrong_type", _cloud(data=[1])),
    Bad("wrong_type", _cloud(subject=7)),
    Bad("invalid_timestamp", _cloud(time="noon")),
    Bad("too_late", _cloud(), lambda _: -GRACE_MS - 1),
)
BIG_BAD: tuple[Bad, ...] = (
    Bad("event_too_large", _set(properties={"note": "x" * 66_000})),
    Bad("nesting_too_deep", _set(unknown_field=Raw("[" * 10_000 + "]" * 10_000))),
)
