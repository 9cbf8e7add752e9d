"""Alarms begin once and end once, after their finding has held; what is unknown changes nothing."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from tidemark.health.rules import Finding, Key
from tidemark.health.transitions import decide

KEY: Key = ("job_down", "rollup")


def finding(bad: bool, hold_s: float = 30) -> Finding:
    return Finding(*KEY, bad, "rollup is FAILED", value=0, threshold=1, hold_s=hold_s, evidence={})


class Alarms:
    """The alarm of one key, as it is stored."""

    def __init__(self) -> None:
        self.firing: set[Key] = set()
        self.since: Mapping[Key, float] = {}
        self.changes: list[tuple[float, str]] = []

    def see(self, now: float, *findings: Finding, expected: bool = True) -> None:
        decision = decide(findings, {KEY} if expected else set(), self.firing, self.since, now)
        self.since = decision.since
        for one in decision.begun:
            assert one.key not in self.firing
            self.firing.add(one.key)
            self.changes.append((now, "begun"))
        for key in decision.ended:
            self.firing.remove(key)
            self.changes.append((now, "ended"))


def test_an_alarm_begins_when_its_finding_has_held_and_ends_in_the_same_way() -> None:
    # bad:    10 ────────────── 50      good: 50 ────────────
    # alarm:             40 ────────────────────── 80
    alarms = Alarms()
    for now in range(0, 101, 5):
        alarms.see(now, finding(10 <= now < 50))
    assert alarms.changes == [(40, "begun"), (80, "ended")]


def test_what_is_over_before_it_has_held_is_no_alarm() -> None:
    alarms = Alarms()
    for now in range(0, 200, 5):
        alarms.see(now, finding(now % 30 < 25))
    assert alarms.changes == []


def test_without_a_hold_it_begins_and_ends_at_once() -> None:
    alarms = Alarms()
    for now, bad in ((0, True), (1, True), (2, False), (3, False)):
        alarms.see(now, finding(bad, hold_s=0))
    assert alarms.changes == [(0, "begun"), (2, "ended")]


def test_what_is_unknown_for_a_while_keeps_the_time_since_when() -> None:
    alarms = Alarms()
    alarms.see(0, finding(True))
    alarms.see(15)
    alarms.see(30, finding(True))
    assert alarms.changes == [(30, "begun")]
    alarms.see(60)
    assert alarms.firing == {KEY}


def test_an_alarm_about_what_nobody_expects_any_more_ends() -> None:
    alarms = Alarms()
    alarms.firing = {KEY}
    alarms.see(0, expected=False)
    assert alarms.changes == [(0, "ended")]


STEPS = st.lists(st.tuples(st.integers(1, 40), st.sampled_from([True, False, None])), max_size=60)


@given(STEPS, st.sampled_from([0, 30]))
def test_begins_and_ends_alternate_and_each_has_held(steps: list[tuple[int, bool | None]], hold_s: int) -> None:
    alarms, now, history = Alarms(), 0.0, []
    for pause, bad in steps:
        now += pause
        history.append((now, bad))
        alarms.see(now, *([] if bad is None else [finding(bad, hold_s)]))
    assert [what for _, what in alarms.changes] == ["begun", "ended"] * (len(alarms.changes) // 2) + ["begun"] * (
        len(alarms.changes) % 2
    )
    for at, what in alarms.changes:
        contrary = [seen for seen, bad in history if seen <= at and bad is not None and bad != (what == "begun")]
        last_contrary = max(contrary, default=float("-inf"))
        first = min(seen for seen, bad in history if last_contrary < seen and bad == (what == "begun"))
        assert at - first >= hold_s
