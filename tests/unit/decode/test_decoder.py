"""Decoding batches: what an event becomes, why one is rejected, and what its dead-letter record says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit import strategies as own
from tests.unit.strategies import (
    ARRIVAL_MS,
    EVENT_MS,
    FUTURE_TOLERANCE_MS,
    GRACE_MS,
    accepted,
    decoded,
    decoder,
    event,
    meters_of,
    ms_of,
    raw_event,
    rejected,
    with_literal,
)
from tidemark.core.topics import MAX_RECORD_BYTES
from udfs.catalog.cache import Catalog
from udfs.catalog.model import CalendarDef, Customer, InMemoryCatalogSource, Tenant
from udfs.decode.dead_letters import MAX_RAW_BYTES
from udfs.decode.decoder import KEY_BYTES, DecodedBatch, dedupe_key
from udfs.decode.scope import Scope
from udfs.events.dead_letter import from_json
from udfs.events.parse import MAX_EVENT_BYTES, parse
from udfs.events.reasons import Reason
from udfs.meters.measuring import Measurement, measure
from udfs.meters.meter import MAX_DIMS_BYTES, Meter
from udfs.meters.packing import Packed, unpack

MARCH = ms_of("2024-03-01T00:00:00Z"), ms_of("2024-04-01T00:00:00Z")
MINUTE = ms_of("2024-03-05T10:17:00Z")


def fed(source: InMemoryCatalogSource, **fields: Any) -> list[tuple[str, str, str]]:
    """(meter, dims, amount) of each measurement."""
    return [(one.meter, one.dims, one.amount) for one in accepted(raw_event(**fields), by=decoder(source))]


def period_of(one: Packed) -> tuple[int, int]:
    return one.period_start_ms, one.period_end_ms


def amounts_of(text: str | None) -> list[str] | None:
    return None if text is None else [one.amount for one in unpack(text)]


# --- accepted events --------------------------------------------------------------------------------------------------


def test_one_event_feeds_its_meters_in_name_order() -> None:
    place = "", MINUTE, "2024-03-05", *MARCH
    assert accepted(raw_event()) == [
        Packed("1", 1, "", "acme", "alice", "by_dest", '{"dest":"LAX","tier":"3"}', *place),
        Packed("1", 1, "", "acme", "alice", "calls", "", *place),
        Packed("2.5", 1, "", "acme", "alice", "volume", "", *place),
    ]


def test_dead_letters_of_a_batch_are_counted_by_reason_and_the_next_begins_from_0() -> None:
    by = decoder()
    by.decode_batch([raw_event(), b"{", b"", b"{"], [ARRIVAL_MS] * 4, [0] * 4, [0, 1, 2, 3])
    assert by.reasons == {Reason.TRUNCATED_JSON: 2, Reason.EMPTY_VALUE: 1}
    by.decode_batch([raw_event()], [ARRIVAL_MS], [0], [4])
    assert by.reasons == {}


def test_the_columns_of_a_batch_keep_its_order() -> None:
    raws = [raw_event(), b"{", raw_event(event_type="refund", quantity=-1), None]
    batch = decoded(raws)
    assert [key is not None for key in batch.keys] == [True, False, True, False]
    assert [amounts_of(text) for text in batch.measurements] == [["1", "1", "2.5"], None, ["-1"], None]
    assert [reject is None for reject in batch.rejects] == [True, False, True, False]
    assert [json.loads(text)["offset"] for text in batch.rejects if text] == [101, 103]


def test_an_empty_batch_is_an_empty_batch() -> None:
    assert decoded([]) == DecodedBatch()


def test_columns_of_different_length_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="zip"):
        decoder().decode_batch([raw_event()], [], [], [])


def test_an_event_without_quantity_counts_one() -> None:
    assert accepted(raw_event(event_type="refund", quantity=...))[0].amount == "1"


def test_a_customer_has_the_periods_and_days_of_its_own_calendar() -> None:
    # bob, Asia/Kolkata, the 31st at 06:30 local = 01:00Z:   Jan 31 ──── Feb 29 ──── Mar 31
    one, *_ = accepted(raw_event(customer_id="bob", timestamp="2024-03-05T18:45:59.999Z"), EVENT_MS + 10**8)
    assert (one.minute_ms, one.day) == (ms_of("2024-03-05T18:45:00Z"), "2024-03-06")
    assert period_of(one) == (ms_of("2024-02-29T01:00:00Z"), ms_of("2024-03-31T01:00:00Z"))


@pytest.mark.parametrize("customer", ["carol", "never-seen"])
def test_a_customer_without_a_calendar_is_on_the_default_of_its_tenant(customer: str) -> None:
    one, *_ = accepted(raw_event(tenant_id="globex", customer_id=customer))
    assert period_of(one) == (ms_of("2024-03-01T05:00:00Z"), ms_of("2024-04-01T04:00:00Z"))


def test_an_unknown_customer_of_a_tenant_without_default_is_on_the_utc_month() -> None:
    one, *_ = accepted(raw_event(customer_id="never-seen"))
    assert period_of(one) == MARCH


def test_ids_of_other_scripts_are_kept() -> None:
    one, *_ = accepted(raw_event(customer_id="Ærø/%41 {x}:\U0001f600"))
    assert one.customer == "Ærø/%41 {x}:\U0001f600"


@given(own.ids, own.ids, own.ids, own.ids)
def test_equal_keys_mean_equal_tenant_and_event(tenant: str, one: str, other_tenant: str, other: str) -> None:
    keys_equal = dedupe_key(tenant, one) == dedupe_key(other_tenant, other)
    assert keys_equal == ((tenant, one) == (other_tenant, other))
    assert len(dedupe_key(tenant, one)) == KEY_BYTES


def test_a_key_tells_apart_where_the_tenant_ends() -> None:
    keys = {
        dedupe_key("a", "bc"), dedupe_key("ab", "c"), dedupe_key("", "abc"), dedupe_key("a", "c", "b"),
        dedupe_key("a1", ":b"), dedupe_key("a", "1:b"),
    }  # fmt: skip
    assert len(keys) == 6


def test_a_copy_has_the_key_of_its_original_whatever_else_it_says() -> None:
    batch = decoded([raw_event(), raw_event(quantity=9, customer_id="bob", timestamp="2024-03-05T09:00:00+00:00")])
    assert batch.keys[0] == batch.keys[1] == dedupe_key("acme", "e-1")


# --- group-by values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        ('"LAX"', "LAX"), ('""', ""), ("null", ""), ("true", "true"), ("false", "false"), ("1", "1"), ("1.50", "1.5"),
        ("1.0", "1"), ("1e0", "1"), ("10e-1", "1"), ('"1.0"', "1.0"), ("-0", "0"), ("0.0e9", "0"), ("-1.5E3", "-1500"),
        ("1e400", "1E400"), ("-25e-300", "-25E-300"), ("1e100", "1" + "0" * 100), ("100e99", "1E101"), ("0.10", "0.1"),
        ("1" + "0" * 101, "1E101"), ("12345678901234567890123.50", "12345678901234567890123.5"),
        ("1e99999999999999999999", "1E1000000000000"), ("1e-99999999999999999999", "1E-1000000000000"),
        ('"1"', "1"), ('"é\\u00e9\\n\\"\\\\"', 'éé\n"\\'), ('"\\u001f"', "\x1f"),
        ('"\\ud83d\\ude00"', "\U0001f600"), ('"\u2028"', "\u2028"),
    ],
)  # fmt: skip
def test_a_group_by_value_becomes_text(literal: str, text: str) -> None:
    source = meters_of(Meter("m", ("call",), "count", group_by=("dest",)))
    one, *_ = accepted(with_literal("properties", f'{{"dest": {literal} }}'), by=decoder(source))
    assert json.loads(one.dims) == {"dest": text}
    assert one.dims == json.dumps({"dest": text}, ensure_ascii=False, separators=(",", ":"))


def test_dims_are_canonical() -> None:
    source = meters_of(Meter("m", ("call",), "count", group_by=("b", "a", "ä")))
    one = fed(source, properties={"b": "2", "a": "1", "ä": "3", "c": "4"})
    other = fed(source, properties={"ä": "3", "a": "1", "b": "2"})
    assert one == other == [("m", '{"a":"1","b":"2","ä":"3"}', "1")]


@pytest.mark.parametrize("properties", [..., {}, {"other": "x"}, {"dest": None}, {"dest": ""}])
def test_a_missing_group_by_value_is_the_empty_text(properties: Any) -> None:
    source = meters_of(Meter("m", ("call",), "count", group_by=("dest",)))
    assert fed(source, properties=properties) == [("m", '{"dest":""}', "1")]


@pytest.mark.parametrize("value", [{}, [], {"a": 1}, ["LAX"]])
def test_a_group_by_value_that_is_no_scalar_is_rejected(value: Any) -> None:
    assert rejected(raw_event(event_type="tour", properties={"dest": value})).reason == Reason.WRONG_TYPE
    assert accepted(raw_event(event_type="tour", properties={"other": value}))


def test_the_limit_of_dims_is_exact_and_in_bytes() -> None:
    room = MAX_DIMS_BYTES - len('{"dest":"","tier":""}')
    for fits in ("x" * room, "é" * (room // 2), "\U0001f600" * (room // 4), '"' * (room // 2)):
        assert accepted(raw_event(event_type="tour", properties={"dest": fits}))
        too_long = fits + "x" * (room - len(json.dumps(fits, ensure_ascii=False).encode()) + 2 + 1)
        assert rejected(raw_event(event_type="tour", properties={"dest": too_long})).reason == Reason.DIMENSION_TOO_LONG


def test_measuring_one_event_by_one_meter_gives_the_same() -> None:
    meter = Meter("m", ("call",), "sum", group_by=("dest",))
    assert measure(parse(raw_event()), meter, EVENT_MS, False, raw_event()) == [Measurement("2.5", '{"dest":"LAX"}')]


# --- which meters -----------------------------------------------------------------------------------------------------


def test_a_tenants_own_meter_hides_the_common_one_of_its_name() -> None:
    common, mine = Meter("m", ("call",), "count"), Meter("m", ("call",), "sum", tenant_id="acme")
    for order in ([common, mine], [mine, common]):
        assert fed(meters_of(*order)) == [("m", "", "2.5")]


def test_a_tenants_own_meter_hides_the_common_one_for_events_it_does_not_take_too() -> None:
    common, mine = Meter("m", ("call", "text"), "count"), Meter("m", ("text",), "sum", tenant_id="acme")
    by = decoder(meters_of(common, mine))
    assert rejected(raw_event(), by=by).reason == Reason.UNKNOWN_EVENT_TYPE
    assert accepted(raw_event(event_type="text"), by=by)[0].amount == "2.5"


def test_a_meter_of_another_tenant_is_not_fed() -> None:
    assert fed(meters_of(Meter("m", ("call",), "count"), Meter("n", ("call",), "count", tenant_id="globex"))) == [
        ("m", "", "1")
    ]


def test_versions_are_chosen_by_event_time_in_any_order_of_asking() -> None:
    # ── count ──┤ EVENT_MS ├── sum ──        tenant: until one day later
    source = InMemoryCatalogSource(
        tenants=[Tenant("acme", valid_to_ms=EVENT_MS + own.DAY_MS)],
        meters=[
            Meter("m", ("call",), "count", valid_to_ms=EVENT_MS),
            Meter("m", ("call",), "sum", valid_from_ms=EVENT_MS),
        ],
    )
    before, at = raw_event(timestamp="2024-03-05T10:17:42.249Z"), raw_event()
    after = raw_event(timestamp="2024-03-06T10:17:42.250Z")
    for order in ([before, at, after], [after, at, before]):
        by = decoder(source)
        batch = decoded(order, ARRIVAL_MS + own.DAY_MS, by)
        amounts = dict(zip(order, map(amounts_of, batch.measurements), strict=True))
        assert (amounts[before], amounts[at], amounts[after]) == (["1"], ["2.5"], None)
    assert rejected(after, ARRIVAL_MS + own.DAY_MS, decoder(source)).reason == Reason.UNKNOWN_TENANT


def test_a_tenant_takes_events_and_voids_of_its_sources_alone_by_event_time() -> None:
    # ── any source ──┤ EVENT_MS: gateway alone, or none ├──
    tenants = [
        Tenant("acme", valid_to_ms=EVENT_MS),
        Tenant("acme", valid_from_ms=EVENT_MS, sources=("", "gateway")),
        Tenant("globex"),
    ]
    by = decoder(replace(meters_of(Meter("m", ("call",), "sum")), tenants=tenants))
    other: dict[str, Any] = {"schema_version": 2, "source": "crawler"}
    for taken in (
        raw_event(),
        raw_event(schema_version=2),
        raw_event(schema_version=2, source=None),
        raw_event(schema_version=2, source="gateway"),
        raw_event(voids="e-0", schema_version=2, source="gateway"),
        # Version 1 has no source.
        raw_event(source="crawler"),
        raw_event(**other, timestamp="2024-03-05T10:17:42.249Z"),
        raw_event(**other, tenant_id="globex"),
        cloud_event(source="gateway"),
    ):
        assert accepted(taken, by=by)
    for refused_event in (raw_event(**other), raw_event(**other, voids="e-0"), cloud_event(source="crawler")):
        record = rejected(refused_event, by=by)
        assert record.reason == Reason.SOURCE_NOT_ALLOWED
        assert record.detail == "tenant acme does not take source crawler."


def test_an_event_without_a_source_needs_a_list_that_has_none_in_it() -> None:
    assert rejected(raw_event(tenant_id="umbrella")).detail == "tenant umbrella does not take events without a source."


@pytest.mark.parametrize("reverse", [False, True])
def test_a_calendar_is_chosen_by_event_time_in_any_order_of_asking(reverse: bool) -> None:
    # no calendar yet ──┤ Mar 3: UTC days ├──┤ Mar 5: weeks, cut to 4 days ├── Mar 9: none again
    at = [ms_of(f"2024-03-0{day}T00:00:00Z") for day in (3, 5, 9)]
    source = meters_of(
        Meter("m", ("call",), "count"),
        calendars=[
            CalendarDef("c", "2024-01-01", "P1D", "UTC", at[0], at[1]),
            CalendarDef("c", "2024-01-01", "P1W", "UTC", at[1], at[2]),
        ],
        customer_versions=[Customer("acme", "alice", "c")],
    )
    by, days = decoder(source), {}
    for day in (2, 3, 4, 5, 8, 9)[:: -1 if reverse else 1]:
        time = f"2024-03-0{day}T12:00:00Z"
        raw, arrival_ms = raw_event(timestamp=time), ms_of(time)
        if day in (2, 9):
            # A calendar is named and not there: the UTC month would be a guess, and a guess a wrong bill.
            record = rejected(raw, arrival_ms, by)
            assert (record.reason, record.detail[:20]) == (Reason.INTERNAL_ERROR, "CalendarMissingError")
            continue
        one, *_ = accepted(raw, arrival_ms, by)
        days[day] = (one.period_end_ms - one.period_start_ms) // own.DAY_MS
    assert days == {3: 1, 4: 1, 5: 4, 8: 4}


@pytest.mark.parametrize("reverse", [False, True])
def test_a_customer_is_chosen_by_event_time_in_any_order_of_asking(reverse: bool) -> None:
    # tenant default (UTC month), cut ──┤ Mar 3: days ├── Mar 5: tenant default again, the rest of its month
    source = meters_of(
        Meter("m", ("call",), "count"),
        calendars=[CalendarDef("c", "2024-01-01", "P1D", "UTC")],
        customer_versions=[
            Customer("acme", "alice", "c", ms_of("2024-03-03T00:00:00Z"), ms_of("2024-03-05T00:00:00Z"))
        ],
    )
    by, days = decoder(source), {}
    for day in (2, 3, 4, 5)[:: -1 if reverse else 1]:
        time = f"2024-03-0{day}T12:00:00Z"
        one, *_ = accepted(raw_event(timestamp=time), ms_of(time), by)
        days[day] = (one.period_end_ms - one.period_start_ms) // own.DAY_MS
    assert days == {2: 2, 3: 1, 4: 1, 5: 27}


# --- rejected events --------------------------------------------------------------------------------------------------

BAD: dict[Reason, bytes | None] = {
    Reason.EMPTY_VALUE: None,
    Reason.EVENT_TOO_LARGE: b"{" * (MAX_EVENT_BYTES + 1),
    Reason.INVALID_UTF8: raw_event().replace(b"LAX", b"\xff"),
    Reason.MALFORMED_JSON: b"not json",
    Reason.TRUNCATED_JSON: raw_event()[:-5],
    Reason.NOT_AN_OBJECT: b"[]",
    Reason.NESTING_TOO_DEEP: b"[" * 10_000,
    Reason.DUPLICATE_KEY: raw_event()[:-1] + b',"quantit\\u0079":1}',
    Reason.NUL_CHARACTER: with_literal("note", '"\\u0000"'),
    Reason.INVALID_UNICODE: with_literal("note", '"\\ud800"'),
    Reason.MISSING_FIELD: raw_event(event_id=...),
    Reason.WRONG_TYPE: raw_event(quantity=None),
    Reason.INVALID_ID: raw_event(customer_id="a\x1fb"),
    Reason.ID_TOO_LONG: raw_event(customer_id="é" * 129),
    Reason.UNKNOWN_TENANT: raw_event(tenant_id="nobody"),
    Reason.UNKNOWN_EVENT_TYPE: raw_event(event_type="dream"),
    Reason.SOURCE_NOT_ALLOWED: raw_event(tenant_id="umbrella", schema_version=2, source="elsewhere"),
    Reason.UNSUPPORTED_SCHEMA_VERSION: raw_event(schema_version=3),
    Reason.INVALID_TIMESTAMP: raw_event(timestamp=None),
    Reason.TIMESTAMP_WITHOUT_ZONE: raw_event(timestamp="2024-03-05T10:17:42"),
    Reason.TOO_LATE: raw_event(timestamp="2024-03-01T00:00:00Z"),
    Reason.IN_FUTURE: raw_event(timestamp="2024-03-05T10:27:42Z"),
    Reason.NON_FINITE_QUANTITY: raw_event(quantity=float("nan")),
    Reason.INVALID_QUANTITY: raw_event(quantity="many"),
    Reason.QUANTITY_OUT_OF_RANGE: with_literal("quantity", "1e400"),
    Reason.QUANTITY_TOO_PRECISE: raw_event(event_type="audit", quantity="0.0000000001"),
    Reason.NEGATIVE_QUANTITY: raw_event(event_type="charge", quantity=-1),
    Reason.MISSING_VALUE: raw_event(event_type="trip"),
    Reason.NO_PERIOD: raw_event(customer_id="dora"),
    Reason.TOO_MANY_PROPERTIES: raw_event(properties=dict.fromkeys(map(str, range(257)), 1)),
    Reason.DIMENSION_TOO_LONG: raw_event(event_type="tour", properties={"dest": "x" * 1_025}),
}


def test_a_value_too_large_for_a_dead_letter_stays_where_it_is_and_is_named() -> None:
    for size, kept in ((MAX_RAW_BYTES, True), (MAX_RAW_BYTES + 1, False)):
        raw = b"\0" * size
        batch = decoded([raw])
        assert batch.rejects[0] is not None
        # What the sink takes, and the topic.
        assert len(batch.rejects[0].encode()) < MAX_RECORD_BYTES - 64 * 1_024
        record = from_json(batch.rejects[0])
        assert record.raw == (raw if kept else None)
        assert (record.reason, record.topic, record.partition, record.offset) == (
            Reason.EVENT_TOO_LARGE, "usage.events", 3, 100,
        )  # fmt: skip
        assert f"{size} bytes" in record.detail


def test_there_is_an_example_of_every_reason_that_data_can_cause() -> None:
    assert set(Reason) - set(BAD) == {Reason.INTERNAL_ERROR}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_event_ends_in_the_dead_letters_with_its_reason(reason: Reason) -> None:
    record = rejected(BAD[reason])
    assert record.reason == reason
    assert record.detail
    assert record.raw == BAD[reason]
    assert (record.topic, record.partition, record.offset) == ("usage.events", 3, 100)
    assert record.arrival == "2024-03-05T10:17:43.750Z"


def test_a_bad_event_harms_none_beside_it() -> None:
    raws = [raw for bad in BAD.values() for raw in (raw_event(), bad)]
    batch = decoded(raws)
    alone = decoded([raw_event()])
    assert batch.measurements[::2] == alone.measurements * len(BAD)
    assert [json.loads(text)["reason"] for text in batch.rejects[1::2] if text] == list(BAD)


def test_a_failure_of_our_own_is_an_internal_error_and_no_crash(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(own.Catalog):
        def meters_at(self, tenant_id: str, _event_type: str, _ms: int) -> tuple[Meter, ...] | None:
            raise KeyError(tenant_id)

    by = own.Decoder(Broken(own.source(), 60.0, 10), own.POLICY)
    record = rejected(raw_event(), by=by)
    assert (record.reason, record.detail) == (Reason.INTERNAL_ERROR, "KeyError: 'acme'")
    assert record.raw == raw_event()
    assert "partition 3 offset 100" in caplog.text


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("calendar", ["nowhere", "broken"])
def test_a_customer_without_a_usable_calendar_harms_none_beside_it(
    known: bool, calendar: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = meters_of(
        Meter("m", ("call",), "count"),
        calendars=[CalendarDef("broken", "2024-01-01", "P1M", "No/Where")],
        customer_versions=[Customer("acme", "alice", calendar)],
    )
    by, raws = decoder(source), [raw_event(), raw_event(customer_id="bob"), raw_event()]
    if known:
        decoded(raws, by=by)
        caplog.clear()
    batch = decoded(raws, by=by)
    assert [key is None for key in batch.keys] == [True, False, True]
    assert [text is None for text in batch.measurements] == [True, False, True]
    records = [from_json(text) for text in batch.rejects if text]
    assert [(one.reason, one.offset, one.customer_id) for one in records] == [
        (Reason.INTERNAL_ERROR, 100, "alice"), (Reason.INTERNAL_ERROR, 102, "alice"),
    ]  # fmt: skip
    assert [one.raw for one in records] == [raws[0], raws[2]]
    # Its customer may send thousands of events a second: the cause is logged once a batch.
    assert [one.getMessage() for one in caplog.records] == ["usage.events partition 3 offset 100 could not be decoded"]


@pytest.mark.parametrize("late_ms", [GRACE_MS, GRACE_MS - 1, 0, -1, -FUTURE_TOLERANCE_MS])
def test_an_event_exactly_at_a_limit_is_counted(late_ms: int) -> None:
    assert accepted(raw_event(), EVENT_MS + late_ms)


@pytest.mark.parametrize(
    ("late_ms", "reason"), [(GRACE_MS + 1, Reason.TOO_LATE), (-FUTURE_TOLERANCE_MS - 1, Reason.IN_FUTURE)]
)
def test_an_event_one_millisecond_past_a_limit_is_not_counted(late_ms: int, reason: Reason) -> None:
    record = rejected(raw_event(), EVENT_MS + late_ms)
    assert record.reason == reason
    assert str(abs(late_ms)) in record.detail


@pytest.mark.parametrize(
    ("arrival_ms", "reason"),
    [(-1, Reason.IN_FUTURE), (-(2**63), Reason.IN_FUTURE), (2**63 - 1, Reason.TOO_LATE)],
)
def test_an_arrival_that_is_no_date_is_survived(arrival_ms: int, reason: Reason) -> None:
    assert rejected(raw_event(), arrival_ms).reason == reason
    assert rejected(b"{", arrival_ms).reason == Reason.TRUNCATED_JSON


def test_negative_amounts_are_for_meters_that_allow_them() -> None:
    assert accepted(raw_event(event_type="refund", quantity=-2.5))[0].amount == "-2.5"
    assert rejected(raw_event(event_type="charge", quantity=-2.5)).reason == Reason.NEGATIVE_QUANTITY
    assert accepted(raw_event(event_type="charge", quantity="-0.0"))[0].amount == "0"
    assert fed(meters_of(Meter("m", ("call",), "count")), quantity=-5) == [("m", "", "1")]


def test_a_quantity_is_checked_where_it_is_only_counted_too() -> None:
    by = decoder(meters_of(Meter("m", ("call",), "count")))
    assert rejected(with_literal("quantity", "1e400"), by=by).reason == Reason.QUANTITY_OUT_OF_RANGE


def test_without_arrivals_no_event_is_late_and_dead_letters_have_none() -> None:
    batch = decoder().decode_batch([raw_event(timestamp="1970-01-01T00:00:00Z"), b"{"], None, [0, 0], [0, 1])
    assert batch.rejects[0] is None
    assert batch.rejects[1] is not None
    assert from_json(batch.rejects[1]).arrival is None


def test_a_dead_letter_of_the_redrive_topic_names_that_topic_and_its_partition() -> None:
    policy = replace(own.POLICY, redrive_topic="usage.events.redrive")
    by = own.Decoder(own.Catalog(own.source(), 60.0, 10), policy)
    batch = by.decode_batch([b"{"] * 3, [ARRIVAL_MS] * 3, [0, -1, -4], [7, 8, 9])
    records = [from_json(text) for text in batch.rejects if text]
    assert [(one.topic, one.partition, one.offset) for one in records] == [
        ("usage.events", 0, 7), ("usage.events.redrive", 0, 8), ("usage.events.redrive", 3, 9),
    ]  # fmt: skip


def test_a_time_outside_a_list_of_periods_is_no_failure_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    assert rejected(raw_event(customer_id="dora")).reason == Reason.NO_PERIOD
    assert not caplog.records


# --- CloudEvents ------------------------------------------------------------------------------------------------------


def cloud_event(**attributes: Any) -> bytes:
    document = {
        "specversion": "1.0", "id": "e-1", "source": "/gates/7", "subject": "alice", "type": "call",
        "tenantid": "acme", "time": own.EVENT_TIME, "data": {"quantity": 2.5, "dest": "LAX", "tier": 3}, **attributes,
    }  # fmt: skip
    return json.dumps({name: value for name, value in document.items() if value is not ...}).encode()


def test_a_cloud_event_is_measured_as_the_native_event_it_stands_for() -> None:
    assert accepted(cloud_event()) == accepted(raw_event())
    assert decoded([cloud_event()]).keys == [dedupe_key("acme", "e-1", "/gates/7")]
    negative = rejected(cloud_event(type="charge", data={"quantity": -1}))
    assert (negative.reason, negative.detail[:22]) == (Reason.NEGATIVE_QUANTITY, "data.quantity is -1; m")


def test_a_cloud_event_without_tenant_or_time_has_the_default_tenant_and_its_arrival() -> None:
    raw = cloud_event(tenantid=..., time=...)
    assert rejected(raw).reason == Reason.MISSING_FIELD
    by = own.Decoder(own.Catalog(own.source(), 60.0, 10), replace(own.POLICY, default_tenant="globex"))
    assert {(one.tenant, one.minute_ms) for one in accepted(raw, by=by)} == {("globex", MINUTE)}
    assert accepted(raw_event(), by=by)[0].tenant == "acme"


@pytest.mark.parametrize(
    ("fields", "source"),
    [
        ({"schema_version": 2, "source": "meter-7"}, "meter-7"), ({"schema_version": 2, "source": None}, ""),
        ({"schema_version": 2}, ""), ({"schema_version": 1, "source": "meter-7"}, ""), ({"source": "meter-7"}, ""),
    ],
)  # fmt: skip
def test_the_source_is_part_of_the_key_from_version_2_on(fields: dict[str, Any], source: str) -> None:
    assert decoded([raw_event(**fields)]).keys == [dedupe_key("acme", "e-1", source)]


def test_keys_of_events_without_source_are_those_that_running_jobs_remember() -> None:
    assert dedupe_key("acme", "e-1").hex() == "c546f686ea1a475aa9560cc035714bd9"


# --- ids of a dead letter ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [Reason.TOO_LATE, Reason.NON_FINITE_QUANTITY, Reason.UNKNOWN_EVENT_TYPE])
def test_a_dead_letter_carries_the_ids_that_could_be_read(reason: Reason) -> None:
    record = rejected(BAD[reason])
    assert (record.tenant_id, record.customer_id, record.event_id) == ("acme", "alice", "e-1")


@pytest.mark.parametrize("bad", ["\ud800", "a\udfffb", "\0", "\x1f", "", "x" * 257, "é" * 129, "é" * 200 + "\ud800"])
@pytest.mark.parametrize("name", ["tenant_id", "customer_id", "event_id"])
@pytest.mark.parametrize("more", [{}, {"region": 5}])
def test_a_dead_letter_leaves_out_ids_that_are_not_valid(name: str, bad: str, more: dict[str, Any]) -> None:
    record = rejected(json.dumps(event(**{name: bad}, **more)).encode())
    others = {"tenant_id": "acme", "customer_id": "alice", "event_id": "e-1", name: None}
    assert {key: getattr(record, key) for key in others} == others


def test_a_dead_letter_of_bytes_without_fields_has_no_ids() -> None:
    record = rejected(b'{"event_id":"e-1"')
    assert (record.tenant_id, record.customer_id, record.event_id) == (None, None, None)


@given(st.binary(max_size=200))
def test_a_dead_letter_keeps_any_bytes(raw: bytes) -> None:
    assert rejected(raw).raw == raw


# --- replays ----------------------------------------------------------------------------------------------------------


def replayed(scope: Scope | None = None, late_until_ms: int = 0, raw: bytes | None = None) -> DecodedBatch:
    policy = replace(own.POLICY, scope=scope, late_until_ms=late_until_ms)
    by = own.Decoder(Catalog(own.source(), 60.0, 10), policy)
    return by.decode_batch([raw or raw_event()], [ARRIVAL_MS], [0], [0])


@pytest.mark.parametrize(
    "scope",
    [Scope(EVENT_MS + 1), Scope(None, EVENT_MS), Scope(tenants=frozenset({"globex"}))],
    ids=["before", "after", "other tenant"],
)
def test_outside_the_scope_of_a_replay_an_event_has_its_key_and_no_measurements(scope: Scope) -> None:
    outside = replayed(scope)
    assert outside.measurements == [None]
    assert outside.rejects == [None]
    assert outside.keys == decoded([raw_event()]).keys


def test_inside_the_scope_of_a_replay_nothing_is_different() -> None:
    inside = replayed(Scope(EVENT_MS, EVENT_MS + 1, frozenset({"acme"})))
    assert inside == decoded([raw_event()])


def test_what_arrived_before_a_replay_is_not_too_late_for_it() -> None:
    old = raw_event(timestamp="2020-01-01T00:00:00Z")
    assert replayed(late_until_ms=ARRIVAL_MS + 1, raw=old).rejects == [None]
    assert from_json(replayed(late_until_ms=ARRIVAL_MS, raw=old).rejects[0] or "").reason == Reason.TOO_LATE
