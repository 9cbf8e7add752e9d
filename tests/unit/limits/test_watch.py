"""Alerts of one counter through usage, voids, restarts, crashes, outages and changed limits: each sent once, all true.

The state of the job is `limit_parts.Reported`: it keeps the last status of each condition, as the SQL does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.limits.limit_parts import CUSTOMER, JAN, PAIR, TENANT, Limits, Reported, World, counter, limit, limit_at
from udfs.alerts.event import Alert
from udfs.limits.alerts import condition
from udfs.limits.rule import Limit
from udfs.limits.status import Crossing, levels
from udfs.limits.timeline import CustomerRules, PlanVersion, timeline
from udfs.limits.watch import RECENT_MS, LimitsUnknownError, LimitWatch

D = Decimal
Step = Callable[[World], Any]

scopes = st.sampled_from(["tenant", "plan", "customer"])
# Caps, steps and usage so small that no total has more than MAX_STEPS steps of any threshold.
thresholds = st.lists(st.sampled_from(["80%", "50%", "40", "every 50%", "every 10"]), unique=True, max_size=3)
made_limits = st.builds(
    lambda cap, texts, scope: limit(cap, *texts, scope=scope),
    st.sampled_from([0, 20, 50, 100, 200]),
    thresholds,
    scopes,
)


def usage(added: int, advance_ms: int) -> Step:
    return lambda world: world.usage(added, advance_ms)


def stated(made: Limit) -> Step:
    return lambda world: world.state(made.scope, made)


def removed(scope: Any) -> Step:
    return lambda world: world.state(scope, None)


def moved(plan: str | None) -> Step:
    return lambda world: world.move(plan)


growth = st.builds(usage, st.integers(0, 25), st.integers(0, 3))
both_ways = st.builds(usage, st.integers(-25, 25), st.integers(0, 3))
disturbances = st.sampled_from([World.restart, World.repeat, World.checkpoint, World.crash])
changes = st.one_of(made_limits.map(stated), scopes.map(removed), st.sampled_from(["gold", "silver", None]).map(moved))
outages = st.sampled_from([World.outage, World.recovery])


def played(first: Sequence[Limit], steps: Sequence[Step]) -> World:
    """A world after the steps, its services back, and a last look at the counter."""
    world = World(*first, plans=[PlanVersion("gold")])
    for step in steps:
        step(world)
    world.recovery()
    world.usage(0, 10)
    return world


def conditions(world: World) -> tuple[set[str], set[str]]:
    """Fingerprints that must be firing (all but steps), and of the steps that may be."""
    rules = CustomerRules(world.source.plans, [one for one in world.source.limits if one.scope == "customer"])
    shared = [one for one in world.source.limits if one.scope != "customer"]
    held = limit_at(timeline("miles", shared, rules), world.at_ms)
    if held is None:
        return set(), set()
    steps = [one for one in held.watched if one.recurring]
    once = [one for one in levels(held, world.total) if one.threshold not in {step.text for step in steps}]
    passed = [
        Crossing(held, step.text, step.amount * count, "firing")
        for step in steps
        for count in range(1, int(max(world.total, D(0)) // step.amount) + 1)
    ]
    return {condition(one, counter()) for one in once}, {condition(one, counter()) for one in passed}


@given(st.lists(made_limits, max_size=2), st.lists(both_ways | disturbances | changes, max_size=25))
def test_in_the_end_what_holds_is_firing_and_the_rest_resolved(first: list[Limit], steps: list[Step]) -> None:
    world = played(_one_a_scope(first), steps)
    once, passed = conditions(world)
    # After a change of the limit only the highest step is reported, so of the steps fewer may be.
    assert once <= world.reported.firing <= once | passed


@given(made_limits, st.lists(both_ways | disturbances, max_size=25))
def test_under_one_limit_every_step_that_is_passed_is_firing_too(held: Limit, steps: list[Step]) -> None:
    world = played([held], steps)
    once, passed = conditions(world)
    assert world.reported.firing == once | passed


@given(st.lists(made_limits, max_size=2), st.lists(both_ways | changes | outages, max_size=25))
def test_what_was_missed_while_limits_were_unknown_is_made_up_for(first: list[Limit], steps: list[Step]) -> None:
    world = played(_one_a_scope(first), steps)
    once, passed = conditions(world)
    assert once <= world.reported.firing <= once | passed


@given(st.lists(made_limits, max_size=2), st.lists(both_ways | disturbances | changes | outages, max_size=25))
def test_statuses_of_a_condition_alternate_from_firing_and_ids_follow_from_their_turn(
    first: list[Limit], steps: list[Step]
) -> None:
    world = played(_one_a_scope(first), steps)
    for name in {one.fingerprint for one in world.reported.news}:
        statuses = [one.status for one in world.reported.news if one.fingerprint == name]
        assert statuses == (["firing", "resolved"] * len(statuses))[: len(statuses)]
    ids = [one.id for one in world.reported.news]
    assert len(set(ids)) == len(ids)
    assert ids == [one.id for one in played(_one_a_scope(first), steps).reported.news]


@given(st.lists(made_limits, max_size=2), st.lists(both_ways | disturbances | changes | outages, max_size=25))
def test_nothing_is_reported_early(first: list[Limit], steps: list[Step]) -> None:
    begun = [one for one in played(_one_a_scope(first), steps).reported.news if one.status == "firing"]
    assert [one for one in begun if D(one.value or "") < D(one.threshold or "")] == []


@given(st.lists(made_limits, max_size=2), st.lists(growth | disturbances | changes, max_size=25))
def test_where_usage_grows_restarts_and_crashes_change_nothing_of_what_begins(
    first: list[Limit], steps: list[Step]
) -> None:
    undisturbed = [step for step in steps if step not in {World.restart, World.repeat, World.checkpoint, World.crash}]
    assert played(_one_a_scope(first), steps).reported.begun == played(_one_a_scope(first), undisturbed).reported.begun


@given(
    st.lists(made_limits, max_size=2),
    st.lists(growth | disturbances | made_limits.filter(lambda one: one.scope == "customer").map(stated), max_size=25),
)
def test_where_usage_grows_each_threshold_of_each_version_fires_once(first: list[Limit], steps: list[Step]) -> None:
    begun = played(_one_a_scope(first), steps).reported.begun
    assert len(set(begun)) == len(begun)


def _one_a_scope(found: list[Limit]) -> list[Limit]:
    return list({one.scope: one for one in found}.values())


def reported(found: list[Alert]) -> list[tuple[str, str, str]]:
    """Type, status and threshold of each."""
    return [(one.type, one.status, one.threshold or "") for one in found]


EXCEEDED, RESOLVED = ("limit.exceeded", "firing", "100"), ("limit.resolved", "resolved", "100")


def test_a_void_below_the_cap_is_resolved_once_and_the_next_crossing_reported_again() -> None:
    world = World(limit(100))
    assert reported(world.usage(120)) == [EXCEEDED]
    assert reported(world.usage(5)) == []
    assert reported(world.usage(-30)) == [RESOLVED]
    assert reported(world.usage(-30)) == []
    assert reported(world.usage(70)) == [EXCEEDED]
    assert [one.id == other.id for one, other in zip(world.reported.news, world.reported.news[2:], strict=False)] == [
        False
    ]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_raised_cap_resolves_the_old_one_once(restarted: bool) -> None:
    #  cap   100        | 500
    #  total   120      | 120  121 …     505
    world = World(limit(100))
    world.usage(120)
    world.state("customer", limit(500))
    if restarted:
        world.restart()
    (resolved,) = world.usage(0, 5)
    assert reported([resolved]) == [RESOLVED]
    assert (resolved.evidence["why"], resolved.evidence["cap"]) == ("rule", "100")
    world.restart()
    assert reported(world.usage(1)) == []
    assert reported(world.usage(384)) == [("limit.exceeded", "firing", "500")]


def test_a_lowered_cap_is_exceeded_by_what_was_used_before() -> None:
    world = World(limit(100, "80%"))
    world.usage(90)
    world.state("customer", limit(50, "80%"))
    found = world.usage(0, 5)
    assert reported(found) == [
        ("limit.resolved", "resolved", "80"), ("limit.threshold", "firing", "40"), ("limit.exceeded", "firing", "50"),
    ]  # fmt: skip
    assert {one.evidence["why"] for one in found} == {"rule"}


def test_a_customer_on_another_plan_leaves_the_conditions_of_the_first() -> None:
    gold, silver = limit(100, scope="plan"), limit(500, scope="plan", scope_id="silver")
    world = World(gold, silver, plans=[PlanVersion("gold")])
    assert reported(world.usage(120)) == [EXCEEDED]
    world.move("silver")
    assert reported(world.usage(0, 5)) == [RESOLVED]
    world.move("gold")
    assert reported(world.usage(0, 5)) == [EXCEEDED]


def test_a_limit_that_is_taken_away_resolves_what_it_said() -> None:
    world = World(limit(100))
    world.usage(120)
    world.state("customer", None)
    assert reported(world.usage(0, 5)) == [RESOLVED]
    assert reported(world.usage(500)) == []


@pytest.mark.parametrize(("first", "missed", "expected"), [
    (50, 70, [EXCEEDED]), (120, -70, [RESOLVED]), (120, 30, []), (50, 20, []),
])  # fmt: skip
def test_what_happened_while_the_limit_was_unknown_is_reported_when_it_is_known(
    first: int, missed: int, expected: list[tuple[str, str, str]]
) -> None:
    world = World(limit(100))
    world.usage(first)
    world.source.revision += 1
    world.outage()
    assert world.usage(missed) + world.usage(0) == []
    world.recovery()
    assert reported(world.usage(0)) == expected


def test_a_limit_whose_end_is_set_says_nothing_until_then() -> None:
    #  cap   100              | 100
    #  total   120  120  121  | 121
    world = World(limit(100, "every 50"))
    world.usage(120)
    world.at_ms += 5
    world.state("customer", limit(100, "every 50"))
    world.source.limits = [
        replace(one, valid_to_ms=JAN + 10**7)
        if one.valid_to_ms <= world.changed_ms
        else replace(one, valid_from_ms=JAN + 10**7)
        for one in world.source.limits
    ]
    assert world.usage(0) + world.usage(1) == []
    world.restart()
    assert world.usage(0) == []
    found = world.usage(0, 10**7)
    assert {one.status for one in found[:3]} == {"resolved"}
    assert reported(found[3:]) == [("limit.exceeded", "firing", "100"), ("limit.threshold", "firing", "100")]


def test_a_cap_that_was_changed_for_the_past_too_is_resolved_and_reported_by_its_new_amount() -> None:
    world = World(limit(100, "50"))
    world.usage(120)
    world.source.limits, world.source.revision = [limit(110, "50")], 2
    # Another cap from the same instant is another version, whose thresholds are reported anew.
    assert reported(world.usage(0)) == [
        RESOLVED, ("limit.resolved", "resolved", "50"),
        ("limit.threshold", "firing", "50"), ("limit.exceeded", "firing", "110"),
    ]  # fmt: skip


def test_the_last_limit_of_a_tenant_that_is_taken_out_of_its_past_too_is_resolved() -> None:
    world = World(limit(100))
    world.usage(120)
    world.source.limits, world.source.revision = [], 2
    assert reported(world.usage(0)) == [RESOLVED]
    assert world.usage(1) == []


def test_usage_and_a_change_of_the_limit_in_one_row_leave_nothing_behind() -> None:
    world = World(limit(10_000, "every 10"))
    world.usage(35)
    world.state("customer", limit(20_000))
    # The void takes away what the ended limit would be measured by.
    assert {one.threshold for one in world.usage(-35, 5)} == {"10", "20", "30"}
    assert world.reported.firing == set()


def test_after_a_change_only_the_highest_step_is_reported_and_each_one_passed_from_then_on() -> None:
    world = World(limit(1_000, "every 10"))
    world.usage(35)
    world.state("customer", limit(2_000, "every 10"))
    firing = [one.threshold for one in world.usage(0, 5) if one.status == "firing"]
    assert (firing, [one.threshold for one in world.usage(20)]) == (["30"], ["40", "50"])


def test_a_later_period_begins_anew() -> None:
    source = Limits([limit(100)])
    watch, state = LimitWatch(source.book(), lambda: 0), Reported()
    watch.prepare([PAIR])
    for start_ms in (JAN, JAN + 7):
        _, found = watch.see(counter(JAN + 8, period_start_ms=start_ms), D(0), D(120))
        assert reported(state.take(found)) == [EXCEEDED]


def test_unknown_limits_are_said_and_none_are_too() -> None:
    source = Limits([limit(100)], away=True)
    watch = LimitWatch(source.book(), lambda: 0)
    watch.prepare([PAIR])
    with pytest.raises(LimitsUnknownError):
        watch.see(counter(), D(0), D(120))
    source.away = False
    watch.prepare([PAIR])
    assert watch.see(counter(tenant="JFK"), D(0), D(120)) == (None, [])
    assert watch.see(counter(meter="other"), D(0), D(120)) == (None, [])
    limit_found, alerts = watch.see(counter(), D(120), D(121))
    assert limit_found == limit(100)
    assert reported(alerts) == [EXCEEDED]


def test_the_counters_that_were_not_used_for_the_longest_time_are_forgotten_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("udfs.limits.watch.MEMORY", 2)
    watch = LimitWatch(Limits([limit(100)]).book(), lambda: 0)
    watch.prepare([PAIR])
    for period_ms in (1, 2, 1, 3):
        watch.see(counter(JAN, period_start_ms=period_ms), D(0), D(1))
    assert [key[-1] for key in watch._memory] == [1, 3]


def test_what_is_evidence_of_a_crossing() -> None:
    #  JAN        +10 min        +20 min     +21 min
    #  0 …10      …40            …90         …101
    source = Limits([limit(100)])
    watch = LimitWatch(source.book(), lambda: 0)
    watch.prepare([PAIR])
    alerts: list[Alert] = []
    for at_ms, before, total, dims in [
        (JAN, 0, 10, ""), (JAN + RECENT_MS, 10, 40, '{"dest":"LAX"}'), (JAN + 2 * RECENT_MS, 40, 90, '{"dest":"SFO"}'),
        (JAN + 2 * RECENT_MS + 60_000, 90, 101, '{"dest":"LAX"}'),
    ]:  # fmt: skip
        alerts += watch.see(counter(at_ms), D(before), D(total), dims)[1]
    (alert,) = alerts
    assert alert.evidence["top_dimensions"] == [
        {"dims": '{"dest":"SFO"}', "value": "50"}, {"dims": '{"dest":"LAX"}', "value": "41"},
    ]  # fmt: skip
    # From 10 min on: 91 in 11 minutes.
    assert alert.evidence["recent_rate_per_hour"] == "496.363636"
    assert (alert.tenant_id, alert.customer_id, alert.evidence["share"]) == (TENANT, CUSTOMER, "1.01")
