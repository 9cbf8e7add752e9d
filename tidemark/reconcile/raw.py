"""The source topics read back for the recomputation: all records, those of a tenant, or those of a sample."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from itertools import chain
from typing import Any

import msgspec

from tidemark.core.kafka import dump
from tidemark.core.settings import Settings
from tidemark.oracle.oracle import Oracle, RawRecord, Rules
from tidemark.reconcile.sample import Wanted
from udfs.events.envelope import unwrap
from udfs.events.fields import BYTE_ORDER_MARK
from udfs.values import epoch_ms

Progress = Callable[[int], None]


class _Head(msgspec.Struct):
    """The fields that identify the owner of an event, in either form; the rest is not read."""

    tenant_id: Any = None
    customer_id: Any = None
    event_id: Any = None
    voids: Any = None
    tenantid: Any = None
    subject: Any = None
    id: Any = None


_DECODER = msgspec.json.Decoder(_Head)


@dataclass(slots=True)
class Source:
    """Where the source topics start.

    Parameters
    ----------
    earliest:
        Earliest offset still available, by the oracle's number of the partition.
    gone_by_ms:
        When the records before that offset had arrived at the latest, by the same number, as far as an earlier run has
        seen it.
    known_from_ms:
        Latest arrival of a first record whose predecessors are gone; None when nothing is gone.
    """

    earliest: Mapping[int, int]
    gone_by_ms: Mapping[int, int] = field(default_factory=dict)
    known_from_ms: int | None = None
    _left: set[int] = field(init=False)

    def __post_init__(self) -> None:
        self._left = {partition for partition, offset in self.earliest.items() if offset > 0}

    def see(self, partition: int, arrival_ms: int) -> None:
        """Register a record; those of a partition come in its order.

        The first one may lie behind the earliest offset: markers of transactions and aborted records have offsets too.
        """
        if partition in self._left:
            self._left.remove(partition)
            self.known_from_ms = max(arrival_ms, self.known_from_ms or 0)

    def finish(self, now_ms: int) -> None:
        """Register that all records were seen: a partition without any has lost all that it ever had, up to now."""
        for partition in self._left:
            self.known_from_ms = max(self.gone_by_ms.get(partition, now_ms), self.known_from_ms or 0)


def recompute(
    settings: Settings,
    history: Any,
    wanted: Wanted,
    earliest: Mapping[str, Mapping[int, int]],
    gone_by: Mapping[str, Mapping[int, datetime]] | None = None,
    progress: Progress | None = None,
) -> tuple[Oracle, int | None]:
    """Recompute usage from the source topics, up to their end at this call; close the oracle after use.

    For a sample, the records of its customers are read, and copies of them with another customer: the first record of
    an id counts, whatever the others contain. `gone_by`: when the records that retention removed had arrived at the
    latest, by topic and partition.

    Returns
    -------
    The oracle; and, if retention has removed records, the arrival (epoch ms) from which on all are present, else None.
    """
    bounds = {topic: {part: epoch_ms(at) for part, at in parts.items()} for topic, parts in (gone_by or {}).items()}
    source = Source(edges_of(settings, earliest), edges_of(settings, bounds))
    records = _registered(_records(settings, progress), source)
    if not wanted.everything:
        ids = _ids(settings, wanted)
        records = (record for record in records if _identity(settings, record[3]) in ids)
    oracle = Oracle(history, records, rules_of(settings))
    source.finish(time.time_ns() // 1_000_000)
    return oracle, source.known_from_ms


def rules_of(settings: Settings) -> Rules:
    """The limits that a run counts by, for the oracle."""
    return Rules(
        grace_ms=settings.events.grace_s * 1_000,
        future_tolerance_ms=settings.events.future_tolerance_s * 1_000,
        default_tenant=settings.events.default_tenant,
        late_until_ms=epoch_ms(datetime.fromisoformat(settings.replay.late_until)) if settings.replay.late_until else 0,
    )


def tenant_of(settings: Settings, value: bytes | None) -> str | None:
    """The tenant that a record names; None for one that cannot be read, which counts nowhere."""
    head = _head(value)
    return None if head is None else _owner(settings, head)[0]


def _registered(records: Iterator[RawRecord], source: Source) -> Iterator[RawRecord]:
    for record in records:
        source.see(record[0], record[2])
        yield record


def _records(settings: Settings, progress: Progress | None = None) -> Iterator[RawRecord]:
    # The oracle's number of partition p of the redrive topic is -1 - p.
    events = dump(settings.kafka, settings.topics.events, progress=progress)
    redriven = dump(settings.kafka, settings.topics.redrive)
    return chain(
        ((r.partition, r.offset, r.timestamp_ms, r.value) for r in events),
        ((-1 - r.partition, r.offset, r.timestamp_ms, r.value) for r in redriven),
    )


def _ids(settings: Settings, wanted: Wanted) -> set[bytes]:
    """Hashes of the ids of these customers' events."""
    ids = set()
    for record in _records(settings):
        head = _head(record[3])
        if head is not None and wanted.takes(*_owner(settings, head)):
            ids.add(_hash(settings, head))
    return ids


def _identity(settings: Settings, value: bytes | None) -> bytes | None:
    """Hash of the identity of an event without its source: equal at least for copies."""
    head = _head(value)
    return None if head is None else _hash(settings, head)


def _hash(settings: Settings, head: _Head) -> bytes:
    tenant, _ = _owner(settings, head)
    event_id = head.voids if head.voids is not None else head.event_id if head.event_id is not None else head.id
    return blake2b(f"{len(tenant)}:{tenant}{event_id}".encode(errors="replace"), digest_size=16).digest()


def _owner(settings: Settings, head: _Head) -> tuple[str, str]:
    native = head.event_id is not None
    tenant = (
        head.tenant_id if native else head.tenantid if head.tenantid is not None else settings.events.default_tenant
    )
    return str(tenant), str(head.customer_id if native else head.subject)


def _head(value: bytes | None) -> _Head | None:
    """The owner of a record; None if it cannot be read: the record is a dead letter and counts nowhere."""
    envelope = unwrap(value)
    raw = (value if envelope is None else envelope.event) or b""
    try:
        return _DECODER.decode(raw.removeprefix(BYTE_ORDER_MARK))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def edges_of(settings: Settings, offsets: Mapping[str, Mapping[int, int]]) -> dict[int, int]:
    """Offsets by topic and partition as the oracle numbers its partitions."""
    events = offsets.get(settings.topics.events, {})
    redriven = offsets.get(settings.topics.redrive, {})
    return {**events, **{-1 - partition: offset for partition, offset in redriven.items()}}
