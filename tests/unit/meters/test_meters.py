"""Meters on their own: what amounts and group-by values are whatever an event holds, and what a meter remembers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit import strategies as own
from tests.unit.strategies import EVENT_MS, accepted, decoder, meters_of, raw_event, with_literal
from udfs.calendars.calendar import MAX_MS
from udfs.events.parse import amount_text, parse
from udfs.events.reasons import Reason, Rejected
from udfs.meters import measuring
from udfs.meters.measuring import Measurement, measure
from udfs.meters.meter import UNMEASURED, Aggregation, Meter
from udfs.meters.paths import OWN_FIELDS, PREFIX

BY_PLACE = Meter("seconds", ("call",), "sum", group_by=("zone", "city"))


def measured(meter: Meter, void: bool = False, **fields: Any) -> list[Measurement]:
    return measured_raw(raw_event(**fields), meter, void=void)


def measured_raw(raw: bytes, meter: Meter, at_ms: int = EVENT_MS, void: bool = False) -> list[Measurement]:
    return measure(parse(raw), meter, at_ms, void, raw)


def refused(meter: Meter, **fields: Any) -> Rejected:
    """The refusal of an event that the meter must refuse."""
    with pytest.raises(Rejected) as caught:
        measured(meter, **fields)
    return caught.value


def dims(meter: Meter, **properties: Any) -> str:
    return measured(meter, properties=properties)[0].dims


@given(own.quantities)
def test_a_count_adds_one_whatever_the_quantity(quantity: Any) -> None:
    assert measured(Meter("calls", ("call",), "count"), quantity=quantity) == [Measurement("1", "")]


@pytest.mark.parametrize(("quantity", "amount"), [(..., "1"), ("1e2", "100"), (-0.0, "0"), (0, "0")])
def test_a_sum_adds_the_quantity_and_one_without_a_quantity(quantity: Any, amount: str) -> None:
    assert measured(BY_PLACE, quantity=quantity)[0].amount == amount


def test_numbers_keep_all_their_digits_as_group_by_values() -> None:
    assert dims(BY_PLACE, zone=10**30, city=0.1) == f'{{"city":"0.1","zone":"{10**30}"}}'


# A name that a property and a field of the event share is another matter, as is one that begins a path.
_name = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda name: name not in OWN_FIELDS and not name.startswith(("$", PREFIX))
)
_names = st.lists(_name, min_size=1, max_size=3, unique=True)
_values = st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=9)


@given(_names, st.data())
def test_dims_read_back_as_one_text_per_name_and_hold_no_separator(names: list[str], data: st.DataObject) -> None:
    values = {name: data.draw(_values) for name in names if data.draw(st.booleans())}
    event = own.event(properties=values)
    if "\\u0000" in json.dumps(event):
        return
    meter = Meter("m", ("call",), "count", group_by=tuple(names))
    text = measured_raw(json.dumps(event).encode(), meter)[0].dims
    assert list(json.loads(text)) == sorted(names)
    for name, read in json.loads(text).items():
        value = values.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert Decimal(read) == Decimal(str(value))
            assert re.fullmatch(r"0|-?(?:[1-9]\d*|0(?=\.))(?:\.\d*[1-9])?|-?[1-9]\d*E-?\d+", read)
        else:
            assert read == ("" if value is None else value if isinstance(value, str) else json.dumps(value))
    assert not set(text) & set("\x1d\x1e\x1f\n")


def test_meters_with_the_same_values_under_other_names_do_not_share_what_they_remember() -> None:
    other = Meter("seconds", ("call",), "sum", group_by=("city", "zone"))
    for _ in range(2):
        assert dims(BY_PLACE, zone="a", city="b") == dims(other, zone="a", city="b") == '{"city":"b","zone":"a"}'


def test_a_value_that_was_refused_is_refused_again() -> None:
    for _ in range(2):
        with pytest.raises(Rejected) as caught:
            dims(BY_PLACE, zone=[1])
        assert caught.value.reason == Reason.WRONG_TYPE


def test_what_a_meter_remembers_is_bounded_and_forgetting_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_DIMS_MEMO_LIMIT", 3)
    meter = Meter("m", ("call",), "count", group_by=("zone",))
    for _ in range(2):
        for number in range(10):
            assert dims(meter, zone=number) == f'{{"zone":"{number}"}}'
            assert len(meter.dims_memo) <= 3


# --- aggregations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("aggregation", ["sum", "min", "max", "avg"])
def test_what_is_folded_from_the_value_alone_adds_the_value(aggregation: Aggregation) -> None:
    assert measured(Meter("m", ("call",), aggregation), quantity="2.5e0") == [Measurement("2.5", "")]
    assert measured(Meter("m", ("call",), aggregation, value="n"), properties={"n": 7}) == [Measurement("7", "")]


def test_the_latest_value_wins_by_event_time_then_by_id_in_byte_order() -> None:
    meter = Meter("m", ("call",), "latest", allow_negative=True)
    # later time │ same time, greater id │ same time, longer id │ an id of another script is greater in UTF-8
    order = [("e-9", EVENT_MS - 1, 5), ("a", EVENT_MS, 9), ("a-", EVENT_MS, -3), ("b", EVENT_MS, 1), ("é", EVENT_MS, 0)]
    order.append(("\U0001f600", EVENT_MS, 0))
    texts = [
        measured_raw(raw_event(event_id=event_id, quantity=quantity), meter, at_ms)[0].latest
        for event_id, at_ms, quantity in order
    ]
    assert texts == sorted(texts, key=str.encode)
    assert texts[1] == f"{EVENT_MS:015d}000000\x1f\x1fa\x1f9"
    assert [text.split("\x1f")[3] for text in texts] == ["5", "9", "-3", "1", "0", "0"]
    assert measured(meter)[0][:4] == ("2.5", "", "", 1)


def test_the_latest_value_wins_by_nanosecond_then_source_then_id() -> None:
    meter = Meter("m", ("call",), "latest")
    begin = "2024-03-05T10:17:42.250"
    order: list[dict[str, Any]] = [
        {"timestamp": f"{begin}Z", "event_id": "z"},
        {"timestamp": f"{begin}000300Z", "event_id": "y"},
        # Finer digits are cut off, so these two are of one instant.
        {"timestamp": f"{begin}0003009Z", "event_id": "y2"},
        {"timestamp": f"{begin}3Z", "event_id": "a"},
        {"timestamp": "2024-03-05T12:17:42.2503001+02:00", "event_id": "a"},
        {"timestamp": f"{begin}3002Z", "event_id": "z"},
        {"timestamp": f"{begin}3002Z", "event_id": "b", "schema_version": 2, "source": "/a"},
        {"timestamp": f"{begin}3002Z", "event_id": "a", "schema_version": 2, "source": "/a!"},
        {"timestamp": f"{begin}999999Z", "event_id": "a"},
    ]
    texts = [measured_raw(raw_event(**fields), meter, EVENT_MS)[0].latest for fields in order]
    assert texts == sorted(set(texts), key=str.encode)
    assert [text[:21] for text in texts[1:4]] == [f"{EVENT_MS:015d}{nanos}" for nanos in ("000300", "000300", "300000")]


def test_a_leap_second_is_the_last_nanosecond_of_its_minute() -> None:
    (one,) = measured_raw(
        raw_event(timestamp="2016-12-31T18:59:60.25-05:00"), Meter("m", ("call",), "latest"), EVENT_MS
    )
    assert one.latest.startswith(f"{EVENT_MS:015d}999999")


def test_a_meter_may_refuse_what_would_be_rounded() -> None:
    exact = Meter("m", ("call",), "sum", precision="exact")
    for value in (0.1 + 0.2, "1e-10", "-1.00000000000000000001"):
        for meter, fields in ((exact, {"quantity": value}), (replace(exact, value="n"), {"properties": {"n": value}})):
            refusal = refused(meter, **fields)
            assert refusal.reason == Reason.QUANTITY_TOO_PRECISE
            assert "precision: exact" in refusal.detail
            assert measured(replace(meter, precision="rounded", allow_negative=True), **fields)
            assert measured(replace(meter, aggregation="count"), **fields) == [Measurement("1", "")]
    for value in ("1.5", "0.1000000000000", "1e-9", "0e-99", 7):
        assert measured(exact, quantity=value) == measured(replace(exact, precision="rounded"), quantity=value)
    assert measured(exact, quantity=...) == [Measurement("1", "")]


def test_a_void_takes_back_what_its_original_was_rounded_to() -> None:
    meter = Meter("m", ("call",), "sum")
    for spelling in (0.1 + 0.2, "0.30000000000000004", "300000000000000040e-18", "0.3"):
        assert measured(meter, quantity=spelling) == [Measurement("0.3", "")]
        assert measured(meter, void=True, quantity=spelling) == [Measurement("-0.3", "", samples=-1)]


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        ('"N123"', "N123"),
        ("5", "5"),
        ("5.0", "5"),
        ("5e0", "5"),
        ('"5.0"', "5.0"),
        ("true", "true"),
        ('""', ""),
        ('"\\u00e9"', "é"),
        ('"5"', "5"),
    ],
)
def test_a_unique_value_is_counted_by_the_hash_of_its_text(literal: str, text: str) -> None:
    meter = Meter("m", ("call",), "unique", value="tail")
    (one,) = measured_raw(with_literal("properties", f'{{"tail": {literal}}}'), meter)
    assert one == Measurement("1", "", "u" + sha256(text.encode()).hexdigest()[:32])


def test_unique_quantities_are_distinguished_as_properties_are() -> None:
    meter = Meter("m", ("call",), "unique")
    assert measured(meter, quantity=5) == measured(meter, quantity="5") == measured(meter, quantity=5.0)
    assert measured(meter, quantity=5) != measured(meter, quantity="5.0")
    assert measured(meter, quantity=...) == measured(meter, quantity=1) != measured(meter, quantity=-1)
    assert refused(meter, quantity="many").reason == Reason.INVALID_QUANTITY


@pytest.mark.parametrize("value", [{}, [1]])
def test_a_unique_value_that_is_no_scalar_is_of_the_wrong_type(value: Any) -> None:
    assert (
        refused(Meter("m", ("call",), "unique", value="tail"), properties={"tail": value}).reason == Reason.WRONG_TYPE
    )


@pytest.mark.parametrize(("quantity", "part"), [(0, "b0"), ("-0.0", "b0"), (1, "bp0"), (-1, "bn0"), ("0.8", "bp-11")])
def test_a_percentile_puts_the_value_into_its_bin(quantity: Any, part: str) -> None:
    meter = Meter("m", ("call",), "percentile", allow_negative=True)
    (one,) = measured(meter, quantity=quantity)
    assert (one.part, one.samples) == (part, 1)
    assert one.amount == amount_text(json.dumps(quantity).encode(), "quantity")


def test_a_change_of_a_level_is_added_with_its_moment() -> None:
    meter = Meter("m", ("call",), "weighted_sum")
    assert measured(meter, quantity="-0.5") == [
        Measurement("-0.5", ""), Measurement(f"-{EVENT_MS // 2}", "", "m"),
    ]  # fmt: skip
    assert measured(meter, quantity=0) == [Measurement("0", ""), Measurement("0", "", "m")]


@given(
    st.decimals(-(10**12) + 1, 10**12 - 1, places=9, allow_nan=False, allow_infinity=False),
    st.sampled_from([0, MAX_MS - 1]) | own.instants,
)
@example(Decimal("-999999999999.999999999"), MAX_MS - 1)
def test_the_moment_of_a_change_is_never_rounded(change: Decimal, at_ms: int) -> None:
    level, moment = measured_raw(raw_event(quantity=format(change, "f")), Meter("m", ("call",), "weighted_sum"), at_ms)
    assert Fraction(moment.amount) == Fraction(level.amount) * at_ms == Fraction(change) * at_ms
    assert re.fullmatch(r"0|-?(?!0\d)\d+(\.\d*[1-9])?", moment.amount)


@pytest.mark.parametrize("quantity", [10**12, -(10**12), "1000000000000.5", "1e17"])
def test_a_change_of_a_level_has_a_limit_of_its_own(quantity: Any) -> None:
    meter = Meter("m", ("call",), "weighted_sum")
    refusal = refused(meter, quantity=quantity)
    assert refusal.reason == Reason.QUANTITY_OUT_OF_RANGE
    assert "1E+12" in refusal.detail
    assert measured(meter, quantity="-999999999999.999999999")
    assert measured(Meter("m", ("call",), "sum", allow_negative=True), quantity=quantity)


# --- values -----------------------------------------------------------------------------------------------------------

MILES = Meter("m", ("call",), "sum", value="miles")
BY_VALUE: tuple[Aggregation, ...] = ("sum", "min", "max", "avg", "latest", "percentile")


@pytest.mark.parametrize("aggregation", BY_VALUE)
def test_values_below_zero_are_for_meters_that_allow_them(aggregation: Aggregation) -> None:
    for value, fields in (("quantity", {"quantity": -1}), ("n", {"properties": {"n": "-1"}})):
        refusal = refused(Meter("m", ("call",), aggregation, value=value), **fields)
        assert refusal.reason == Reason.NEGATIVE_QUANTITY
        assert value in refusal.detail
        assert measured(Meter("m", ("call",), aggregation, value=value, allow_negative=True), **fields)


@pytest.mark.parametrize("aggregation", ["count", "unique", "weighted_sum"])
def test_counts_unique_values_and_levels_take_any_sign(aggregation: Aggregation) -> None:
    assert measured(Meter("m", ("call",), aggregation), quantity=-1)


@pytest.mark.parametrize(("value", "amount"), [(5, "5"), ("5.50", "5.5"), ("1e2", "100"), (0.25, "0.25"), ("-0", "0")])
def test_a_property_is_a_number_or_a_text_that_says_one(value: Any, amount: str) -> None:
    assert measured(Meter("m", ("call",), "sum", value="n"), properties={"n": value})[0].amount == amount
    assert measured(Meter("m", ("call",), "sum", value="a.n"), properties={"a": {"n": value}})[0].amount == amount


@pytest.mark.parametrize(
    ("literal", "reason"),
    [
        ("true", Reason.WRONG_TYPE), ("{}", Reason.WRONG_TYPE), ("[1]", Reason.WRONG_TYPE),
        ('"many"', Reason.INVALID_QUANTITY), ('""', Reason.INVALID_QUANTITY), ('"nan"', Reason.NON_FINITE_QUANTITY),
        ("1e18", Reason.QUANTITY_OUT_OF_RANGE),
    ],
)  # fmt: skip
def test_a_bad_property_is_rejected_by_the_rules_of_quantities_and_named(literal: str, reason: Reason) -> None:
    raw = with_literal("properties", f'{{"miles": {literal}}}')
    for meter in (MILES, replace(MILES, on_missing="skip")):
        with pytest.raises(Rejected) as caught:
            measured_raw(raw, meter)
        assert caught.value.reason == reason
        assert "property miles" in caught.value.detail


@pytest.mark.parametrize("properties", [..., {}, {"n": None}, {"a": {}}])
@pytest.mark.parametrize("aggregation", [*BY_VALUE, "unique", "weighted_sum"])
def test_a_missing_value_is_a_reason_or_is_skipped(aggregation: Aggregation, properties: Any) -> None:
    refusal = refused(Meter("m", ("call",), aggregation, value="n"), properties=properties)
    assert (refusal.reason, refusal.detail[:21]) == (Reason.MISSING_VALUE, "property n is missing")
    skipping = Meter("m", ("call",), aggregation, value="n", on_missing="skip", group_by=("n",))
    assert measured(skipping, properties=properties) == []


def test_a_count_needs_no_value() -> None:
    assert measured(Meter("m", ("call",), "count", value="n"), properties={}) == [Measurement("1", "")]


def test_a_property_named_quantity_is_meant_by_its_prefix() -> None:
    meter = Meter("m", ("call",), "sum", value="properties.quantity")
    assert measured(meter, quantity=1, properties={"quantity": 7})[0].amount == "7"
    assert measured(Meter("m", ("call",), "sum"), quantity=1, properties={"quantity": 7})[0].amount == "1"


def test_what_a_filter_excludes_is_neither_measured_nor_refused() -> None:
    flown = Meter("m", ("call",), "sum", value="n", group_by=("n",), filter='{"exists":true,"property":"flown"}')
    for properties in ({}, {"n": []}, {"n": -1}, {"n": "x" * 2_000}):
        assert measured(flown, properties=properties) == []
    assert measured(flown, properties={"flown": 1, "n": 2}) == [Measurement("2", '{"n":"2"}')]


def test_an_invalid_filter_hurts_only_the_events_of_its_meter() -> None:
    broken = Meter("m", ("call",), "count", filter='{"property":"x"}')
    with pytest.raises(ValueError, match="filter"):
        measured(broken)


# --- group-by paths ---------------------------------------------------------------------------------------------------


def test_group_by_paths_reach_into_objects_and_to_fields_of_the_event() -> None:
    meter = Meter("m", ("call",), "count", group_by=("region", "place.city", "properties.zone", "tier"))
    event = {"region": "eu", "properties": {"place": {"city": "Oslo"}, "zone": 5}}
    assert measured(meter, **event)[0].dims == '{"place.city":"Oslo","properties.zone":"5","region":"eu","tier":""}'
    assert measured(meter, properties={"region": True, "place": "x"})[0].dims == (
        '{"place.city":"","properties.zone":"","region":"true","tier":""}'
    )


def test_a_nested_group_by_value_that_is_no_scalar_is_named() -> None:
    refusal = refused(Meter("m", ("call",), "count", group_by=("a.b",)), properties={"a": {"b": {}}})
    assert (refusal.reason, refusal.detail[:25]) == (Reason.WRONG_TYPE, "property a.b is an object")


# --- events that nothing measures -------------------------------------------------------------------------------------


def test_an_event_that_no_meter_measures_is_counted_as_such_once() -> None:
    by = decoder(
        meters_of(
            Meter("a", ("call",), "sum", value="n", on_missing="skip", group_by=("dest",)),
            Meter("b", ("call",), "count", filter='{"eq":"JFK","property":"dest"}'),
        )
    )
    (one,) = accepted(raw_event(), by=by)
    assert (one.meter, one.dims, one.part, one.amount, one.samples) == (UNMEASURED, "", "", "1", 1)
    assert [one.meter for one in accepted(raw_event(properties={"n": 1}), by=by)] == ["a"]
    assert [one.meter for one in accepted(raw_event(properties={"n": 1, "dest": "JFK"}), by=by)] == ["a", "b"]


@pytest.mark.parametrize("meter", [Meter("m", ("call",), one, allow_negative=True) for one in BY_VALUE[:4]])
@given(quantity=own.quantities | st.just(...))
def test_the_short_way_of_plain_meters_ends_where_the_long_way_does(meter: Meter, quantity: Any) -> None:
    by = decoder(meters_of(meter))
    passing = replace(meter, filter='{"exists":false,"property":"nothing"}')
    assert (meter.is_plain, passing.is_plain) == (True, False)
    raw = raw_event(quantity=quantity)
    assert accepted(raw, by=by) == accepted(raw, by=decoder(meters_of(passing)))
