"""Reads what a deployment has, for the plan of its upgrade; changes nothing."""

from __future__ import annotations

from jobs.flink.bounds import Bounds
from jobs.flink.positions import sources
from jobs.flink.restore import latest
from jobs.flink.shape import changes
from jobs.flink.submit import ALL_JOBS
from jobs.flink.submitted import recorded, values
from jobs.upgrade.inspect import inspect
from tidemark.core import migrate, postgres
from tidemark.core.kafka import committed_offsets, end_offsets, offsets_at
from tidemark.core.settings import Settings
from tidemark.replay.active import active_run
from tidemark.upgrade.plan import JobState, Plan, plan


def read(settings: Settings, events_per_s: float) -> Plan:
    """The plan of an upgrade of a deployment to the version of this checkout, of the jobs that feed open periods now.

    Raises
    ------
    TidemarkError
        The database was made by another version, or a plan or a checkpoint cannot be read.
    UnlistedError
        State is on a file system that this machine cannot read.
    UnavailableError
        Postgres, Kafka or a store does not answer.
    """
    with postgres.connect(settings.postgres.ops) as connection:
        missing = migrate.missing(connection, settings)
    run = active_run(settings)
    found = {job: latest(run, run.names.job(job)) for job in ALL_JOBS}
    states = {job: point.path for job, point in found.items() if point}
    seen = inspect(run, states) if states else {}
    jobs = [
        JobState(
            job, states[job], seen[job].size_bytes, _changed(run, job, states[job]), seen[job].misfits,
            _behind(run, job),
        )
        if job in states
        else JobState(job)
        for job in ALL_JOBS
    ]  # fmt: skip
    return plan(run.run_id, missing, jobs, _records(run), events_per_s)


def _changed(settings: Settings, job: str, state: str) -> tuple[str, ...]:
    then = recorded(settings, job, state) or {}
    return tuple(str(one) for one in changes(job, then, values(settings, job, Bounds())))


def _behind(settings: Settings, job: str) -> int:
    groups = {topic: group for group, topic in sources(settings, job)}
    return sum(_behind_in(settings, group, topic) for topic, group in groups.items())


def _behind_in(settings: Settings, group: str, topic: str) -> int:
    done = committed_offsets(settings.kafka, settings.names.group(group), topic)
    ends = end_offsets(settings.kafka, topic, "read_committed")
    return sum(max(0, end - done[part]) for part, end in ends.items() if part in done)


def _records(settings: Settings) -> int:
    topic = settings.topics.events
    begins = offsets_at(settings.kafka, topic, None)
    return sum(end - begins.get(part, 0) for part, end in end_offsets(settings.kafka, topic).items())
