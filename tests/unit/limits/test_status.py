"""Totals under a limit: what is crossed, reached and left is what every amount, looked at one by one, says."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.limits.limit_parts import FEB, JAN, limit
from udfs.limits.rule import Limit
from udfs.limits.status import (
    CAP,
    MAX_STEPS,
    Crossing,
    crossings,
    ended,
    exhaustion_ms,
    is_denied,
    levels,
    quiet_range,
    remaining,
    share_of_cap,
)

D = Decimal
THRESHOLDS = ("80%", "50%", "100%", "150%", "every 10%", "every 25%", "7", "2.5", "every 7", "every 2.5", "0.1%")
# So small that a total has at most MAX_STEPS steps of each.
small = st.integers(-100, 240).map(lambda tenths: D(tenths) / 10)
limits = st.builds(
    lambda cap, thresholds: limit(D(cap), *thresholds),
    st.sampled_from(["0", "3", "2.5", "10", "20", "23.999999999"]),
    st.lists(st.sampled_from(THRESHOLDS), unique=True, max_size=4),
)
# 38 digits: nothing of them may be lost on the way.
huge = st.decimals(-(10**29) + 1, 10**29 - 1, places=9, allow_nan=False, allow_infinity=False)
# A step of 10^27 and more: a total has at most 99 of them.
huge_limits = st.builds(
    lambda cap, amount, step: limit(cap, f"{amount:f}", f"every {step:f}"),
    huge.map(abs),
    huge.map(abs).filter(lambda one: one > 0),
    st.decimals(D("1.02e27"), 10**29 - 1, places=9),
)


def amounts(held: Limit, upto: Decimal) -> set[tuple[str, Decimal]]:
    """Everything at or below a total that a limit says something about, by fractions."""
    found = {(CAP, held.cap)} if held.cap <= upto else set()
    for one in held.watched:
        if not one.recurring and one.amount <= upto and one.amount != held.cap:
            found.add((one.text, one.amount))
        steps = int(Fraction(upto) // Fraction(one.amount)) if one.recurring else 0
        found |= {(one.text, _exactly(Fraction(one.amount) * count)) for count in range(1, steps + 1)}
    return found


def _exactly(value: Fraction) -> Decimal:
    return D(f"{value * 10**9}e-9")


def named(found: list[Crossing], status: str) -> set[tuple[str, Decimal]]:
    assert {one.status for one in found} <= {status}
    return {(one.threshold, one.amount) for one in found}


@given(limits, small, small)
def test_a_change_crosses_exactly_the_amounts_between_the_totals(held: Limit, before: Decimal, total: Decimal) -> None:
    found = crossings(held, before, total)
    status = "firing" if total > before else "resolved"
    assert named(found, status) == amounts(held, max(before, total)) - amounts(held, min(before, total))
    assert len(found) == len({(one.threshold, one.amount) for one in found})
    assert [one.amount for one in found] == sorted((one.amount for one in found), reverse=total < before)


@given(limits, small, small)
def test_up_and_down_again_resolves_exactly_what_fired(held: Limit, before: Decimal, total: Decimal) -> None:
    up = [(one.threshold, one.amount) for one in crossings(held, min(before, total), max(before, total))]
    down = [(one.threshold, one.amount) for one in crossings(held, max(before, total), min(before, total))]
    assert sorted(up) == sorted(down)


@given(limits, small, small, small)
def test_two_changes_cross_what_one_of_both_crosses(
    held: Limit, first: Decimal, second: Decimal, third: Decimal
) -> None:
    low, middle, high = sorted((first, second, third))
    parts = crossings(held, low, middle) + crossings(held, middle, high)
    assert named(parts, "firing") == named(crossings(held, low, high), "firing")


@given(limits | huge_limits, small, small)
def test_nothing_is_reported_early(held: Limit, before: Decimal, total: Decimal) -> None:
    found = [*crossings(held, before, total), *levels(held, total)]
    assert all(one.amount <= total for one in found if one.status == "firing")
    assert all(one.amount > total for one in found if one.status == "resolved")
    assert all(one.amount >= 0 for one in found)


@given(limits, small)
def test_the_levels_of_a_total_are_all_it_has_reached_of_steps_the_highest(held: Limit, total: Decimal) -> None:
    steps = {one.text for one in held.watched if one.recurring}
    reached = amounts(held, total)
    highest = {max((one for one in reached if one[0] == step), default=(step, D(-1))) for step in steps}
    assert named(levels(held, total), "firing") == {one for one in reached if one[0] not in steps} | (highest & reached)


@given(limits, small)
def test_the_end_of_a_limit_ends_all_that_a_total_can_have_reached(held: Limit, total: Decimal) -> None:
    assert named(ended(held, total), "resolved") >= amounts(held, total)


@given(limits, small, st.lists(small, max_size=20))
def test_within_the_quiet_range_nothing_is_crossed(held: Limit, total: Decimal, others: list[Decimal]) -> None:
    floor, ceiling = quiet_range(held, total)
    assert floor <= total < ceiling
    edges = [one for one in (floor, ceiling - D("1e-9")) if one.is_finite()]
    quiet = [one for one in (*others, *edges) if floor <= one < ceiling]
    assert [one for one in quiet if crossings(held, total, one) or crossings(held, one, total)] == []


@given(huge_limits, huge, huge)
def test_38_digits_are_compared_exactly(held: Limit, before: Decimal, total: Decimal) -> None:
    expected = amounts(held, max(before, total)) - amounts(held, min(before, total))
    assert named(crossings(held, before, total), "firing" if total > before else "resolved") == expected
    floor, ceiling = quiet_range(held, total)
    assert floor <= total < ceiling


def test_the_last_digit_of_38_decides() -> None:
    cap = D("99999999999999999999999999999.999999999")
    below = D("99999999999999999999999999999.999999998")
    held = limit(cap, "every 0.000000001", mode="hard")
    assert (is_denied(held, below), is_denied(held, cap), remaining(held, below)) == (False, True, D("1e-9"))
    assert [(one.threshold, one.amount) for one in crossings(held, below, cap)] == [
        ("every 0.000000001", cap), (CAP, cap),
    ]  # fmt: skip
    assert quiet_range(held, below) == (below, cap)
    assert quiet_range(held, -cap) == (D("-Infinity"), D(0))


def test_reached_means_at_the_amount() -> None:
    held = limit(100, "80%")
    reported = {
        total: [one.threshold for one in crossings(held, D(0), D(total))] for total in ("79.999999999", "80", "100")
    }
    assert reported == {"79.999999999": [], "80": ["80%"], "100": ["80%", CAP]}
    assert [one.threshold for one in crossings(held, D(100), D("99.999999999"))] == [CAP]


def test_a_total_that_stays_crosses_nothing() -> None:
    assert crossings(limit(100, "every 10"), D(50), D(50)) == []


def test_a_threshold_at_the_cap_says_nothing_more_but_a_step_at_the_cap_does() -> None:
    found = crossings(limit(100, "100%", "100", "every 50"), D(0), D(100))
    assert sorted((one.threshold, one.amount) for one in found) == [
        (CAP, D(100)),
        ("every 50", D(50)),
        ("every 50", D(100)),
    ]


def test_of_more_steps_than_are_reported_the_highest_are() -> None:
    found = [one for one in crossings(limit(10**9, "every 1"), D(0), D(10_000)) if one.threshold != CAP]
    assert [one.amount for one in found] == list(range(10_000 - MAX_STEPS + 1, 10_001))
    assert levels(limit(10**9, "every 1"), D(10_000)) == found[-1:]


def test_steps_below_zero_are_none() -> None:
    assert [one.amount for one in crossings(limit(5, "every 2"), D(-9), D(3))] == [2]
    assert [(one.amount, one.status) for one in crossings(limit(5, "every 2"), D(3), D(-9))] == [(D(2), "resolved")]


@pytest.mark.parametrize(("mode", "denied"), [("hard", True), ("soft", False)])
def test_only_a_hard_limit_denies(mode: str, denied: bool) -> None:
    held = limit(100, mode=mode)
    assert [is_denied(held, D(total)) for total in ("99.999999999", "100", "101")] == [False, denied, denied]


def test_a_cap_of_zero_is_reached_at_once_and_has_no_share() -> None:
    held = limit(0, "80%", mode="hard")
    assert (is_denied(held, D(0)), share_of_cap(held, D(5))) == (True, None)
    assert [one.threshold for one in levels(held, D(0))] == [CAP]


@given(limits, small)
def test_what_remains_and_what_is_used_make_up_the_cap(held: Limit, total: Decimal) -> None:
    assert remaining(held, total) == (held.cap - total if total < held.cap else 0)


@pytest.mark.parametrize(
    ("total", "hours", "expected_hours"),
    [
        (10, 1, 10),
        (10, 24, 240),
        (100, 24, None),
        (0, 24, None),
        (-5, 24, None),
        (10, 0, None),
        (10, 80, None),
        (1, 7, 700),
    ],
)
def test_exhaustion_is_projected_from_the_mean_of_the_period(
    total: int, hours: int, expected_hours: int | None
) -> None:
    #  JAN |--- total in `hours` ---|-------- the rest at the same rate --------| cap, if before FEB (744 h)
    hour_ms = 3_600_000
    found = exhaustion_ms(limit(100), D(total), (JAN, FEB), JAN + hours * hour_ms)
    assert found == (None if expected_hours is None else JAN + expected_hours * hour_ms)


@given(limits, small, st.integers(JAN - 1_000, FEB))
def test_a_projection_lies_between_now_and_the_end(held: Limit, total: Decimal, at_ms: int) -> None:
    found = exhaustion_ms(held, total, (JAN, FEB), at_ms)
    assert found is None or at_ms <= found < FEB


def test_a_share_is_rounded_to_four_decimals() -> None:
    assert [share_of_cap(limit(3), D(total)) for total in (1, 2, -1)] == [D("0.3333"), D("0.6667"), D("-0.3333")]
