"""The equation of the log: what came in of a partition is what was counted, what was a copy, and what was rejected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from tidemark.reconcile.findings import Finding


class Place(NamedTuple):
    """A partition of a source topic."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What a partition holds by the independent recomputation.

    Parameters
    ----------
    accepted:
        Records that were counted, or are copies of one that was.
    least, most:
        How many of them the jobs may have counted. Equal, unless copies of one event lie in several partitions (nobody
        knows which was read first), or records came in while this was looked at.
    rejected:
        Records that have to be in the dead letters, of those before the offset that is settled.
    """

    accepted: int
    least: int
    most: int
    rejected: int


def equation(
    recomputed: Mapping[Place, Recomputed],
    total: tuple[int, int],
    counted: Mapping[Place, int],
    dead: Mapping[Place, int],
) -> list[Finding]:
    """Partitions in which records are lost or counted twice; empty when every record is accounted for.

    Parameters
    ----------
    recomputed:
        By partition.
    total:
        Least and most events that may have been counted, over all partitions: equal when nothing moves.
    counted:
        Events in the deltas, by the partition they came from.
    dead:
        Dead letters by the partition they came from, of records before the offset that is settled.
    """
    found = []
    for place in sorted({*recomputed, *counted, *dead}):
        own = recomputed.get(place, Recomputed(0, 0, 0, 0))
        if finding := _of_place(place, own, counted.get(place, 0), dead.get(place, 0)):
            found.append(finding)
    everywhere = sum(counted.values())
    off = outside(everywhere, *total)
    if off:
        expected = f"counted {everywhere - off} in all partitions"
        found.append(Finding({"partitions": "all"}, expected, f"counted {everywhere}", Decimal(off)))
    return found


def _of_place(place: Place, own: Recomputed, counted: int, dead: int) -> Finding | None:
    too_many, dead_off = outside(counted, own.least, own.most), dead - own.rejected
    if not (too_many or dead_off):
        return None
    duplicates = own.accepted - (counted - too_many)
    records = own.accepted + own.rejected
    expected = (
        f"{records} records = counted {counted - too_many} + duplicates {duplicates} + dead letters {own.rejected}"
    )
    actual = f"{counted + duplicates + dead} = counted {counted} + duplicates {duplicates} + dead letters {dead}"
    subject = {"topic": place.topic, "partition": place.partition}
    return Finding(subject, expected, actual, Decimal(too_many + dead_off))


def outside(value: int, least: int, most: int) -> int:
    """How far a value is outside a range; 0 inside."""
    return max(value - most, 0) or min(value - least, 0)
