"""Limits as stated: thresholds and caps read strictly, shares of a cap exact, decimals as plain text."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.limits.limit_parts import limit
from udfs.limits.rule import ThresholdError, canonical_threshold, decimal_cap, most_specific, threshold_of
from udfs.values import plain, rounded

LARGEST = Decimal("99999999999999999999999999999.999999999")
stored = st.decimals(0, LARGEST, places=9, allow_nan=False, allow_infinity=False)
positive = stored.filter(lambda one: one > 0)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-LARGEST, max_value=LARGEST))
def test_plain_text_has_no_exponent_and_loses_nothing(value: Decimal) -> None:
    text = plain(value)
    assert Decimal(text) == value
    assert "E" not in text
    assert text != "-0"
    assert "." not in text or text[-1] != "0"


@pytest.mark.parametrize(
    ("value", "text"), [("0E-9", "0"), ("-0.0", "0"), ("1E+3", "1000"), ("10", "10"), ("1.50", "1.5"), ("-0.5", "-0.5")]
)
def test_a_decimal_as_plain_text(value: str, text: str) -> None:
    assert plain(Decimal(value)) == text


@pytest.mark.parametrize(("value", "text"), [("0.0000000005", "0"), ("0.0000000015", "2E-9"), ("2.5", "2.5")])
def test_rounding_is_half_even(value: str, text: str) -> None:
    assert rounded(Decimal(value), 9) == Decimal(text)


@pytest.mark.parametrize(
    ("stated", "text"),
    [
        (5000, "5000"), ("5000.0", "5000"), (0.5, "0.5"), ("0.50", "0.5"), (Decimal("1E+3"), "1000"), ("80%", "80%"),
        ("080.0%", "80%"), ("12.5%", "12.5%"), ("200%", "200%"), ({"every": "10%"}, "every 10%"),
        ({"every": 1000}, "every 1000"), ({"every": Decimal("0.10")}, "every 0.1"), ("0.000000001", "0.000000001"),
        (Decimal("99999999999999999999999999999.999999999"), "99999999999999999999999999999.999999999"),
    ],
)  # fmt: skip
def test_a_threshold_as_stated_has_one_canonical_text(stated: Any, text: str) -> None:
    assert canonical_threshold(stated) == text


@pytest.mark.parametrize(
    "stated",
    [
        0, "0%", "-5", "-5%", "", "%", "5 %", " 5", "5\n", "1e3", 1e-7, "NaN", "Infinity", float("inf"), True, None,
        [], "every 5", "every", {"every": 0}, {"every": None}, {"every": {"every": 5}}, {"each": 5}, {},
        {"every": 5, "of": 2}, "0.0000000001", "1" + "0" * 29, "1" + "0" * 29 + "%", "\u0665", "5%%", "1_000",
    ],
)  # fmt: skip
def test_what_says_no_amount_is_no_threshold(stated: Any) -> None:
    with pytest.raises(ThresholdError):
        canonical_threshold(stated)


@given(positive, st.booleans(), st.booleans())
def test_canonical_text_is_its_own_canonical_text_and_is_read_back(
    number: Decimal, share: bool, recurring: bool
) -> None:
    written = f"{number:f}%" if share else number
    text = canonical_threshold({"every": written} if recurring else written)
    assert canonical_threshold({"every": text[6:]} if recurring else text) == text
    found = threshold_of(text, Decimal(100))
    assert found is not None
    assert (found.text, found.recurring, found.amount) == (text, recurring, number)


@given(positive, stored)
def test_a_share_of_the_cap_is_exact_half_even_to_nine_decimals(share: Decimal, cap: Decimal) -> None:
    found = threshold_of(f"{plain(share)}%", cap)
    exact = round(Fraction(share) * Fraction(cap) / 100 * 10**9)
    assert (Fraction(found.amount) * 10**9 if found else 0) == exact


@pytest.mark.parametrize(
    ("text", "cap", "amount"),
    [("50%", "0.000000001", None), ("50%", "0.000000003", "0.000000002"), ("80%", "0", None), ("7", "0", "7")],
)
def test_a_threshold_that_comes_to_nothing_is_left_out(text: str, cap: str, amount: str | None) -> None:
    found = threshold_of(text, Decimal(cap))
    assert (found.amount if found else None) == (Decimal(amount) if amount else None)


@pytest.mark.parametrize("text", ["five", "every every 5", "EVERY 5", "", "5 %"])
def test_what_is_not_canonical_is_refused_where_it_is_used(text: str) -> None:
    with pytest.raises(ThresholdError, match="canonical"):
        threshold_of(text, Decimal(1))


@given(stored)
def test_a_cap_keeps_every_digit(cap: Decimal) -> None:
    assert decimal_cap(cap) == cap
    assert decimal_cap(str(cap)) == cap


@pytest.mark.parametrize(
    "stated", [-1, "-0.1", "NaN", "inf", "x", "", None, True, False, "1e29", "0.0000000001", "1e400000", "1e-400000"]
)
def test_what_is_no_cap_is_refused(stated: Any) -> None:
    with pytest.raises(ThresholdError, match="no cap"):
        decimal_cap(stated)


def test_thresholds_are_watched_in_order_of_their_amounts_and_those_of_nothing_are_not() -> None:
    assert [one.text for one in limit(200, "80%", "150", "every 10%").watched] == ["every 10%", "150", "80%"]
    assert [one.text for one in limit(0, "80%", "every 10%", "7").watched] == ["7"]


def test_a_limit_with_another_cap_watches_other_amounts() -> None:
    first = limit(100, "50%")
    assert [one.amount for one in first.watched] == [50]
    assert [one.amount for one in replace(first, cap=Decimal(300)).watched] == [150]


def test_a_version_is_named_by_scope_id_and_begin() -> None:
    names = {limit(scope=scope, valid_from_ms=7).version for scope in ("tenant", "plan", "customer")}
    begins = {name.rpartition("-")[0] for name in names}
    at = "1970-01-01T00:00:00.007Z"
    assert begins == {f"tenant/@{at}", f"plan/gold@{at}", f"customer/UA@{at}"}


def test_another_cap_from_the_same_instant_is_another_version() -> None:
    assert limit(cap=Decimal(1)).version != limit(cap=Decimal(2)).version
    assert limit(cap=Decimal("1.0")).version == limit(cap=Decimal(1)).version


def test_the_most_specific_limit_wins_whole_and_only_while_it_holds() -> None:
    #  tenant   |------------------------------>
    #  plan          |--------------|
    #  customer           |----|
    #           0    10   20   30   40
    tenant = limit(1, scope="tenant")
    plan = limit(2, scope="plan", valid_from_ms=10, valid_to_ms=40)
    customer = limit(3, valid_from_ms=20, valid_to_ms=30)
    candidates = [customer, tenant, plan]
    held = {at: most_specific(candidates, at) for at in (0, 9, 10, 19, 20, 29, 30, 39, 40)}
    assert held == {
        0: tenant,
        9: tenant,
        10: plan,
        19: plan,
        20: customer,
        29: customer,
        30: plan,
        39: plan,
        40: tenant,
    }
    assert most_specific([], 0) is None
