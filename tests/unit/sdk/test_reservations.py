"""Reservations: which yield to which, what is over, and what can be reserved at all."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sdk.reader_parts import FULL, NOW, judge, replies
from tidemark_client.keys import counter_key, reservations_key, suspension_key
from tidemark_client.reservations import before_of, reservable, reserved, seconds_ms

ASK = judge().question("t", "c", "m", "2")


def entry(at_ms: int, amount: str, kind: str = "reserved", holds_ms: int = 60_000, number: int = 0) -> Any:
    return f"{at_ms}-{number}", {"kind": kind, "amount": amount, "holds_ms": str(holds_ms)}


def answered(*entries: Any, own: Any = f"{NOW}-5", **changes: Any) -> Any:
    return reserved(judge(), ASK, "key", [own, 1, [*entries]], replies(FULL | changes))


# Of a cap of 10, 4.5 are used and 2 are wanted.
@pytest.mark.parametrize(
    ("entries", "allowed", "remaining"),
    [
        ([], True, "5.5"),
        ([entry(NOW, "3.5")], True, "2.0"),
        ([entry(NOW, "3.6")], False, "1.9"),
        # What came after yields, unless it was used already.
        ([entry(NOW, "3.6", number=6)], True, "5.5"),
        ([entry(NOW, "3.6", kind="used", number=6)], False, "1.9"),
        ([entry(NOW - 60_000, "3.6")], True, "5.5"),
        ([entry(NOW - 59_999, "3.6")], False, "1.9"),
        ([entry(NOW, "9")], False, "0"),
    ],
)
def test_what_others_reserved_before_counts_as_used(entries: list[Any], allowed: bool, remaining: str) -> None:
    own = entry(NOW, "2", number=5)
    found = answered(*sorted([*entries, own]))
    assert (bool(found), found.decision.remaining) == (allowed, Decimal(remaining))
    assert (found.decision.wanted, found.decision.used, found.id) == (2, Decimal("4.5"), f"{NOW}-5")


def test_what_is_over_is_named_so_that_it_goes() -> None:
    found = answered(entry(NOW - 90_000, "1"), entry(NOW - 70_000, "1", kind="used"), entry(NOW, "2", number=5))
    assert found.expired == (f"{NOW - 90_000}-0", f"{NOW - 70_000}-0")
    assert found.reserved == 0


@given(st.permutations(["3", "3", "2", "1", "2.5"]))
def test_of_those_made_at_once_no_more_are_allowed_than_fit(amounts: list[str]) -> None:
    entries = [entry(NOW, amount, number=number) for number, amount in enumerate(amounts)]
    allowed = []
    for number, amount in enumerate(amounts):
        question = judge().question("t", "c", "m", amount)
        own = [f"{NOW}-{number}", 1, entries]
        if reserved(judge(), question, "key", own, replies(FULL)):
            allowed.append(Decimal(amount))
    assert Decimal("4.5") + sum(allowed) <= 10
    assert allowed


@pytest.mark.parametrize(
    "own",
    [
        [ValueError("full"), 1, []],
        [f"{NOW}-5", 1, ValueError("no right")],
        [f"{NOW}-5", 1, [("x", {})]],
        [f"{NOW}-5", 1, [(f"{NOW}-0", {"holds_ms": "5", "amount": "NaN", "kind": "reserved"})]],
        [None, None, None],
        [],
    ],
)
def test_what_cannot_be_read_is_answered_by_the_policy(own: list[Any]) -> None:
    found = reserved(judge(on_unknown="fail_closed"), ASK, "key", own, replies(FULL))
    assert (found.decision.reason, bool(found), found.reserved) == ("redis_error", False, None)


def test_amounts_are_added_exactly() -> None:
    big = "12345678901234567890123456789.123456789"
    total, _ = before_of([entry(NOW, big), entry(NOW, "0.000000001")], f"{NOW}-5")
    assert str(total) == "12345678901234567890123456789.123456790"


@pytest.mark.parametrize("amount", ["1e-10", "NaN", -1, 1.5, "1e60"])
def test_what_no_counter_could_hold_is_refused(amount: Any) -> None:
    with pytest.raises(ValueError, match=r"amount|wanted"):
        reservable(amount)


def test_a_reservation_ends_within_an_hour() -> None:
    assert (seconds_ms("holds_s", 0.0001), seconds_ms("holds_s", 3_600)) == (1, 3_600_000)
    for wrong in (0, -1, 3_601, float("nan")):
        with pytest.raises(ValueError, match="holds_s"):
            seconds_ms("holds_s", wrong)


ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(ids, ids, ids)
def test_no_reservation_is_taken_for_a_counter_or_a_suspension(tenant: str, customer: str, meter: str) -> None:
    key = reservations_key("usage:", tenant, customer, meter)
    others = (
        counter_key("usage:", tenant, customer, meter),
        counter_key("usage:", tenant, customer, f":reserved:{meter}"),
        suspension_key("usage:", tenant, customer),
    )
    assert key not in others
    # On the node of the customer's counters.
    assert key.partition("}")[0] == others[0].partition("}")[0]
