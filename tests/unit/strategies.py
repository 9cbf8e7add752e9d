"""Shared by the tests of the pure core: a catalog, a good event, and Hypothesis strategies around both."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from udfs.calendars.calendar import MAX_MS, MIN_MS, Calendar, Interval
from udfs.catalog.cache import Catalog
from udfs.catalog.model import CalendarDef, Customer, InMemoryCatalogSource, Tenant
from udfs.decode.decoder import DecodedBatch, DecodePolicy, Decoder
from udfs.events.dead_letter import DlqRecord, from_json, unpack_records
from udfs.meters.meter import Aggregation, Meter
from udfs.meters.packing import Packed, unpack

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
GRACE_MS = 48 * HOUR_MS
FUTURE_TOLERANCE_MS = 5 * MINUTE_MS
POLICY = DecodePolicy("usage.events", GRACE_MS, FUTURE_TOLERANCE_MS)

# Everything a zone can do to a calendar: gaps and repeats of 20 minutes to a day, at midnight and one minute after it,
# offsets that are no whole hours or no whole minutes, years of double summer time, none at all.
ZONES = (
    "UTC", "America/New_York", "Europe/London", "Europe/Dublin", "Australia/Lord_Howe", "Asia/Kolkata",
    "Asia/Kathmandu", "Pacific/Apia", "Pacific/Fakaofo", "Pacific/Kwajalein", "Pacific/Chatham", "America/St_Johns",
    "America/Moncton", "America/Sao_Paulo", "America/Havana", "America/Caracas", "Africa/Monrovia",
    "Africa/Casablanca", "Asia/Gaza", "Asia/Tehran", "Asia/Pyongyang", "Antarctica/Troll", "Asia/Amman",
)  # fmt: skip


def ms_of(text: str) -> int:
    """Epoch ms of an RFC 3339 text."""
    return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


EVENT_TIME = "2024-03-05T10:17:42.250Z"
EVENT_MS = ms_of(EVENT_TIME)
ARRIVAL_MS = EVENT_MS + 1_500


def event(**fields: Any) -> dict[str, Any]:
    """A good event with some fields set otherwise; `...` leaves a field out."""
    document = {
        "event_id": "e-1",
        "tenant_id": "acme",
        "customer_id": "alice",
        "event_type": "call",
        "timestamp": EVENT_TIME,
        "quantity": 2.5,
        "properties": {"dest": "LAX", "tier": 3, "free": False},
        **fields,
    }
    return {name: value for name, value in document.items() if value is not ...}


def raw_event(**fields: Any) -> bytes:
    return json.dumps(event(**fields), ensure_ascii=False).encode()


def with_literal(name: str, literal: str) -> bytes:
    """A good event with one field as the JSON text given, which `json.dumps` would not write."""
    return raw_event(**{name: "@@"}).replace(b'"@@"', literal.encode())


def source() -> InMemoryCatalogSource:
    """Tenants acme (UTC month) and globex (New York month by default), meters of every kind."""
    return InMemoryCatalogSource(
        tenants=[Tenant("acme"), Tenant("globex", "new-york"), Tenant("umbrella", sources=("gateway",))],
        meters=[
            Meter("volume", ("call", "refund"), "sum", allow_negative=True),
            Meter("calls", ("call",), "count"),
            Meter("by_dest", ("call",), "count", group_by=("tier", "dest")),
            Meter("paid", ("charge",), "sum"),
            Meter("distance", ("trip",), "sum", value="miles"),
            Meter("audited", ("audit",), "sum", precision="exact"),
            Meter("rare", ("ride",), "count", filter='{"eq":"LAX","property":"dest"}'),
            Meter("grouped", ("tour",), "count", group_by=("dest", "tier")),
            *readings(),
        ],
        calendars=[
            CalendarDef("new-york", "2024-01-01", "P1M", "America/New_York"),
            CalendarDef("kolkata-31st", "2023-12-31T06:30:00", "P1M", "Asia/Kolkata"),
            CalendarDef("over", None, None, "UTC", boundaries=("2020-01-01", "2021-01-01")),
        ],
        customer_versions=[
            Customer("acme", "bob", "kolkata-31st"),
            Customer("globex", "carol"),
            Customer("acme", "dora", "over"),
        ],
    )


LEVEL_FILTER = '{"any":[{"exists":false,"property":"deep"},{"in":["LAX",1],"property":"deep.dest"}]}'


def readings() -> list[Meter]:
    """A meter of each aggregation that takes events of type `reading`; all but two read the quantity."""
    values: tuple[Aggregation, ...] = ("min", "max", "avg", "latest", "percentile")
    return [
        *(Meter(f"all-{one}", ("reading",), one, allow_negative=True) for one in values),
        Meter("all-kinds", ("reading",), "unique", ("deep.dest", "region"), value="dest", on_missing="skip"),
        Meter("all-level", ("reading",), "weighted_sum", value="change", on_missing="skip", filter=LEVEL_FILTER),
    ]


def decoder(catalog_source: InMemoryCatalogSource | None = None) -> Decoder:
    return Decoder(Catalog(catalog_source or source(), 60.0, 1_000), POLICY)


def decoded(raws: list[bytes | None], arrival_ms: int = ARRIVAL_MS, by: Decoder | None = None) -> DecodedBatch:
    """All rows with one arrival, from partition 3, offsets 100 on."""
    count = len(raws)
    return (by or decoder()).decode_batch(raws, [arrival_ms] * count, [3] * count, range(100, 100 + count))


def rejected(raw: bytes | None, arrival_ms: int = ARRIVAL_MS, by: Decoder | None = None) -> DlqRecord:
    """The dead-letter record of an event that must be rejected."""
    batch = decoded([raw], arrival_ms, by)
    assert (batch.keys, batch.measurements) == ([None], [None])
    assert batch.rejects[0] is not None
    return from_json(batch.rejects[0])


def refused(raw: bytes, by: Decoder | None = None, arrival_ms: int = ARRIVAL_MS) -> list[DlqRecord]:
    """The partial dead letters of an event that must be accepted all the same."""
    batch = decoded([raw], arrival_ms, by)
    assert batch.keys[0] is not None
    assert batch.measurements[0] is not None
    return [] if batch.rejects[0] is None else unpack_records(batch.rejects[0])


def accepted(raw: bytes, arrival_ms: int = ARRIVAL_MS, by: Decoder | None = None) -> list[Packed]:
    """The measurements of an event that must be accepted."""
    batch = decoded([raw], arrival_ms, by)
    assert batch.rejects == [None]
    assert batch.keys[0] is not None
    assert batch.measurements[0] is not None
    return unpack(batch.measurements[0])


def meters_of(*meters: Meter, **more: Any) -> InMemoryCatalogSource:
    """A catalog of tenant acme and these meters."""
    return InMemoryCatalogSource(tenants=[Tenant("acme")], meters=meters, **more)


instants = st.integers(MIN_MS, MAX_MS - 1)
zones = st.sampled_from(ZONES)
# Wall-clock times that clocks are turned at, then any.
_times = st.sampled_from([0, 30, 60, 90, 120, 150, 180, 720, 1_439]) | st.integers(0, 1_439)
_days = st.sampled_from([(2023, 1, 31), (2024, 2, 29), (2023, 3, 30), (2011, 12, 30), (2024, 3, 10), (2023, 11, 5)]) | (
    st.dates(datetime(1970, 1, 1, tzinfo=UTC).date(), datetime(2100, 12, 31, tzinfo=UTC).date()).map(
        lambda day: (day.year, day.month, day.day)
    )
)
anchors = st.builds(lambda day, minutes: datetime(*day) + timedelta(minutes=minutes), _days, _times)  # noqa: DTZ001
intervals = st.one_of(
    st.builds(Interval, st.integers(1, 14) | st.just(120), st.just("M")),
    st.builds(Interval, st.integers(1, 10), st.just("Y")),
    st.builds(Interval, st.integers(1, 40), st.just("D")),
    st.builds(Interval, st.integers(1, 5), st.just("W")),
    st.builds(Interval, st.integers(1, 800), st.just("H")),
)
calendars = st.builds(Calendar, anchors, intervals, zones)

_texts = st.text(max_size=20) | st.sampled_from(['":', "\\", '{"a":1}', "\0", "\x1f", "\u2028", "é", "1E5", "nan"])
_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(10**30, 10**60), st.floats(), _texts,
    st.sampled_from(["1e400", "1E+999999999", "Infinity", "-nan", "2024-01-01T00:00:00"]),
)  # fmt: skip
json_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3), max_leaves=6
)
quantities = st.one_of(
    st.integers(-(10**18) + 1, 10**18 - 1),
    st.decimals(-(10**9), 10**9, places=9, allow_nan=False, allow_infinity=False).map(str),
    st.floats(-1e6, 1e6).map(lambda value: round(value, 6)),
)
# Half surrogates and controls are drawn by `json_values`; these are what `checked_id` takes.
# What turns the direction of text, beside whole categories that no id may hold.
_TURNS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_id_characters = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters=_TURNS)
ids = st.text(_id_characters, min_size=1, max_size=64)
_texts_and_scalars = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20), st.integers(), st.booleans(), st.just("LAX")
)
good_events = st.builds(
    event,
    event_id=ids,
    customer_id=ids | st.sampled_from(["alice", "bob"]),
    event_type=st.sampled_from(["call", "refund", "reading", "ride"]),
    quantity=quantities | st.just(...),
    properties=st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(["dest", "other", 'a":b', "é"], _texts_and_scalars),
            "change": st.integers(1 - 10**12, 10**12 - 1),
            "deep": st.dictionaries(st.sampled_from(["dest", "other"]), _texts_and_scalars),
        },
    )
    | st.just(...),
    region=st.none() | st.just("eu") | st.just(...),
    schema_version=st.sampled_from([1, 2, ...]),
    source=st.just(...) | st.none() | ids,
    voids=st.just(...) | st.none() | ids,
)
