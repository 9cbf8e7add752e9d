"""Which events are sampled, and what is known of each: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from tidemark.core import deltas
from udfs.values import epoch_ms, parse_rfc3339

# Of each partition of the deltas, in one step.
PER_PARTITION = 5
# A producer that sets the arrival may load history: an arrival so long before it was counted is no latency.
HISTORY_MS = 3_600_000


class Key(NamedTuple):
    """Whose counter it is."""

    tenant: str
    customer: str
    meter: str


@dataclass(frozen=True, slots=True)
class Delta:
    """A delta as it stands in the topic.

    Parameters
    ----------
    key, dims, minute_ms:
        Which row of minutes it adds to; of the part that counters show.
    partition, offset, written_ms:
        Where it is in the topic of deltas, and when `meter` wrote it, epoch ms.
    source_topic, source_partition, source_offset:
        The last event in it.
    """

    key: Key
    dims: str
    minute_ms: int
    partition: int
    offset: int
    written_ms: int
    source_topic: str
    source_partition: int
    source_offset: int


@dataclass(frozen=True, slots=True)
class Sample:
    """An event on its way; all instants in epoch ms, each by the clock of the machine where it was taken.

    Parameters
    ----------
    delta:
        The delta that it is in.
    event_ms, arrived_ms:
        Event time, and arrival by the record in Kafka.
    live_ms:
        When the worker wrote the counter in Redis.
    stored_ms:
        When its row of `usage_minute` was written; None until then.
    parent:
        `traceparent` of its producer; empty without one.
    alert_ms:
        When the worker saw a limit reached with it, and when the alert was taken; None where it reached none.
    """

    delta: Delta
    event_ms: int
    arrived_ms: int
    live_ms: int
    stored_ms: int | None = None
    parent: str = ""
    alert_ms: tuple[int, int] | None = None

    def stored(self, at_ms: int, alert_ms: tuple[int, int] | None = None) -> Sample:
        """The sample once its row is there, with the alert that it led to."""
        return replace(self, stored_ms=at_ms, alert_ms=alert_ms)


def delta_of(partition: int, offset: int, written_ms: int, value: bytes | None) -> Delta | None:
    """A delta from its record; None for one that is not valid or that no counter shows as it is (a part of a meter)."""
    read = deltas.read(value)
    if read is None or read.part:
        return None
    return Delta(
        Key(read.tenant_id, read.customer_id, read.meter), read.dims, epoch_ms(parse_rfc3339(read.minute)), partition,
        offset, written_ms, read.source_topic, read.source_partition, read.last_offset,
    )  # fmt: skip


def candidates(sampled: Iterable[Delta]) -> dict[Key, list[Delta]]:
    """The keys to look at, each with its deltas in order: those that have been quiet for longest, so Redis has them."""
    of_key: dict[Key, list[Delta]] = {}
    for delta in sampled:
        of_key.setdefault(delta.key, []).append(delta)
    quiet = sorted(of_key, key=lambda key: of_key[key][-1].written_ms)
    taken: dict[Key, list[Delta]] = {}
    of_partition: dict[int, int] = {}
    for key in quiet:
        partition = of_key[key][-1].partition
        if of_partition.get(partition, 0) < PER_PARTITION:
            of_partition[partition] = of_partition.get(partition, 0) + 1
            taken[key] = of_key[key]
    return taken


def shown_by(counter_ms: int, deltas: Iterable[Delta], tick_ms: int) -> Delta | None:
    """The delta with which a counter was written at an instant; None where it is not among these.

    The sink and the worker get a tick at the same time; the next one is a tick later.
    """
    written = [delta for delta in deltas if delta.written_ms <= counter_ms + tick_ms / 2]
    if not written or counter_ms - written[-1].written_ms > HISTORY_MS:
        return None
    return written[-1]


def is_history(delta: Delta, arrived_ms: int) -> bool:
    """Whether an arrival that its producer set was long ago when the event was counted."""
    return delta.written_ms - arrived_ms > HISTORY_MS


def latencies_s(sample: Sample) -> Mapping[tuple[str, str], float]:
    """Seconds by where the event is seen (`live`, `stored`) and since when (`event`, `arrival`); none is negative."""
    starts = {"event": sample.event_ms, "arrival": sample.arrived_ms}
    ends = {"live": sample.live_ms, "stored": sample.stored_ms}
    return {
        (where, since): max(end - start, 0) / 1_000
        for where, end in ends.items() if end is not None
        for since, start in starts.items()
    }  # fmt: skip
