"""Two versions that both run on, compared several times: what differs, and what only moves."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from tidemark.replay.diff import Line
from tidemark.upgrade.compare import Compared, compared

JANUARY, FEBRUARY = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)
TOTALS = st.lists(st.integers(0, 20), min_size=2, max_size=6)


def line(before: int | None, after: int | None, customer: str = "alice") -> Line:
    values = [None if value is None else Decimal(value) for value in (before, after)]
    return Line("acme", customer, "calls", "", JANUARY, FEBRUARY, "calls", *values, final=False)


def test_nothing_was_compared_or_no_line_was_found() -> None:
    assert compared([]) == Compared()
    assert compared([[]]) == Compared()


def test_a_line_that_was_equal_once_is_no_difference() -> None:
    assert compared([[line(10, 9)], []]) == Compared()
    assert compared([[line(10, 9)], [line(1, 2, "bob")], [line(12, 11)]]) == Compared()


def test_a_line_without_events_differs_when_each_comparison_finds_it() -> None:
    assert compared([[line(10, 9)]]).differing == (line(10, 9),)
    assert compared([[line(10, 9)]] * 3) == Compared((line(10, 9),), ())


def test_a_line_of_one_version_alone_differs() -> None:
    assert compared([[line(10, None)], [line(11, None)]]).differing == (line(11, None),)
    assert compared([[line(None, 3)]] * 2).differing == (line(None, 3),)


def test_a_line_that_moves_through_the_same_values_is_only_behind() -> None:
    # old  10  20  30
    # new   5  15  25
    assert compared([[line(10, 5)], [line(20, 15)], [line(30, 25)]]) == Compared((), (line(30, 25),))


def test_a_line_that_differs_by_more_than_it_moves_differs() -> None:
    # old  10   11   12
    # new 100  101  102
    rounds = [[line(10, 100)], [line(11, 101)], [line(12, 102)]]
    assert compared(rounds).differing == (line(12, 102),)


def test_lines_keep_the_order_of_the_last_comparison() -> None:
    both = [line(9, 1, "bob"), line(5, 1)]
    assert compared([both[::-1], both]).differing == tuple(both)


@given(TOTALS, st.integers(1, 5))
def test_a_version_that_is_any_number_of_rounds_behind_never_differs(amounts: list[int], behind: int) -> None:
    totals = [sum(amounts[: count + 1]) for count in range(len(amounts))]
    late = [0] * min(behind, len(totals)) + totals[:-behind]
    # Before the first round it had no event at all: both begin with 0.
    rounds = [[line(0, 0)], *([line(now, then)] for now, then in zip(totals, late, strict=True))]
    unequal = [[one for one in lines if one.before != one.after] for lines in rounds]
    assert compared(unequal).differing == ()


@given(TOTALS, st.integers(1, 5))
def test_a_version_that_is_wrong_by_more_than_comes_always_differs(amounts: list[int], more: int) -> None:
    totals = [sum(amounts[: count + 1]) for count in range(len(amounts))]
    wrong = [total + totals[-1] + more for total in totals]
    assert len(compared([[line(now, other)] for now, other in zip(totals, wrong, strict=True)]).differing) == 1
