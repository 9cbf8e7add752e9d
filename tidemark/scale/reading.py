"""Measures what a running job does, for advice about its parallelism."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from jobs.flink.positions import sources
from jobs.flink.rest import FlinkRest
from tidemark.core.kafka import committed_offsets, end_offsets
from tidemark.core.settings import Settings
from tidemark.scale.advise import Advice, Load, advise
from tidemark.scale.room import room_of


@dataclass(frozen=True, slots=True)
class Advised:
    """A running job with what it has, what it did, and what it needs."""

    job: str
    parallelism: int
    load: Load
    advice: Advice


@dataclass(frozen=True, slots=True)
class _Sample:
    at_s: float
    ends: int
    read: int


def advised(settings: Settings, job: str, over_s: float) -> Advised | None:
    """Measure a job for some seconds; None where it does not run.

    Raises
    ------
    UnavailableError
        Flink or Kafka does not answer.
    """
    rest = FlinkRest(settings.flink)
    running = rest.active(settings.names.job(job))
    if running is None:
        return None
    before = _sample(settings, job)
    time.sleep(over_s)
    after = _sample(settings, job)
    details = rest.details(running.id)
    busy = [rest.busy(running.id, vertex["id"]) for vertex in details["vertices"]]
    room = room_of(details, rest.overview())
    load = _load(before, after, max(busy, default=(0.0, 0.0)), _partitions(settings, job))
    return Advised(job, room.parallelism, load, advise(load, room))


def _load(before: _Sample, after: _Sample, busy: tuple[float, float], partitions: int) -> Load:
    seconds = after.at_s - before.at_s
    return Load(
        busy=busy[0],
        busiest=busy[1],
        in_per_s=(after.ends - before.ends) / seconds,
        read_per_s=(after.read - before.read) / seconds,
        lag=max(0, after.ends - after.read),
        partitions=partitions,
    )


def _sample(settings: Settings, job: str) -> _Sample:
    """Ends of the topics and what is read of them; what a checkpoint has not committed counts as not read."""
    found = [_ends_and_read(settings, group, topic) for topic, group in _groups(settings, job).items()]
    return _Sample(time.monotonic(), sum(ends for ends, _ in found), sum(read for _, read in found))


def _groups(settings: Settings, job: str) -> dict[str, str]:
    """A group of each topic: where a job reads one twice, both are as far."""
    return {topic: group for group, topic in sources(settings, job)}


def _ends_and_read(settings: Settings, group: str, topic: str) -> tuple[int, int]:
    ends = end_offsets(settings.kafka, topic, "read_committed")
    done = committed_offsets(settings.kafka, settings.names.group(group), topic)
    return sum(ends.values()), _read(ends, done)


def _read(ends: Mapping[int, int], done: Mapping[int, int]) -> int:
    return sum(min(done.get(part, 0), end) for part, end in ends.items())


def _partitions(settings: Settings, job: str) -> int:
    return len(end_offsets(settings.kafka, next(iter(_groups(settings, job)))))
