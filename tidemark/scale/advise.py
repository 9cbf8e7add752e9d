"""What parallelism a job needs, from what it does now: how busy it is, what comes in, and what it is behind by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tidemark.scale.room import Room

# A restart, a peak and compaction need the rest (docs/scaling.md).
TARGET_BUSY = 0.6
# A backlog is to be made up for within this.
CATCH_UP_S = 900.0
# Below it a job that reads all there is has shown too little of what it can do.
LEAST_BUSY = 0.05
# A subtask that is full beside others that are not: one key has most of the load.
_FULL, _SKEWED = 0.9, 1.5


@dataclass(frozen=True, slots=True)
class Load:
    """What a job did over some seconds.

    Parameters
    ----------
    busy:
        Part of the time that the subtasks of its busiest operator work, on average; 0 to 1.
    busiest:
        The same of the busiest of these subtasks.
    in_per_s, read_per_s:
        Records a second that came into its topics, and that it read.
    lag:
        Records that it had not read at the end.
    partitions:
        Of the topic it reads.
    """

    busy: float
    busiest: float
    in_per_s: float
    read_per_s: float
    lag: int
    partitions: int


@dataclass(frozen=True, slots=True)
class Advice:
    """A parallelism and a number of partitions, and why."""

    parallelism: int
    partitions: int
    reasons: tuple[str, ...]


def advise(load: Load, room: Room) -> Advice:
    """What a job needs to be busy for TARGET_BUSY of the time, and to make up for its lag within CATCH_UP_S.

    What one subtask can do is what it reads a second, divided by how busy it is. That holds while load is spread evenly
    and nothing outside (Postgres, Redis) is what it waits for.
    """
    if load.read_per_s <= 0 or load.busy < LEAST_BUSY:
        return _unknown(load, room)
    each_per_s = load.read_per_s / load.busy / room.parallelism
    wanted_per_s = load.in_per_s + load.lag / CATCH_UP_S
    needed = max(1, math.ceil(wanted_per_s / (each_per_s * TARGET_BUSY)))
    parallelism = min(needed, room.most, room.parallelism + room.free)
    reasons = _reasons(load, room, each_per_s, needed)
    return Advice(parallelism, partitions_for(parallelism, load.partitions), tuple(reasons))


def partitions_for(parallelism: int, now: int) -> int:
    """As many partitions as there are, or where subtasks would have none, twice the next power of two."""
    return now if now >= parallelism else 2 * (1 << (parallelism - 1).bit_length())


def _unknown(load: Load, room: Room) -> Advice:
    if load.lag and not load.read_per_s:
        why = f"it reads nothing, and is {load.lag:,} records behind: see its state before anything else"
    else:
        why = f"it is busy {load.busy:.0%} of the time: too little to say what it can do"
    parallelism = room.parallelism if load.lag else 1
    return Advice(parallelism, partitions_for(parallelism, load.partitions), (why,))


def _reasons(load: Load, room: Room, each_per_s: float, needed: int) -> Sequence[str]:
    behind = f", {load.lag:,} records behind" if load.lag else ""
    rates = f"reads {load.read_per_s:,.0f}/s of {load.in_per_s:,.0f}/s{behind}"
    lines = [f"busy {load.busy:.0%}, {rates}: a subtask can do {each_per_s:,.0f}/s"]
    if load.busiest >= _FULL and load.busiest >= load.busy * _SKEWED:
        lines.append(f"one subtask is busy {load.busiest:.0%}: more of them do not help a key that has most events")
    if needed > room.most:
        lines.append(f"{needed} are needed, and its state can be spread over {room.most}")
    elif needed > room.parallelism + room.free:
        lines.append(f"{needed} are needed: start TaskManagers with {needed - room.parallelism - room.free} more slots")
    return lines
