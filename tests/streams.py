"""A seeded stream of usage events for tests: duplicates, disorder, late and bad events, and the catalog for it.

Every record carries what it must become, known by construction: a second check beside the oracle.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

GRACE_MS = 172_800_000
FUTURE_TOLERANCE_MS = 300_000
# 40 days from here hold both spring changes of the clock (10 and 31 March), a leap day behind them and two month ends.
BEGIN_MS = int(datetime(2024, 2, 27, tzinfo=UTC).timestamp() * 1000)
SPAN_MS = 40 * 86_400_000
SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000

BAD_SHARE = 0.03
COPY_SHARE = 0.03
# Values of tens of kilobytes: enough of them to prove the rule, few enough to keep the stream small.
BIG_BAD = 6

CATALOG: dict[str, Any] = {
    "calendars": {
        "utc-month": {"anchor": "2024-01-01T00:00:00", "interval": "P1M", "timezone": "Etc/UTC"},
        "new-york-31st": {"anchor": "2023-12-31T00:00:00", "interval": "P1M", "timezone": "America/New_York"},
        "berlin-30th": {"anchor": "2023-12-30T02:30:00", "interval": "P1M", "timezone": "Europe/Berlin"},
        "new-york-skipped": {"anchor": "2024-02-10T02:30:00", "interval": "P1M", "timezone": "America/New_York"},
        "tokyo-quarter": {"anchor": "2024-01-01T00:00:00", "interval": "P3M", "timezone": "Asia/Tokyo"},
        "honolulu-year": {"anchor": "2020-02-29T00:00:00", "interval": "P1Y", "timezone": "Pacific/Honolulu"},
        "sydney-week": {"anchor": "2024-01-01T00:00:00", "interval": "P1W", "timezone": "Australia/Sydney"},
        "kolkata-days": {"anchor": "2024-01-01T00:00:00", "interval": "P10D", "timezone": "Asia/Kolkata"},
    },
    "tenants": {
        "acme": {
            "calendar": "new-york-31st",
            "customers": {
                "alice": {"calendar": "new-york-31st"},
                "bob": {"calendar": "berlin-30th"},
                "carol": {"calendar": "tokyo-quarter"},
                "dave": {"calendar": "new-york-skipped"},
                "erin/ä %41 {x}:y": {"calendar": "honolulu-year"},
            },
            "meters": {
                "refunds": {"event_types": ["refund"], "aggregation": "sum", "unit": "EUR", "allow_negative": True},
            },
        },
        "globex": {
            "calendar": "sydney-week",
            "customers": {"frank": {"calendar": "kolkata-days"}, "grace": {"calendar": "utc-month"}, "heidi": None},
            "meters": {
                "tokens": {"event_types": ["completion"], "aggregation": "sum", "unit": "t", "group_by": ["model"]},
            },
        },
        "initech": None,
    },
    "meters": {
        "calls": {"event_types": ["call", "completion"], "aggregation": "count", "unit": "calls"},
        "tokens": {
            "event_types": ["completion"], "aggregation": "sum", "unit": "tokens", "group_by": ["region", "model"],
        },
        "gigabytes": {"event_types": ["transfer"], "aggregation": "sum", "unit": "GB"},
    },
}  # fmt: skip
# The last of each tenant is not in the catalog: it is counted on the tenant's calendar.
CUSTOMERS = {
    "acme": [*CATALOG["tenants"]["acme"]["customers"], "walk-in"],
    "globex": [*CATALOG["tenants"]["globex"]["customers"], "walk-in"],
    "initech": ["peter", "samir"],
}


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """One record to send, and what it must become.

    Parameters
    ----------
    partition, timestamp_ms, key, value:
        As for Kafka; the topic must be CreateTime, so that the timestamp is the arrival.
    reason:
        Reason code it must be rejected with; None when it is counted or a duplicate.
    identity:
        (tenant_id, event_id) of a record that is not rejected: the first of it counts.
    """

    partition: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    reason: str | None = None
    identity: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """What must come of a stream: offsets_in = counted + duplicates + sum of rejected."""

    offsets_in: int
    counted: int
    duplicates: int
    rejected: Mapping[str, int]


def expected_of(records: list[StreamRecord]) -> Expected:
    """The outcome of a stream, by construction."""
    accepted = [record.identity for record in records if record.reason is None]
    rejected = Counter(record.reason for record in records if record.reason is not None)
    counted = len(set(accepted))
    return Expected(len(records), counted, len(accepted) - counted, dict(sorted(rejected.items())))


def generate(events: int = 100_000, partitions: int = 4, seed: int = 1) -> list[StreamRecord]:
    """About `events` records in the order to send them; the same for the same arguments."""
    return _Generator(events, partitions, random.Random(seed)).run()


@dataclass(slots=True)
class _Generator:
    events: int
    partitions: int
    rng: random.Random
    # (place in time, record): copies are put in later, so the stream is ordered at the end.
    placed: list[tuple[int, StreamRecord]] = field(default_factory=list)
    made: int = 0

    def run(self) -> list[StreamRecord]:
        bad = [*_BAD] * max(1, round(self.events * BAD_SHARE / len(_BAD)))
        bad += [*_BIG_BAD] * (BIG_BAD // len(_BIG_BAD))
        good = max(0, round(self.events * (1 - COPY_SHARE)) - len(bad))
        kinds: list[_Bad | None] = [None] * good + bad
        self.rng.shuffle(kinds)
        for index, kind in enumerate(kinds):
            arrival_ms = BEGIN_MS + index * SPAN_MS // len(kinds)
            if kind is None:
                self._good(arrival_ms)
            else:
                self._bad(arrival_ms, kind)
        return [record for _, record in sorted(self.placed, key=lambda pair: pair[0])]

    def _good(self, arrival_ms: int) -> None:
        event, event_ms, record = self._event(arrival_ms)
        self._place(arrival_ms, record)
        if self.rng.random() < COPY_SHARE:
            self._copy(arrival_ms, event, event_ms, record)

    def _copy(self, arrival_ms: int, event: dict[str, Any], event_ms: int, record: StreamRecord) -> None:
        """The same id again, from at once to hours later, early enough not to be too late."""
        latest_ms = event_ms + GRACE_MS - 10 * SECOND_MS
        later_ms = arrival_ms + round(10 ** self.rng.uniform(0, 7.5))
        if later_ms >= latest_ms:
            return
        draw = self.rng.random()
        if draw < 0.4 and self.partitions > 1:
            elsewhere = (record.partition + self.rng.randrange(1, self.partitions)) % self.partitions
            record = replace(record, partition=elsewhere)
        elif draw < 0.5:
            # Other content counts as a duplicate too; in the same partition, so that it is known which was first.
            other = event | {
                "customer_id": "walk-in" if event["tenant_id"] != "initech" else "samir",
                "resource_id": "2",
            }
            record = replace(record, value=_json(other))
        self._place(later_ms, record)

    def _place(self, place_ms: int, record: StreamRecord) -> None:
        """Arrival times are out of order by up to 5 s within a partition, as CreateTime allows."""
        skewed = replace(record, timestamp_ms=place_ms + (self.rng.randint(0, 5_000) if self.rng.random() < 0.1 else 0))
        self.placed.append((place_ms, skewed))

    def _event(self, arrival_ms: int, event_ms: int | None = None) -> tuple[dict[str, Any], int, StreamRecord]:
        """A good event, its time, and its record."""
        rng = self.rng
        if event_ms is None:
            event_ms = arrival_ms - _delay_ms(rng)
        tenant = rng.choices(["acme", "globex", "initech"], [5, 4, 1])[0]
        customer = rng.choice(CUSTOMERS[tenant])
        event_type = rng.choice(["call", "completion", "transfer", *(["refund"] if tenant == "acme" else [])])
        self.made += 1
        event: dict[str, Any] = {
            # Each tenant counts its ids for itself, so equal ids of two tenants are two events.
            "event_id": f"e-{self.made // 2}" if tenant == "initech" else f"e-{self.made}",
            "tenant_id": tenant, "customer_id": customer, "event_type": event_type,
            "timestamp": _timestamp(event_ms, rng),
        }  # fmt: skip
        if tenant == "initech":
            event["event_id"] += f"-{self.made % 2}"
        event |= _details(event_type, rng)
        key = f"{tenant}/{customer}".encode()
        partition = sum(key) % self.partitions
        return (
            event,
            event_ms,
            StreamRecord(partition, arrival_ms, key, _json(event), None, (tenant, event["event_id"])),
        )

    def _bad(self, arrival_ms: int, kind: _Bad) -> None:
        event_ms = arrival_ms + kind.shift_ms(self.rng) if kind.shift_ms else arrival_ms - 1_000
        event, _, record = self._event(arrival_ms, event_ms)
        value = kind.spoil(event)
        key = record.key if self.rng.random() < 0.8 else None
        bad = replace(record, key=key, value=value, reason=kind.reason, timestamp_ms=arrival_ms)
        if kind.reason is None:
            self.placed.append((arrival_ms, bad))
        else:
            self.placed.append((arrival_ms, replace(bad, identity=None)))


@dataclass(frozen=True, slots=True)
class _Bad:
    """A way to spoil an event; reason None is one that looks bad and is not (the edge of a rule)."""

    reason: str | None
    spoil: Callable[[dict[str, Any]], bytes | None]
    # Event time minus arrival; 1 s before when None.
    shift_ms: Callable[[random.Random], int] | None = None


def _delay_ms(rng: random.Random) -> int:
    """Arrival minus event time: mostly seconds, some hours, a few nearly all of the grace, a few clocks ahead."""
    draw = rng.random()
    if draw < 0.80:
        return rng.randint(0, MINUTE_MS)
    if draw < 0.94:
        return rng.randint(0, 6 * HOUR_MS)
    if draw < 0.98:
        return rng.randint(0, GRACE_MS - 10 * SECOND_MS)
    return -rng.randint(0, FUTURE_TOLERANCE_MS - 10 * SECOND_MS)


def _details(event_type: str, rng: random.Random) -> dict[str, Any]:
    """Quantity, properties and optional fields that fit the type."""
    details: dict[str, Any] = {}
    if event_type == "completion":
        details["quantity"] = rng.randint(1, 50_000)
        model = rng.choice(["small", "large", 'größer "2"'])
        details["properties"] = {"model": model, "tries": rng.randint(1, 3)}
        if rng.random() < 0.7:
            details["properties"]["region"] = rng.choice(["eu", "us", None, 7, True])
    elif event_type == "transfer":
        long = _Raw(f"{rng.randint(0, 10**9)}.{rng.randint(0, 10**9 - 1):09}")
        others = [_Raw("1.5e3"), _Raw("25E-1"), _Raw("1.50000000000"), "0.000000001", "12.5", 0]
        details["quantity"] = rng.choice([long, *others])
    elif event_type == "refund":
        details["quantity"] = _Raw(f"-{rng.randint(0, 999)}.{rng.randint(0, 99):02}")
    if rng.random() < 0.2:
        details |= {"user_id": "u", "region": None, "schema_version": 1, "unknown_field": {"a": [1, "}"]}}
    return details


class _Raw(str):
    """A JSON number as written."""

    __slots__ = ()


def _json(event: Mapping[str, Any]) -> bytes:
    """Compact JSON that keeps `_Raw` numbers as they are."""
    parts = (
        f"{json.dumps(name)}:{value if isinstance(value, _Raw) else json.dumps(value, ensure_ascii=False)}"
        for name, value in event.items()
    )
    return ("{" + ",".join(parts) + "}").encode("utf-8", "surrogatepass")


def _timestamp(ms: int, rng: random.Random) -> str:
    """RFC 3339 in one of the ways producers write it."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    style = rng.randrange(6)
    if style == 0:
        at = at.astimezone(timezone(timedelta(hours=5, minutes=30)))
    if style == 1:
        at = at.astimezone(timezone(timedelta(hours=-8)))
    text = at.isoformat(timespec="milliseconds")
    if style == 2:
        return text.replace("T", "t").replace("+00:00", "z")
    if style == 3:
        return text.replace("+00:00", "999999Z")
    return text.replace("+00:00", "Z")


