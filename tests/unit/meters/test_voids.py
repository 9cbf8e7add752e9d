"""Taking events back: what a void adds to each kind of meter, and that it is counted once, whenever it comes."""

from __future__ import annotations

import itertools
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit import strategies as own
from tests.unit.strategies import (
    ARRIVAL_MS,
    EVENT_MS,
    GRACE_MS,
    accepted,
    decoded,
    decoder,
    meters_of,
    raw_event,
    rejected,
)
from udfs.catalog.model import InMemoryCatalogSource
from udfs.decode.decoder import dedupe_key, void_key
from udfs.events.parse import parse
from udfs.events.reasons import Reason
from udfs.meters.measuring import Measurement, measure
from udfs.meters.meter import ADDITIVE, UNMEASURED, Aggregation, Meter
from udfs.meters.packing import Packed, unpack

AGGREGATIONS: tuple[Aggregation, ...] = (
    "count", "sum", "min", "max", "avg", "latest", "unique", "percentile", "weighted_sum",
)  # fmt: skip
OTHERS = sorted(set(AGGREGATIONS) - ADDITIVE)
# Where a void is noted: meters that are kept in parts have no row without one.
NOTED_IN = {"unique": "v", "percentile": "v"}


def void(**fields: Any) -> bytes:
    """The event that takes back `raw_event(**fields)`."""
    return raw_event(**{"event_id": "v-1", "voids": "e-1", **fields})


def everything(**more: Any) -> InMemoryCatalogSource:
    """A meter of each aggregation, in no order of its own."""
    return meters_of(*(Meter(one, ("call",), one, allow_negative=True, **more) for one in AGGREGATIONS))


def by_meter(measurements: list[Packed]) -> dict[tuple[str, str], Packed]:
    return {(one.meter, one.part): one for one in measurements}


def place_of(one: Packed) -> tuple[Any, ...]:
    return one.tenant, one.customer, one.dims, one.minute_ms, one.day, one.period_start_ms, one.period_end_ms


# --- what is added ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantity", [2.5, -2.5, 0, "0.00", "-0.00", "0.000000001", ...])
@pytest.mark.parametrize("group_by", [(), ("dest",)])
def test_a_void_takes_back_all_that_its_original_added_to_additive_meters(quantity: Any, group_by: Any) -> None:
    by = decoder(everything(group_by=group_by))
    added = by_meter(accepted(raw_event(quantity=quantity), by=by))
    taken = by_meter(accepted(void(quantity=quantity), by=by))
    for key, one in added.items():
        if key[0] in ADDITIVE:
            other = taken.pop(key)
            assert Decimal(one.amount) + Decimal(other.amount) == one.samples + other.samples == 0
            assert Decimal(other.amount) or not other.amount.startswith("-")
            assert place_of(other) == place_of(one)
    assert sorted(taken) == [(one, NOTED_IN.get(one, "")) for one in OTHERS]


def test_a_void_is_only_noted_where_nothing_can_be_taken_back() -> None:
    by = decoder(everything(group_by=("dest",)))
    added = {one.meter: one for one in accepted(raw_event(), by=by)}
    taken = {one.meter: one for one in accepted(void(), by=by)}
    for name in OTHERS:
        noted = taken[name]
        assert (noted.amount, noted.samples, noted.part, noted.latest) == ("0", 0, NOTED_IN.get(name, ""), "")
        assert place_of(taken[name]) == place_of(added[name])


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        ("count", [Measurement("-1", "", "", -1)]),
        ("sum", [Measurement("-2.5", "", "", -1)]),
        ("avg", [Measurement("-2.5", "", "", -1)]),
        ("weighted_sum", [Measurement("-2.5", "", "", -1), Measurement("-2500", "", "m", -1)]),
        *((one, [Measurement("0", "", NOTED_IN.get(one, ""), 0)]) for one in OTHERS),
    ],
)
def test_the_measurements_of_a_void(aggregation: Aggregation, expected: list[Measurement]) -> None:
    assert measure(parse(void()), Meter("m", ("call",), aggregation), 1_000, True, void()) == expected


def test_the_sign_is_judged_on_the_value_that_is_taken_back() -> None:
    for aggregation in ("sum", "avg", "max"):
        by = decoder(meters_of(Meter("m", ("call",), aggregation)))
        assert accepted(void(quantity=2), by=by)
        assert rejected(void(quantity=-2), by=by).reason == Reason.NEGATIVE_QUANTITY


