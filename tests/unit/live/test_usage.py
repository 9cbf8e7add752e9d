"""Usage of one customer: both sides in one form, so that equal numbers compare equal."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.live.usage import MeterUsage, Total, Usage, live_total
from udfs.values import plain

FIELDS = {"period_start": "1356998400000", "period_end": "1359676800000", "samples": "3", "total": "12.500000000"}
JANUARY = Total("2013-01-01T00:00:00Z", "2013-02-01T00:00:00Z", 3, "12.5")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("12.500000000", "12.5"), ("100", "100"), ("1E+2", "100"), ("0E-9", "0"), ("-0.000", "0"), ("-1.10", "-1.1"),
        ("12345678901234567890123456789.123456789", "12345678901234567890123456789.123456789"),
    ],
)  # fmt: skip
def test_a_decimal_has_one_text(value: str, text: str) -> None:
    assert plain(Decimal(value)) == text


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**28), max_value=10**28))
def test_the_text_keeps_the_number(value: Decimal) -> None:
    assert Decimal(plain(value)) == value


def test_a_redis_hash_becomes_a_total() -> None:
    assert live_total("sum", FIELDS) == JANUARY


@pytest.mark.parametrize(
    ("aggregation", "value"),
    [
        ("count", "12"), ("sum", "12"), ("unique", "12"), ("min", "-1"), ("max", "8"), ("avg", "4"), ("latest", "42.5"),
    ],
)  # fmt: skip
def test_a_live_counter_has_the_value_of_each_aggregation(aggregation: str, value: str) -> None:
    latest = "001704067200000000000\x1f//eu/gateway\x1fe-1\x1f42.5"
    found = live_total(aggregation, FIELDS | {"total": "12", "lo": "-1", "hi": "8", "latest": latest})
    assert found is not None
    assert found.value == value


@pytest.mark.parametrize("aggregation", ["percentile", "weighted_sum"])
def test_a_meter_without_a_live_value_has_no_live_total(aggregation: str) -> None:
    assert live_total(aggregation, FIELDS) is None


def test_an_average_of_nothing_has_no_value() -> None:
    assert live_total("avg", FIELDS | {"total": "0", "samples": "0"}) is None


@pytest.mark.parametrize("missing", list(FIELDS))
def test_an_incomplete_hash_is_no_total(missing: str) -> None:
    assert live_total("sum", {name: value for name, value in FIELDS.items() if name != missing}) is None


def one(live: Total | None, stored: Total | None, aggregation: str = "sum", *, compared: bool = True) -> MeterUsage:
    return MeterUsage("miles", "mi", aggregation, live, stored, compared)


def test_equal_sides_are_equal_and_a_missing_side_is_not() -> None:
    assert one(JANUARY, JANUARY).equal is True
    assert one(JANUARY, None).equal is False
    assert one(None, JANUARY).equal is False
    assert one(JANUARY, replace(JANUARY, value="12")).equal is False
    assert one(JANUARY, replace(JANUARY, samples=4)).equal is False


def test_where_nothing_was_compared_nothing_is_equal() -> None:
    assert one(None, JANUARY, "percentile", compared=False).equal is None


def test_unique_sides_are_compared_without_samples() -> None:
    # The counter has one sample a value, the stored total one a measurement.
    assert one(replace(JANUARY, samples=1), JANUARY, "unique").equal is True
    assert one(replace(JANUARY, value="11"), JANUARY, "unique").equal is False


def test_the_document_has_decimals_as_text_and_what_is_unavailable() -> None:
    document = Usage("EWR", "UA", (one(None, JANUARY, compared=False),), {"live": "down"}).document()
    assert document["meters"][0]["stored"]["value"] == "12.5"
    assert document["meters"][0]["equal"] is None
    assert document["unavailable"] == {"live": "down"}
