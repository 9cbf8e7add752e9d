"""Alarms over tenants: when they begin, that they end a quiet hour after and not before, that they never flap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.core.settings import Settings
from tidemark.quotas import daemon as watch
from tidemark.quotas.rules import MAX_HOURS, NEWS_DIVISOR, QUIET, RULES, Alarm, Decision, Reading, decide
from tidemark.quotas.store import Stored
from udfs.alerts.pipeline import Rule

BOUNDS: dict[Rule, int] = {"tenant_volume": 1_000, "tenant_series": 100, "tenant_unique": 50}
TEN = datetime(2013, 1, 1, 10, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def volume(value: int, hour: datetime = TEN, tenant: str = "EWR") -> Reading:
    return Reading(tenant, "tenant_volume", value, hour)


def values(count: int) -> Reading:
    return Reading("EWR", "tenant_unique", count)


def applied(alarms: Iterable[Alarm], decision: Decision) -> list[Alarm]:
    """The table after a decision."""
    table = {(alarm.tenant, alarm.rule, alarm.since): alarm for alarm in alarms}
    for alarm in (*decision.begun, *decision.grown, *decision.ended):
        table[alarm.tenant, alarm.rule, alarm.since] = alarm
    return list(table.values())


def story_of(steps: Sequence[tuple[datetime, Sequence[Reading]]], bounds: dict[Rule, int] = BOUNDS) -> list[str]:
    """What each pass decides: `+` starts, `~` grows, `-` ends, `.` nothing; one character per changed alarm."""
    alarms: list[Alarm] = []
    story = []
    for now, readings in steps:
        decision = decide(readings, alarms, bounds, now)
        changes = "+" * len(decision.begun) + "~" * len(decision.grown) + "-" * len(decision.ended)
        story.append(changes or ".")
        alarms = applied(alarms, decision)
    return story


@pytest.mark.parametrize(("value", "begins"), [(999, False), (1_000, False), (1_001, True)])
def test_an_alarm_begins_above_the_bound_and_not_at_it(value: int, begins: bool) -> None:
    assert bool(decide([volume(value)], [], BOUNDS, TEN).begun) is begins


def test_an_alarm_has_tenant_bound_and_the_worst_hour() -> None:
    (alarm,) = decide([volume(1_200), volume(1_500, TEN + HOUR), volume(10)], [], BOUNDS, TEN).begun
    assert alarm == Alarm("EWR", "tenant_volume", TEN, 1_000, 1_500, TEN + HOUR, TEN, alarm.hours)
    assert alarm.hours == {TEN: 1_200, TEN + HOUR: 1_500}


def test_the_order_of_rows_does_not_decide_which_hour_is_the_worst() -> None:
    rows = [volume(1_500, TEN + HOUR), volume(1_500)]
    assert [decide(order, [], BOUNDS, TEN).begun[0].hour for order in (rows, rows[::-1])] == [TEN, TEN]


def test_each_tenant_and_rule_has_an_alarm_of_its_own() -> None:
    rows = [volume(2_000), volume(2_000, tenant="JFK"), Reading("EWR", "tenant_series", 101, TEN), values(51)]
    begun = decide(rows, [], BOUNDS, TEN).begun
    assert {(alarm.tenant, alarm.rule) for alarm in begun} == {
        ("EWR", "tenant_volume"), ("EWR", "tenant_series"), ("EWR", "tenant_unique"), ("JFK", "tenant_volume"),
    }  # fmt: skip


def test_one_tenant_never_ends_or_grows_the_alarm_of_another() -> None:
    alarms = applied([], decide([volume(2_000)], [], BOUNDS, TEN))
    decision = decide([volume(9_000, tenant="JFK")], alarms, BOUNDS, TEN + MINUTE)
    assert [alarm.tenant for alarm in decision.begun] == ["JFK"]
    assert (decision.grown, decision.ended) == ((), ())


def test_an_alarm_ends_a_whole_quiet_hour_after_it_was_news_and_not_before() -> None:
    #  10:00 over   10:59:59 nothing   11:00 ends
    second = timedelta(seconds=1)
    assert story_of([(TEN, [volume(2_000)]), (TEN + HOUR - second, []), (TEN + HOUR, []), (TEN + 2 * HOUR, [])]) == [
        "+", ".", "-", ".",
    ]  # fmt: skip


def test_a_flood_over_many_hours_is_one_alarm() -> None:
    steps = [(TEN + n * HOUR + 59 * MINUTE, [volume(5_000, TEN + n * HOUR)]) for n in range(24)]
    assert story_of(steps) == ["+"] + ["~"] * 23


def test_stragglers_of_an_hour_neither_keep_the_alarm_nor_start_it_again() -> None:
    #  10:00 over, then one late event every half hour, as long as grace lasts
    steps = [(TEN + n * HOUR / 2, [volume(2_000 + n)]) for n in range(10)]
    assert story_of(steps) == ["+", ".", "-", *["."] * 7]


def test_a_second_flood_into_the_same_hour_begins_anew() -> None:
    steps = [(TEN, [volume(2_000)]), (TEN + HOUR, []), (TEN + 2 * HOUR, [volume(4_000)])]
    assert story_of(steps) == ["+", "-", "+"]


def test_a_trickle_is_news_once_it_has_grown_by_a_hundredth_of_the_bound() -> None:
    step = BOUNDS["tenant_volume"] // NEWS_DIVISOR
    steps = [(TEN, [volume(2_000)]), (TEN + MINUTE, [volume(2_000 + step)]), (TEN + HOUR, [volume(2_001 + step)])]
    assert story_of(steps) == ["+", ".", "~"]


def test_unique_values_fire_as_long_as_they_are_stored_and_end_an_hour_after_the_period() -> None:
    #  10:00 - 12:30 held    13:00 the period has ended    13:30 ends
    steps = [(TEN + n * HOUR / 2, [values(60)]) for n in range(6)]
    assert story_of([*steps, (TEN + 3 * HOUR, [values(3)]), (TEN + 3.5 * HOUR, [])]) == ["+", *["~"] * 5, ".", "-"]


def test_values_that_go_up_and_down_around_the_bound_are_one_alarm() -> None:
    steps = [(TEN + n * MINUTE, [values(50 + n % 2)]) for n in range(240)]
    assert story_of(steps).count("+") == 1


def test_a_raised_bound_ends_the_alarm_after_the_hour() -> None:
    alarms = applied([], decide([volume(2_000)], [], BOUNDS, TEN))
    higher = {**BOUNDS, "tenant_volume": 10_000}
    assert decide([volume(2_500)], alarms, higher, TEN + MINUTE) == Decision((), (), ())
    assert len(decide([volume(2_500)], alarms, higher, TEN + HOUR).ended) == 1


def test_growth_keeps_the_greatest_value_and_its_hour() -> None:
    alarms = applied([], decide([volume(3_000)], [], BOUNDS, TEN))
    (grown,) = decide([volume(2_000, TEN + HOUR)], alarms, BOUNDS, TEN + MINUTE).grown
    assert (grown.value, grown.hour, grown.since, grown.seen_at) == (3_000, TEN, TEN, TEN + MINUTE)
    assert grown.hours == {TEN: 3_000, TEN + HOUR: 2_000}


def test_an_alarm_that_lasts_for_months_remembers_the_latest_hours_only() -> None:
    alarms = applied([], decide([volume(2_000, TEN + n * HOUR) for n in range(MAX_HOURS)], [], BOUNDS, TEN))
    (grown,) = decide([volume(2_000, TEN + MAX_HOURS * HOUR)], alarms, BOUNDS, TEN + MINUTE).grown
    assert (len(grown.hours), min(grown.hours)) == (MAX_HOURS, TEN + HOUR)


@given(
    st.lists(st.tuples(st.integers(1, 90), st.integers(0, 5), st.integers(0, 700)), max_size=60),
    st.lists(st.integers(0, 100), max_size=60),
)
def test_alarms_start_and_end_in_order_and_never_early(sent: list[tuple[int, int, int]], levels: list[int]) -> None:
    now, alarms, totals = TEN, [], dict.fromkeys(range(6), 0)
    over_at: dict[str, datetime] = {}
    for number, (minutes, hour, amount) in enumerate(sent):
        now += minutes * MINUTE
        totals[hour] += amount
        level = levels[number] if number < len(levels) else 0
        decision = decide([volume(totals[hour], TEN + hour * HOUR), values(level)], alarms, BOUNDS, now)
        alarms = applied(alarms, decision)
        if level > BOUNDS["tenant_unique"]:
            over_at["tenant_unique"] = now
        for rule in RULES:
            running = [alarm for alarm in alarms if alarm.rule == rule and alarm.resolved_at is None]
            assert len(running) <= 1
        assert all(alarm.resolved_at is None or alarm.resolved_at - alarm.seen_at >= QUIET for alarm in alarms)
        unique = any(alarm.rule == "tenant_unique" and alarm.resolved_at is None for alarm in alarms)
        assert unique == ("tenant_unique" in over_at and now - over_at["tenant_unique"] < QUIET)
    flooded = {TEN + hour * HOUR for hour, total in totals.items() if total > BOUNDS["tenant_volume"]}
    assert flooded == {hour for alarm in alarms for hour in alarm.hours}, "no hour over the bound goes unseen"


@given(st.lists(st.integers(1_001, 100_000), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_a_decision_does_not_depend_on_the_order_of_rows(sizes: list[int], rng: object) -> None:
    rows = [volume(size, TEN + n * HOUR, tenant=f"t{n % 3}") for n, size in enumerate(sizes)]
    shuffled = list(rows)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert decide(shuffled, [], BOUNDS, TEN) == decide(rows, [], BOUNDS, TEN)


ALARM = Alarm("EWR", "tenant_volume", TEN, 1_000, 1_500, TEN, TEN, {TEN: 1_500})
SHOWN = {"tenant_id": "EWR", "value": 1_500, "bound": 1_000, "hour": "2013-01-01T10:00:00Z"}


def test_an_alarm_that_was_not_announced_and_has_ended_sends_both_in_order() -> None:
    ended = replace(ALARM, resolved_at=TEN + HOUR)
    statuses = [status for _, status, _ in watch.alerts_of(Settings(), Stored(ended, SHOWN, announced=False))]
    assert statuses == ["firing", "resolved"]
    assert [status for _, status, _ in watch.alerts_of(Settings(), Stored(ended, SHOWN, announced=True))] == [
        "resolved"
    ]


def test_the_alert_of_a_beginning_is_the_same_text_whatever_happened_since() -> None:
    #  sent, crash before that was stored, grown and ended meanwhile, sent again
    first = watch.alerts_of(Settings(), Stored(ALARM, SHOWN, announced=False))[0]
    later = replace(ALARM, value=9_000, seen_at=TEN + MINUTE, resolved_at=TEN + 2 * HOUR)
    assert watch.alerts_of(Settings(), Stored(later, SHOWN, announced=False))[0][2] == first[2]


def test_alerts_of_other_tenants_rules_times_and_runs_have_other_ids() -> None:
    alarms = [
        ALARM,
        replace(ALARM, tenant="JFK"),
        replace(ALARM, rule="tenant_series"),
        replace(ALARM, since=TEN + timedelta(microseconds=1)),
    ]
    texts = {
        watch.alerts_of(Settings(), Stored(alarm, SHOWN, announced=False))[0][2].split('"id":"')[1][:36]
        for alarm in alarms
    }
    other_run = watch.alerts_of(Settings(run_id="other"), Stored(ALARM, SHOWN, announced=False))[0][2]
    assert len(texts | {other_run.split('"id":"')[1][:36]}) == 5


def test_ranks_show_all_that_are_over_and_the_biggest_of_the_rest() -> None:
    rows = [volume(10 * n, tenant=f"t{n}") for n in range(1, 8)]
    rows += [volume(5_000 + n, TEN + n * HOUR, tenant="big") for n in range(3)]
    ranks = watch.ranks(rows, BOUNDS, top=2)
    assert [(s.tenant_id, s.value, s.over, s.hour) for s in ranks] == [
        ("big", 5_002, True, "2013-01-01T12:00:00Z"),
        ("t7", 70, False, "2013-01-01T10:00:00Z"),
    ]
    assert [s.tenant_id for s in watch.ranks(rows, {"tenant_volume": 49}, top=1)] == ["big", "t7", "t6", "t5"]
