"""Which state of a checkpoint has a place in a plan: Flink finds it by the ids of operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kept:
    """An operator of a checkpoint or savepoint that has state.

    Parameters
    ----------
    id:
        32 hexadecimal digits; Flink makes them of the operator's uid, which has its place in the plan and what it does.
    name:
        Its uid and name, as far as the checkpoint has them.
    size_bytes:
        Of its state.
    most:
        Subtasks that its state can be spread over.
    """

    id: str
    name: str
    size_bytes: int
    most: int


def misfits(kept: Sequence[Kept], planned: Mapping[str, str], parallelism: int) -> list[str]:
    """What of the state has no place in a plan, an operator each; empty: all of it can be restored.

    Parameters
    ----------
    kept:
        Operators of the checkpoint.
    planned:
        Names of the operators of the plan by their ids.
    parallelism:
        Subtasks of the plan.
    """
    lost = [f"{one.name or one.id}: the plan has no such operator" for one in kept if one.id not in planned]
    narrow = [one for one in kept if one.id in planned and parallelism > one.most]
    return [
        *lost,
        *(f"{planned[one.id]}: its state can be spread over {one.most}, not {parallelism} subtasks" for one in narrow),
    ]


def begun_anew(kept: Sequence[Kept], stateful: Mapping[str, str]) -> list[str]:
    """Operators of a plan that have state, and none in the checkpoint: they would begin without any."""
    known = {one.id for one in kept}
    return [name for number, name in stateful.items() if number not in known]