def test_a_void_is_refused_for_what_its_original_would_be_refused_for() -> None:
    by = decoder(meters_of(Meter("b", ("call",), "max", value="n")))
    assert rejected(void(), by=by).reason == Reason.MISSING_VALUE
    assert rejected(void(properties={"n": "x"}), by=by).reason == Reason.INVALID_QUANTITY
    assert rejected(void(quantity="x"), by=by).reason == Reason.INVALID_QUANTITY
    assert rejected(void(event_type="dream"), by=by).reason == Reason.UNKNOWN_EVENT_TYPE


def test_the_void_of_an_event_that_nothing_measured_takes_that_back() -> None:
    by = decoder(meters_of(Meter("m", ("call",), "max", value="n", on_missing="skip")))
    (one,) = accepted(void(), by=by)
    assert (one.meter, one.amount, one.samples, one.part, one.dims) == (UNMEASURED, "-1", -1, "", "")
    assert [one.meter for one in accepted(void(properties={"n": 1}), by=by)] == ["m"]


def test_what_a_filter_excludes_it_excludes_from_being_taken_back() -> None:
    by = decoder(
        meters_of(
            Meter("a", ("call",), "count"),
            Meter("b", ("call",), "count", filter='{"eq":"JFK","property":"dest"}'),
        )
    )
    assert [(one.meter, one.amount) for one in accepted(void(), by=by)] == [("a", "-1")]


@pytest.mark.parametrize("voids", [None, ...])
def test_an_event_that_voids_nothing_is_an_event(voids: Any) -> None:
    assert decoded([raw_event(voids=voids)]) == decoded([raw_event()])


def test_a_void_is_late_as_any_event_is() -> None:
    assert accepted(void(), EVENT_MS + GRACE_MS)
    assert rejected(void(), EVENT_MS + GRACE_MS + 1).reason == Reason.TOO_LATE


@pytest.mark.parametrize(
    ("voids", "reason"),
    [("", Reason.INVALID_ID), ("a\x1fb", Reason.INVALID_ID), ("x" * 257, Reason.ID_TOO_LONG), (5, Reason.WRONG_TYPE)],
)
def test_what_is_taken_back_must_be_an_id(voids: Any, reason: Reason) -> None:
    record = rejected(void(voids=voids))
    assert (record.reason, record.event_id) == (reason, "v-1")


# --- once -------------------------------------------------------------------------------------------------------------


def test_all_voids_of_an_event_have_one_key_that_no_event_has() -> None:
    batch = decoded([void(), void(event_id="v-2"), void(event_id="e-1"), raw_event(), raw_event(event_id="v-1")])
    one, again, same_id, original, of_own_id = batch.keys
    assert one == again == same_id == void_key("acme", "e-1")
    assert len({one, original, of_own_id}) == 3


def test_a_void_is_of_the_event_of_its_tenant_and_source() -> None:
    versioned = {"schema_version": 2}
    raws = [
        void(), void(voids="e-2"), void(tenant_id="globex"),
        void(source="a", **versioned), void(source="b", **versioned),
    ]  # fmt: skip
    keys = decoded(raws).keys
    assert len(set(keys)) == len(keys)
    assert keys[3] == void_key("acme", "e-1", "a")
    assert decoded([void(source="a")]).keys == [void_key("acme", "e-1")]


_events = st.tuples(own.ids, own.ids, own.ids | st.just(""))


@given(_events, _events)
def test_keys_of_voids_are_equal_only_for_equal_events_and_never_the_key_of_one(
    one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    assert (void_key(*one) == void_key(*other)) == (one == other)
    assert void_key(*one) != dedupe_key(*other)
    assert void_key(*one) != dedupe_key(*one)


def test_an_event_and_its_voids_come_to_nothing_in_whatever_order_and_however_often_they_come() -> None:
    raws = [raw_event(), void(), void(event_id="v-2"), raw_event()]
    for order in itertools.permutations(raws):
        by, seen = decoder(), set()
        totals: Counter[tuple[str, str]] = Counter()
        # first wins
        for raw in order:
            batch = decoded([raw], ARRIVAL_MS, by)
            if batch.keys[0] not in seen and batch.measurements[0] is not None:
                seen.add(batch.keys[0])
                for one in unpack(batch.measurements[0]):
                    totals[one.meter, "amount"] += Decimal(one.amount)
                    totals[one.meter, "samples"] += one.samples
                    totals[one.meter, "n"] += 1
        assert {
            name: {key: totals[name, key] for key in ("amount", "samples", "n")} for name in ("calls", "volume")
        } == {
            "calls": {"amount": 0, "samples": 0, "n": 2},
            "volume": {"amount": 0, "samples": 0, "n": 2},
        }
