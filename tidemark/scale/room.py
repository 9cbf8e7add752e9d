"""How far a job can be spread: over the subtasks that its state allows and the slots that Flink has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidemark.core.errors import UsageError


@dataclass(frozen=True, slots=True)
class Room:
    """What a running job has, and may have.

    Parameters
    ----------
    parallelism:
        Subtasks of its widest operator, which is how many slots it has.
    most:
        Subtasks that its state can be spread over, for the life of that state.
    free:
        Slots that no job has.
    """

    parallelism: int
    most: int
    free: int


def room_of(details: Mapping[str, Any], overview: Mapping[str, Any]) -> Room:
    """The room of a job, by Flink's answers about the job and about the cluster."""
    vertices = details["vertices"]
    return Room(
        parallelism=max(int(one["parallelism"]) for one in vertices),
        most=min(int(one["maxParallelism"]) for one in vertices),
        free=int(overview["slots-available"]),
    )


def refuse(job: str, room: Room, wanted: int) -> None:
    """Refuse a parallelism that a job cannot have.

    Raises
    ------
    UsageError
        Its state cannot be spread so far, or there are not enough slots.
    """
    if wanted > room.most:
        raise UsageError(
            f"parallelism {wanted} of {job} is more than {room.most}, over which Flink can spread its state.",
            f"take at most {room.most}; a state that can be spread further is made by a replay of its own.",
        )
    slots = room.parallelism + room.free
    if wanted > slots:
        raise UsageError(
            f"parallelism {wanted} of {job} needs {wanted} slots: it has {room.parallelism}, and {room.free} are free.",
            f"start TaskManagers with {wanted - slots} more, or take at most {slots}.",
        )
