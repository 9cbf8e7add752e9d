"""State of the last release has a place in the plans of this version; where it has none, the operator is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.flink.bounds import Bounds
from jobs.flink.submit import ALL_JOBS
from jobs.meter import job as meter
from jobs.upgrade.fit import misfits
from jobs.upgrade.operators import of_checkpoint, of_plan
from jobs.upgrade.plans import operators
from tests.flink.environment import new_environment
from tidemark.core.settings import Settings

SAVEPOINTS = Path(__file__).parent / "savepoints"


def faults(job: str, settings: Settings) -> list[str]:
    return misfits(of_checkpoint(SAVEPOINTS / job / "_metadata"), operators(job, settings), 1)


@pytest.mark.parametrize("job", ALL_JOBS)
def test_the_state_of_the_last_release_fits_the_present_plan(job: str) -> None:
    kept = of_checkpoint(SAVEPOINTS / job / "_metadata")
    assert len(kept) > 3
    assert sum(one.size_bytes for one in kept) > 10_000
    assert faults(job, Settings()) == []


@pytest.mark.parametrize(
    ("job", "change"), [("rollup", {"rollup.customer_windows": False}), ("anomaly", {"anomaly.clock": False})]
)
def test_a_plan_with_other_operators_is_found_and_the_state_without_a_place_is_named(
    job: str, change: dict[str, bool]
) -> None:
    found = faults(job, Settings().with_changes(change))
    assert any("_global-window-aggregate" in one and "the plan has no such operator" in one for one in found)


def test_an_operator_more_moves_those_after_it_and_their_state_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "SINKS", ("deltas", "dlq", "alerts"))
    env = new_environment()
    planned = of_plan(env, meter.plan(env, Settings(), Bounds()))
    assert misfits(of_checkpoint(SAVEPOINTS / "meter" / "_metadata"), planned, 1) != []


def test_more_subtasks_than_the_state_can_be_spread_over_are_found() -> None:
    kept = of_checkpoint(SAVEPOINTS / "meter" / "_metadata")
    assert {one.most for one in kept} == {128}
    assert len(misfits(kept, operators("meter", Settings()), 129)) == len(kept)
