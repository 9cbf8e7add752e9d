"""The decision of the reader: pure, from what Redis holds of a customer and meter."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sdk.reader_parts import FEB, JAN, NOW, UNKNOWN, counter, decided, stored
from tidemark_client import Decision
from tidemark_client.decision import ALLOWS, amount_of, decide
from tidemark_client.stored import Counter, Limit, Stored, Suspension


@pytest.mark.parametrize(
    ("used", "wanted", "mode", "reason"),
    [
        ("4", "1", "hard", "within_limit"),
        ("9", "1", "hard", "within_limit"),
        ("9", "1.000000001", "hard", "would_exceed"),
        ("9.999999999", "0", "hard", "within_limit"),
        ("10", "0", "hard", "limit_reached"),
        ("11", "1", "hard", "limit_reached"),
        ("-3", "13", "hard", "within_limit"),
        ("9", "2", "soft", "would_exceed_soft"),
        ("10", "1", "soft", "soft_limit_reached"),
    ],
)
def test_a_cap_is_reached_at_the_cap_and_not_to_be_passed(used: str, wanted: str, mode: str, reason: str) -> None:
    decision = decided(stored(counter(used, mode=mode)), wanted)
    assert (decision.reason, decision.allowed, decision.known) == (reason, ALLOWS[decision.reason], True)
    assert bool(decision) == decision.allowed


def test_a_decision_says_all_that_the_counter_holds() -> None:
    assert decided(stored(counter("4.5", exhausted_at_ms=NOW + 1))) == Decision(
        allowed=True, reason="within_limit", known=True, used=Decimal("4.5"), limit=Decimal(10),
        remaining=Decimal("5.5"), wanted=Decimal(1), period_start=datetime(2026, 1, 1, tzinfo=UTC),
        period_end=datetime(2026, 2, 1, tzinfo=UTC), rule="plan/pro@0", mode="hard", age_s=1.0,
        projected_exhaustion_at=datetime(2026, 1, 10, 0, 0, 0, 1_000, tzinfo=UTC),
    )  # fmt: skip


def test_what_remains_of_a_passed_cap_is_nothing() -> None:
    assert decided(stored(counter("12"))).remaining == 0


def test_a_cap_of_zero_is_reached_before_any_usage() -> None:
    assert decided(stored(None, default=Limit(Decimal(0), "hard", ""))).reason == "limit_reached"


@pytest.mark.parametrize(
    ("now_ms", "used", "begun"),
    # ... before |---- JAN ... FEB ----| after: half-open
    [(JAN - 1, "12", True), (JAN, "12", True), (FEB - 1, "12", True), (FEB, "0", False), (FEB + 1, "0", False)],
)
def test_a_period_that_ended_counts_as_unused_under_the_same_cap(now_ms: int, used: str, begun: bool) -> None:
    held = stored(counter("12", exhausted_at_ms=FEB - 1), heartbeat_ms=now_ms)
    decision = decided(held, now_ms=now_ms)
    assert (decision.used, decision.limit) == (Decimal(used), Decimal(10))
    assert decision.allowed != begun
    assert (decision.period_start is not None) == (decision.projected_exhaustion_at is not None) == begun


def test_after_a_period_the_limit_of_the_tenant_is_that_of_today() -> None:
    # The cap of the tenant was raised since the customer used anything; that of a plan is kept in the counter.
    today = Limit(Decimal(50), "hard", "tenant/@new")
    old = Limit(Decimal(10), "hard", "tenant/@old")
    assert decided(stored(counter("12", limit=old), default=today), now_ms=FEB - 1).limit == 10
    assert decided(stored(counter("12", limit=old), default=today), now_ms=FEB).limit == 50
    assert decided(stored(counter("12", cap=None), default=today), now_ms=FEB).limit == 50
    assert decided(stored(counter("12"), default=today), now_ms=FEB).limit == 10


def test_a_counter_without_a_cap_is_not_limited_by_the_default() -> None:
    decision = decided(stored(counter("12", cap=None), default=Limit(Decimal(1), "hard", "")))
    assert (decision.reason, decision.limit, decision.remaining, decision.mode) == ("no_limit", None, None, None)


def test_a_missing_counter_has_the_default_cap_of_its_tenant() -> None:
    decision = decided(stored(None, default=Limit(Decimal(1), "hard", "tenant/@0")), "2")
    assert (decision.reason, decision.used, decision.rule) == ("would_exceed", 0, "tenant/@0")


def test_a_missing_counter_is_unknown_until_all_were_written_again() -> None:
    decision = decided(stored(None, rebuilt=False))
    assert (decision.reason, decision.known, decision.used) == ("not_rebuilt", False, None)
    assert decided(stored(counter(), rebuilt=False)).known


def test_a_counter_written_while_limits_were_unknown_is_unknown_until_they_are_written() -> None:
    bare = counter(cap=None, limits_known=False)
    decision = decided(stored(bare, rebuilt=False), policy="fail_closed")
    assert (decision.reason, decision.allowed, decision.used) == ("not_rebuilt", False, 4)
    assert decided(stored(counter(cap=None), rebuilt=False)).reason == "no_limit"
    assert decided(stored(bare)).reason == "not_rebuilt"


@pytest.mark.parametrize(
    ("heartbeat_ms", "max_age_s", "age_s", "reason"),
    [
        (NOW - 60_000, 60.0, 60.0, "limit_reached"),
        (NOW - 60_001, 60.0, 60.001, "stale"),
        (NOW - 60_001, None, 60.001, "limit_reached"),
        (NOW + 5_000, 60.0, 0.0, "limit_reached"),
        (None, 60.0, None, "stale"),
        (None, None, None, "limit_reached"),
    ],
)
def test_a_pipeline_not_seen_to_move_makes_usage_unknown(
    heartbeat_ms: int | None, max_age_s: float | None, age_s: float | None, reason: str
) -> None:
    decision = decided(stored(counter("10"), heartbeat_ms=heartbeat_ms), max_age_s=max_age_s)
    assert (decision.reason, decision.age_s, decision.used) == (reason, age_s, 10)
    assert decision.allowed == (reason == "stale")


@pytest.mark.parametrize(("until_ms", "denied"), [(None, True), (NOW + 1, True), (NOW, False)])
@pytest.mark.parametrize("age_ms", [0, 61_000])
def test_a_suspension_denies_whatever_is_left_until_it_ends(until_ms: int | None, denied: bool, age_ms: int) -> None:
    held = stored(counter(), suspension=Suspension("unpaid", "dunning", until_ms), heartbeat_ms=NOW - age_ms)
    decision = decided(held)
    assert (decision.reason == "suspended") == denied
    assert decision.detail == ("dunning: unpaid" if denied else "")
    assert decision.known == (age_ms == 0)


amounts = st.decimals(min_value=0, max_value=Decimal(10) ** 28, places=9, allow_nan=False, allow_infinity=False)
near = st.integers(-3, 3).map(lambda steps: Decimal(steps).scaleb(-9))
counters = st.builds(
    lambda cap, used, mode, end: Counter(JAN, end, used, Limit(cap, mode, ""), None),
    amounts, amounts, st.sampled_from(["hard", "soft"]), st.sampled_from([NOW, FEB]),
)  # fmt: skip
anything_stored = st.builds(
    Stored,
    counter=st.none() | counters,
    suspension=st.none() | st.builds(Suspension, st.just(""), st.just(""), st.none() | st.just(NOW)),
    default=st.none() | st.builds(Limit, amounts, st.sampled_from(["hard", "soft"]), st.just("")),
    rebuilt=st.booleans(),
    heartbeat_ms=st.none() | st.integers(NOW - 120_000, NOW + 1_000),
)


@given(amounts, amounts, near)
def test_a_known_hard_cap_never_lets_usage_pass_it(cap: Decimal, used: Decimal, step: Decimal) -> None:
    exact = Fraction(cap) - Fraction(used) + Fraction(step)
    wanted = Decimal(int(max(exact, Fraction(0)) * 10**9)).scaleb(-9)
    decision = decided(stored(counter(str(used), cap=str(cap))), str(wanted))
    fits = Fraction(used) + Fraction(wanted) <= Fraction(cap) and used < cap
    assert decision.allowed == fits
    assert Fraction(decision.remaining or 0) == max(Fraction(cap) - Fraction(used), 0)


@given(anything_stored, amounts, st.sampled_from(["fail_open", "fail_closed"]))
def test_the_policy_decides_what_is_unknown_and_nothing_else(held: Stored, wanted: Decimal, policy: Any) -> None:
    decision = decide(held, wanted, policy=policy, now_ms=NOW, max_age_s=60.0)
    if decision.reason in UNKNOWN:
        assert not decision.known
        assert decision.allowed == (policy == "fail_open")
    else:
        assert decision.allowed == ALLOWS[decision.reason]
        assert decision.known or decision.reason == "suspended"
    if decision.allowed and decision.known and decision.mode == "hard":
        assert Fraction(decision.used) + Fraction(wanted) <= Fraction(decision.limit)


@pytest.mark.parametrize("wanted", [Decimal("1e999999"), 10**60, "1e-999"])
def test_no_amount_is_too_large_or_too_fine_to_compare(wanted: Any) -> None:
    held = stored(counter("9.999999999", cap="10"))
    assert decided(held, str(amount_of(wanted))).allowed == (wanted == "1e-999")
