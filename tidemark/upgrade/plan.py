"""What this version does to a deployment: which jobs go on from their state, which need a replay, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# Stopping behind a savepoint, a Flink client and the first checkpoint, as measured in the drills; then what a
# TaskManager reads of its state a second.
_RESTART_S, _STATE_BYTES_PER_S = 45.0, 100e6

Way = Literal["start", "restore", "replay"]


@dataclass(frozen=True, slots=True)
class JobState:
    """What is known of a job before it is upgraded.

    Parameters
    ----------
    job:
        Its name.
    state:
        Newest checkpoint or savepoint; empty where there is none.
    size_bytes:
        Of that state.
    changed:
        Settings that shape the state and differ, each with both values.
    misfits:
        Operators whose state has no place in the plan of this version.
    behind:
        Records that it has not read.
    """

    job: str
    state: str = ""
    size_bytes: int = 0
    changed: tuple[str, ...] = ()
    misfits: tuple[str, ...] = ()
    behind: int = 0


@dataclass(frozen=True, slots=True)
class JobPlan:
    """How a job comes to this version, why so, and about how long nothing is counted (restore) or rebuilt (replay)."""

    job: str
    way: Way
    reasons: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """The run whose jobs feed open periods, migrations to apply first, each `schema: name`, and the jobs."""

    run_id: str
    migrations: tuple[str, ...]
    jobs: tuple[JobPlan, ...]

    @property
    def replays(self) -> bool:
        """Whether any job cannot go on from its state."""
        return any(one.way == "replay" for one in self.jobs)


def plan(run_id: str, migrations: Sequence[str], states: Sequence[JobState], records: int, events_per_s: float) -> Plan:
    """The plan of an upgrade.

    Parameters
    ----------
    run_id:
        Of the jobs.
    migrations:
        Those that are not applied.
    states:
        The jobs.
    records:
        Of the events topic, which a replay reads.
    events_per_s:
        What the jobs work off a second: stated, not measured.
    """
    return Plan(run_id, tuple(migrations), tuple(_of(one, records, events_per_s) for one in states))


def _of(one: JobState, records: int, events_per_s: float) -> JobPlan:
    if not one.state:
        return JobPlan(one.job, "start", ("it has no state",), _RESTART_S + one.behind / events_per_s)
    reasons = one.misfits + one.changed
    if reasons:
        return JobPlan(one.job, "replay", reasons, _RESTART_S + records / events_per_s)
    away_s = _RESTART_S + one.size_bytes / _STATE_BYTES_PER_S
    return JobPlan(one.job, "restore", (), away_s + one.behind / events_per_s)
