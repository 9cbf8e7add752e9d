"""Parity of a parallel run: between 0 and 1, the same from both sides, the worst meter of a customer, worst first."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.reconcile.parity import LINE, Line, parities, parity_of

amounts = st.decimals(-1_000, 1_000, places=3)
pairs = st.lists(st.tuples(amounts, amounts))
lines = st.builds(
    Line, st.sampled_from("tu"), st.sampled_from("ab"), st.sampled_from("mn"), st.sampled_from(["1", "2"])
)
systems = st.dictionaries(lines, amounts)


@given(pairs)
def test_a_parity_is_a_share_and_the_same_from_both_sides(given_pairs: list[tuple[Decimal, Decimal]]) -> None:
    found = parity_of(given_pairs)
    assert 0 <= found <= 1
    assert found == parity_of((other, one) for one, other in given_pairs)


@given(systems, systems)
def test_every_customer_is_there_once_worst_first_and_equal_systems_have_parity_one(
    ours: dict[Line, Decimal], theirs: dict[Line, Decimal]
) -> None:
    found = parities(ours, theirs)
    assert sorted((one.tenant_id, one.customer_id) for one in found) == sorted(
        {line[:2] for line in {**ours, **theirs}}
    )
    assert [one.parity for one in found] == sorted(one.parity for one in found)
    assert all((one.parity, one.equal) == (1, one.lines) for one in parities(ours, ours))


@pytest.mark.parametrize(
    ("given_pairs", "parity"),
    [
        ([], "1"),
        ([(0, 0)], "1"),
        ([(10, 9)], "0.9"),
        ([(9, 10)], "0.9"),
        ([(5, 0)], "0"),
        ([(5, -5)], "0"),
        # Too much in one period does not make up for too little in another.
        ([(11, 10), (9, 10)], "0.904761904761904761904761905"),
    ],
)
def test_parities_worked_out_by_hand(given_pairs: list[tuple[int, int]], parity: str) -> None:
    found = parity_of((Decimal(one), Decimal(other)) for one, other in given_pairs)
    assert abs(found - Decimal(parity)) < Decimal("1e-20")


def test_a_customer_is_as_near_as_its_worst_meter() -> None:
    calls, bytes_used = Line("t", "c", "calls", "2024-03-01"), Line("t", "c", "bytes", "2024-03-01")
    ours = {calls: Decimal(9), bytes_used: Decimal(10) ** 12}
    (found,) = parities(ours, {**ours, calls: Decimal(10)})
    assert (found.meter, found.parity, found.ours, found.theirs, found.lines, found.equal) == (
        "calls", Decimal("0.9"), 9, 10, 2, 1,
    )  # fmt: skip


def test_the_line_is_reached_not_passed() -> None:
    at, below = (
        parities({Line("t", "c", "m", "p"): Decimal(ours)}, {Line("t", "c", "m", "p"): Decimal(1_000_000)})[0]
        for ours in (999_000, 998_999)
    )
    assert (at.parity, at.reached, below.reached) == (LINE, True, False)
