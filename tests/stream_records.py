"""Records of the seeded stream, and their outcome by construction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

# Tenant, source, event id, and "void" for an event that takes that one back: the first of each counts.
Identity = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """One record to send, and its expected outcome.

    Parameters
    ----------
    partition, timestamp_ms, key, value:
        As for Kafka; the topic must be CreateTime, so that the timestamp is the arrival.
    reason:
        Reason code it must be rejected with; None when it is counted or a duplicate.
    partial:
        Reason codes of the meters that must refuse it while others count it, one for each.
    identity:
        What it is a copy of, for a record that is not rejected: the first of it counts.
    unmeasured:
        Whether it counts without feeding a meter.
    altered:
        Whether it is a void that says other values than its original.
    """

    partition: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    reason: str | None = None
    partial: tuple[str, ...] = ()
    identity: Identity | None = None
    unmeasured: bool = False
    altered: bool = False


@dataclass(frozen=True, slots=True)
class Expected:
    """Expected counts of a stream: offsets_in = counted + duplicates + sum of rejected.

    Parameters
    ----------
    partial:
        Refusals of single meters, of counted ones, by reason.
    unmeasured:
        Of the counted ones, those that feed no meter; voids too.
    voids:
        Of the counted ones, those that are voids.
    without_original, with_other_values:
        Ids that voids name whose event was not counted, or was counted with other values.
    """

    offsets_in: int
    counted: int
    duplicates: int
    rejected: Mapping[str, int]
    unmeasured: int = 0
    voids: int = 0
    without_original: frozenset[str] = frozenset()
    with_other_values: frozenset[str] = frozenset()
    partial: Mapping[str, int] = field(default_factory=dict)


def expected_of(records: list[StreamRecord]) -> Expected:
    """The outcome of a stream, by construction."""
    accepted: dict[Identity, StreamRecord] = {}
    for record in records:
        if record.identity is not None:
            accepted.setdefault(record.identity, record)
    rejected = Counter(record.reason for record in records if record.reason is not None)
    voids = {identity: record for identity, record in accepted.items() if identity[3]}
    orphans = {identity for identity in voids if (*identity[:3], "") not in accepted}
    return Expected(
        offsets_in=len(records),
        counted=len(accepted),
        duplicates=len(records) - len(accepted) - rejected.total(),
        rejected=dict(sorted(rejected.items())),
        unmeasured=sum(record.unmeasured for record in accepted.values()),
        voids=len(voids),
        without_original=frozenset(identity[2] for identity in orphans),
        partial=dict(sorted(Counter(reason for record in accepted.values() for reason in record.partial).items())),
        with_other_values=frozenset(i[2] for i, record in voids.items() if record.altered and i not in orphans),
    )
