"""Meters on their own: what amounts and group-by values are whatever an event holds, and what a meter remembers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit import strategies as own
from tests.unit.strategies import raw_event
from udfs import meters
from udfs.events import parse
from udfs.meters import Meter, measure
from udfs.reasons import Reason, Rejected

BY_PLACE = Meter("seconds", ("call",), "sum", group_by=("zone", "city"))


def dims(meter: Meter, **properties: Any) -> str:
    return measure(parse(raw_event(properties=properties)), meter).dims


@given(own.quantities)
def test_a_count_adds_one_whatever_the_quantity(quantity: Any) -> None:
    assert measure(parse(raw_event(quantity=quantity)), Meter("calls", ("call",), "count")).amount == "1"


@pytest.mark.parametrize(("quantity", "amount"), [(..., "1"), ("1e2", "100"), (-0.0, "0"), (0, "0")])
def test_a_sum_adds_the_quantity_and_one_when_there_is_none(quantity: Any, amount: str) -> None:
    assert measure(parse(raw_event(quantity=quantity)), BY_PLACE).amount == amount


def test_numbers_keep_all_their_digits_as_group_by_values() -> None:
    assert dims(BY_PLACE, zone=10**30, city=0.1) == f'{{"city":"0.1","zone":"{10**30}"}}'


_names = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=1, max_size=3, unique=True)
_values = st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=9)


@settings(max_examples=80, deadline=None)
@given(_names, st.data())
def test_dims_read_back_as_one_text_per_name_and_hold_no_separator(names: list[str], data: st.DataObject) -> None:
    values = {name: data.draw(_values) for name in names if data.draw(st.booleans())}
    event = own.event(properties=values)
    if "\\u0000" in json.dumps(event):
        return
    text = measure(parse(json.dumps(event).encode()), Meter("m", ("call",), "count", group_by=tuple(names))).dims
    assert list(json.loads(text)) == sorted(names)
    for name, read in json.loads(text).items():
        value = values.get(name)
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
    monkeypatch.setattr(meters, "_DIMS_MEMO_LIMIT", 3)
    meter = Meter("m", ("call",), "count", group_by=("zone",))
    for _ in range(2):
        for number in range(10):
            assert dims(meter, zone=number) == f'{{"zone":"{number}"}}'
            assert len(meter._dims) <= 3