def _set(**changed: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda event: _json(event | changed)


def _raw(value: bytes | None) -> Callable[[dict[str, Any]], bytes | None]:
    return lambda _: value


def _sum(quantity: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda event: _json(_without(event, "properties") | {"event_type": "transfer", "quantity": quantity})


def _without(event: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != name}


def _completion(**properties: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda event: _json(event | {"event_type": "completion", "quantity": 1, "properties": properties})


# Every kind of bad input, each with the reason it must be rejected with.
_BAD: tuple[_Bad, ...] = (
    _Bad("empty_value", _raw(None)),
    _Bad("empty_value", _raw(b"")),
    _Bad("empty_value", _raw(b" \n")),
    _Bad("invalid_utf8", lambda event: _json(event).replace(b'"event_id":"', b'"event_id":"\xff\xfe')),
    _Bad("malformed_json", _raw(b"not json at all")),
    _Bad("malformed_json", lambda event: _json(event)[:-1] + b",}"),
    _Bad("malformed_json", lambda event: _json(event).replace(b":", b"=", 1)),
    _Bad("malformed_json", _set(unknown_field=_Raw("NaN"))),
    _Bad("truncated_json", lambda event: _json(event)[:-1]),
    _Bad("truncated_json", lambda event: _json(event)[:25]),
    _Bad("not_an_object", _raw(b"[]")),
    _Bad("not_an_object", _raw(b"null")),
    _Bad("not_an_object", _raw(b'"text"')),
    _Bad("not_an_object", lambda event: b"[" + _json(event) + b"]"),
    _Bad("nesting_too_deep", _set(unknown_field=_Raw("[" * 100 + "]" * 100))),
    _Bad("duplicate_key", lambda event: _json(event)[:-1] + b',"event_id":"other"}'),
    _Bad("duplicate_key", _set(properties=_Raw('{"model":"a","model":"b"}'))),
    _Bad("nul_character", _set(event_id="a\0b")),
    _Bad("nul_character", _set(properties={"note": "\0"})),
    _Bad("invalid_unicode", _set(resource_id=_Raw(r'"\ud800"'))),
    *(
        _Bad("missing_field", lambda event, name=name: _json(_without(event, name)))
        for name in ("event_id", "tenant_id", "customer_id", "event_type", "timestamp")
    ),
    _Bad("wrong_type", _set(event_id=1)),
    _Bad("wrong_type", _set(customer_id=None)),
    _Bad("wrong_type", _set(timestamp=1_709_000_000)),
    _Bad("wrong_type", _set(properties=["a"])),
    _Bad("wrong_type", _set(user_id=7)),
    _Bad("wrong_type", _set(schema_version="1")),
    _Bad("wrong_type", _sum(None)),
    _Bad("wrong_type", _sum(True)),
    _Bad("wrong_type", _sum([1])),
    _Bad("wrong_type", _completion(model={"a": 1})),
    _Bad("invalid_id", _set(customer_id="")),
    _Bad("invalid_id", _set(customer_id="a\nb")),
    _Bad("id_too_long", _set(event_id="x" * 257)),
    _Bad("id_too_long", _set(customer_id="ä" * 129)),
    _Bad("unknown_tenant", _set(tenant_id="nobody")),
    _Bad("unknown_event_type", _set(event_type="nothing")),
    _Bad("unsupported_schema_version", _set(schema_version=2)),
    _Bad("invalid_timestamp", _set(timestamp=None)),
    _Bad("invalid_timestamp", _set(timestamp="yesterday")),
    _Bad("invalid_timestamp", _set(timestamp="2024-02-30T00:00:00Z")),
    _Bad("invalid_timestamp", _set(timestamp="1969-12-31T23:59:59Z")),
    _Bad("timestamp_without_zone", _set(timestamp="2024-03-01T00:00:00")),
    _Bad("too_late", _set(), lambda rng: -GRACE_MS - rng.randint(1, 30 * DAY_MS)),
    _Bad("too_late", _set(), lambda _: -GRACE_MS - 1),
    _Bad(None, _set(), lambda _: -GRACE_MS),
    _Bad("in_future", _set(), lambda rng: FUTURE_TOLERANCE_MS + rng.randint(1, 30 * DAY_MS)),
    _Bad("in_future", _set(), lambda _: FUTURE_TOLERANCE_MS + 1),
    _Bad(None, _set(), lambda _: FUTURE_TOLERANCE_MS),
    _Bad("non_finite_quantity", _sum(_Raw("NaN"))),
    _Bad("non_finite_quantity", _sum(_Raw("-Infinity"))),
    _Bad("non_finite_quantity", _sum("Infinity")),
    _Bad("invalid_quantity", _sum("many")),
    _Bad("invalid_quantity", _sum("")),
    _Bad("quantity_out_of_range", _sum(_Raw("1e400"))),
    _Bad("quantity_out_of_range", _sum(_Raw("1" * 40))),
    _Bad("quantity_out_of_range", _sum("1e18")),
    _Bad("quantity_too_precise", _sum(_Raw("0.0000000001"))),
    _Bad("negative_quantity", _sum(_Raw("-0.5"))),
    _Bad("dimension_too_long", _completion(model="m" * 1_100)),
)
_BIG_BAD: tuple[_Bad, ...] = (
    _Bad("event_too_large", _set(properties={"note": "x" * 66_000})),
    _Bad("nesting_too_deep", _set(unknown_field=_Raw("[" * 10_000 + "]" * 10_000))),
)
