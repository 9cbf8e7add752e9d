"""Settings that give a job other operators are those that `submit` never lets state be restored across."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.flink.bounds import Bounds
from jobs.flink.shape import BOUNDED, SHAPING
from jobs.meter import job as meter
from jobs.rollup import job as rollup
from tests.flink.environment import new_environment
from tidemark.core.settings import Settings, flat
from tidemark.core.settings.section import Section

PLANS = {"meter": meter.plan, "rollup": rollup.plan}


def operators(job: str, settings: Settings, bounds: Bounds) -> list[Any]:
    """What Flink finds the state of a plan by: its operators in their order, and the names of their states."""
    plan = PLANS[job](new_environment(), settings, bounds)
    return [(node["type"], [state["name"] for state in node.get("state", [])]) for node in plan["nodes"]]


def read_by(job: str) -> set[str]:
    """Settings of sections that the plan of a job is made with, by dotted name."""
    read = set()
    section_of = {type(section): name for name, section in Settings()}

    def watched(section: Section, name: str) -> Any:
        if name in type(section).model_fields:
            read.add(f"{section_of[type(section)]}.{name}")
        return object.__getattribute__(section, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Section, "__getattribute__", watched)
        operators(job, Settings(), Bounds())
    return read


def other(value: Any) -> Any:
    return not value if isinstance(value, bool) else value + 1


@pytest.mark.parametrize("job", PLANS)
def test_a_setting_that_changes_the_operators_cannot_be_accepted(job: str) -> None:
    settings = Settings()
    usual = operators(job, settings, Bounds())
    values = flat(settings.model_dump())
    names = [name for name in sorted(read_by(job)) if isinstance(values[name], int)]
    assert len(names) > 5
    parallelism = f"{job}.parallelism"
    changed = {
        name
        for name in names
        if name != parallelism and operators(job, settings.with_changes({name: other(values[name])}), Bounds()) != usual
    }
    changed |= {BOUNDED} if operators(job, settings, Bounds(end="latest")) != usual else set()
    refused = {item.setting for item in SHAPING[job] if not item.acceptable}
    assert changed == refused - {parallelism, "topics.events"}
