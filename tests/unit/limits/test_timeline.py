"""Which limit holds when: stretches tile all time and agree with the rule applied to single instants."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.limits.limit_parts import limit, limit_at
from udfs.limits.rule import SCOPES, Limit
from udfs.limits.timeline import CustomerRules, PlanVersion, Stretch, plan_at, stretch_at, superseded, timeline
from udfs.meters.meter import BEGINNING_MS, FOREVER_MS

SAMPLED = (BEGINNING_MS, *range(-1, 22), FOREVER_MS - 1)


@st.composite
def versions(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Half-open ranges of one row, ascending, some with gaps between them, over instants 0 to 20 and beyond."""
    cuts = [BEGINNING_MS, *sorted(draw(st.sets(st.integers(0, 20), max_size=4))), FOREVER_MS]
    return [pair for pair in pairwise(cuts) if draw(st.booleans())]


@st.composite
def limits_of(draw: st.DrawFn, scope: str, scope_id: str, meter: str = "miles") -> list[Limit]:
    made = [(draw(st.integers(0, 3)), *span) for span in draw(versions())]
    return [
        limit(cap, scope=scope, scope_id=scope_id, meter=meter, valid_from_ms=start, valid_to_ms=end)  # type: ignore[arg-type]
        for cap, start, end in made
    ]


shared_limits = st.tuples(
    limits_of("tenant", ""), limits_of("plan", "gold"), limits_of("plan", "free"), limits_of("tenant", "", "other")
).map(lambda parts: [one for part in parts for one in part])
plan_versions = versions().flatmap(
    lambda spans: st.tuples(*(st.sampled_from(["gold", "free", None]) for _ in spans)).map(
        lambda plans: [PlanVersion(plan, *span) for plan, span in zip(plans, spans, strict=True)]
    )
)
rules = st.builds(CustomerRules, plan_versions, limits_of("customer", "UA"))


def held(shared: list[Limit], own: CustomerRules, at_ms: int) -> Limit | None:
    """The rule for one instant, by looking at every version."""
    (plan,) = [one.plan for one in own.plans if one.valid_from_ms <= at_ms < one.valid_to_ms] or [None]
    wanted = {"customer": "UA", "plan": plan, "tenant": ""}
    for scope in SCOPES:
        for one in (*shared, *own.limits):
            named = (one.meter, one.scope, one.scope_id) == ("miles", scope, wanted[scope])
            if named and one.valid_from_ms <= at_ms < one.valid_to_ms:
                return one
    return None


@given(shared_limits, rules)
def test_stretches_tile_all_time_and_neighbours_differ(shared: list[Limit], own: CustomerRules) -> None:
    found = timeline("miles", shared, own)
    assert (found[0].start_ms, found[-1].end_ms) == (BEGINNING_MS, FOREVER_MS)
    assert all(one.start_ms < one.end_ms for one in found)
    assert all(left.end_ms == right.start_ms and left.limit != right.limit for left, right in pairwise(found))


@given(shared_limits, rules)
def test_at_every_instant_the_most_specific_limit_that_holds_then_wins(shared: list[Limit], own: CustomerRules) -> None:
    found = timeline("miles", shared, own)
    assert {at: limit_at(found, at) for at in SAMPLED} == {at: held(shared, own, at) for at in SAMPLED}
    assert all(stretch_at(found, at).limit == limit_at(found, at) for at in SAMPLED)


@given(shared_limits, rules, st.integers(-1, 20), st.integers(0, 22))
def test_superseded_are_the_earlier_limits_of_the_period_each_once_oldest_first(
    shared: list[Limit], own: CustomerRules, start_ms: int, length_ms: int
) -> None:
    at_ms = start_ms + length_ms
    seen = [held(shared, own, instant) for instant in range(start_ms, at_ms + 1)]
    earlier = [one for one in dict.fromkeys(seen) if one is not None and one != seen[-1]]
    assert superseded(timeline("miles", shared, own), start_ms, at_ms) == earlier


def test_a_customer_between_plans_and_with_a_limit_of_its_own_for_a_while() -> None:
    #  plan      gold        | free       | none
    #  own                        |--|
    #            ------------10---15-17---20------->
    gold, free = limit(1, scope="plan"), limit(2, scope="plan", scope_id="free")
    own = limit(3, valid_from_ms=15, valid_to_ms=17)
    plans = [PlanVersion("gold", BEGINNING_MS, 10), PlanVersion("free", 10, 20)]
    found = timeline("miles", [gold, free], CustomerRules(plans, [own]))
    assert found == (
        Stretch(BEGINNING_MS, 10, gold), Stretch(10, 15, free), Stretch(15, 17, own), Stretch(17, 20, free),
        Stretch(20, FOREVER_MS, None),
    )  # fmt: skip
    assert superseded(found, 0, 18) == [gold, own]
    assert superseded(found, 10, 18) == [own]
    assert superseded(found, 0, 25) == [gold, free, own]
    assert [plan_at(plans, at) for at in (9, 10, 20)] == ["gold", "free", None]


def test_a_limit_that_was_cut_where_the_same_one_follows_is_one_version_each() -> None:
    first, second = limit(5, valid_to_ms=10), limit(5, valid_from_ms=10)
    found = timeline("miles", [], CustomerRules((), [first, second]))
    assert [one.limit for one in found] == [first, second]
    assert first.version != second.version


def test_without_any_limit_there_is_one_stretch_of_none() -> None:
    assert timeline("miles", [limit(1, meter="other")], CustomerRules()) == (Stretch(BEGINNING_MS, FOREVER_MS, None),)
