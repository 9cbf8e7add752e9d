"""The equation of the log: the records of a partition are those counted, those dropped as copies and those rejected."""

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
    """The records of a partition by the independent recomputation.

    Parameters
    ----------
    accepted:
        Records that were counted, or are copies of a counted record.
    least, most:
        How many of them the jobs may have counted. Equal, unless copies of one event lie in several partitions (which
        was read first is not known), or records arrived during the check.
    rejected:
        Records that have to be in the dead letters, of those before the applied offset.
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
        Least and most events that may have been counted, over all partitions: equal while no records arrive.
    counted:
        Events in the deltas, by the partition they came from.
    dead:
        Dead letters by the partition they came from, of records before the applied offset.
    """
    findings = []
    for place in sorted({*recomputed, *counted, *dead}):
        partition = recomputed.get(place, Recomputed(0, 0, 0, 0))
        if finding := _of_place(place, partition, counted.get(place, 0), dead.get(place, 0)):
            findings.append(finding)
    everywhere = sum(counted.values())
    off = outside(everywhere, *total)
    if off:
        expected = f"counted {everywhere - off} in all partitions"
        findings.append(Finding({"partitions": "all"}, expected, f"counted {everywhere}", Decimal(off)))
    return findings


def _of_place(place: Place, partition: Recomputed, counted: int, dead: int) -> Finding | None:
    too_many, dead_off = outside(counted, partition.least, partition.most), dead - partition.rejected
    if not (too_many or dead_off):
        return None
    duplicates = partition.accepted - (counted - too_many)
    records = partition.accepted + partition.rejected
    expected = (
        f"{records} records = counted {counted - too_many} + duplicates {duplicates} "
        f"+ dead letters {partition.rejected}"
    )
    actual = f"{counted + duplicates + dead} = counted {counted} + duplicates {duplicates} + dead letters {dead}"
    subject = {"topic": place.topic, "partition": place.partition}
    return Finding(subject, expected, actual, Decimal(too_many + dead_off))


def outside(value: int, least: int, most: int) -> int:
    """How far a value is outside a range; 0 inside."""
    return max(value - most, 0) or min(value - least, 0)
