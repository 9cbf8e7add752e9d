"""How far jobs are behind what has arrived: in records, and in seconds since the oldest of them arrived."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidemark.core.errors import UnavailableError
from tidemark.core.kafka import GroupOffsets, clients
from tidemark.core.names import GROUPS
from tidemark.core.settings import Settings
from tidemark.core.topics import has_create_time
from tidemark.health.state import Lag

# The oldest record of each partition that is behind must have come by then.
FETCH_S = 10.0
_POLL_MS = 250
# One batch of a partition is enough, however small it is.
_FETCH_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Source:
    """A topic that a job reads, and the group under which it commits; `ours` is written by a job, with its clock."""

    job: str
    topic: str
    group: str
    ours: bool = False


def sources(settings: Settings) -> list[Source]:
    """What `meter` and `rollup` read; other jobs commit no offsets that say how far they are."""
    names = settings.names
    meter, rollup = names.group(GROUPS["meter"]), names.group(GROUPS["rollup"])
    return [
        Source("meter", settings.topics.events, meter),
        Source("meter", settings.topics.redrive, meter),
        Source("rollup", names.deltas, rollup, ours=True),
    ]


class LagReader:
    """Reads lags over kept connections.

    Parameters
    ----------
    settings:
        Kafka and the run.

    Raises
    ------
    UnavailableError
        Kafka does not answer, or a topic does not exist.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sources = sources(settings)
        kafka = settings.kafka
        self._by_clock = {one.topic: one.ours or not has_create_time(kafka, one.topic) for one in self._sources}
        self._groups: dict[str, GroupOffsets] = {}
        with clients.translated(kafka):
            self._consumer = clients.consumer(
                kafka, isolation_level="read_committed", auto_offset_reset="earliest",
                max_partition_fetch_bytes=_FETCH_BYTES,
            )  # fmt: skip

    def read(self) -> tuple[tuple[Lag, ...], bool]:
        """The lag of each source, and whether `meter` has ever written a delta."""
        with clients.translated(self._settings.kafka):
            ends = {
                one.topic: self._consumer.end_offsets(clients.partitions(self._consumer, one.topic))
                for one in self._sources
            }
            lags = tuple(self._lag(one, ends[one.topic]) for one in self._sources)
        return lags, any(ends[self._settings.names.deltas].values())

    def close(self) -> None:
        """Leave the brokers."""
        for group in self._groups.values():
            group.close()
        self._groups = {}
        self._consumer.close()

    def _lag(self, source: Source, ends: Mapping[Any, int]) -> Lag:
        done = self._committed(source)
        begins = self._consumer.beginning_offsets(list(ends))
        starts = {part: max(done.get(part.partition, 0), begins[part]) for part in ends}
        oldest = self._oldest({part: start for part, start in starts.items() if start < ends[part]}, ends)
        arrivals = [arrival for arrival in oldest.values() if arrival is not None]
        records = sum(ends[part] - starts[part] for part, arrival in oldest.items() if arrival is not None)
        seconds = max(time.time() - min(arrivals) / 1_000, 0.0) if arrivals else 0.0
        return Lag(source.job, source.topic, records, seconds if self._by_clock[source.topic] else None)

    def _committed(self, source: Source) -> dict[int, int]:
        if source.group not in self._groups:
            self._groups[source.group] = GroupOffsets(self._settings.kafka, source.group, source.topic)
        return self._groups[source.group].by_topic().get(source.topic, {})

    def _oldest(self, starts: Mapping[Any, int], ends: Mapping[Any, int]) -> dict[Any, int | None]:
        """Arrival of the first record from each start on, epoch ms; None where only transaction markers follow."""
        found: dict[Any, int | None] = {}
        if not starts:
            return found
        self._consumer.assign(list(starts))
        for part, start in starts.items():
            self._consumer.seek(part, start)
        deadline = time.monotonic() + FETCH_S
        while missing := [part for part in starts if part not in found]:
            for part, records in self._consumer.poll(_POLL_MS).items():
                if records and part not in found:
                    found[part] = records[0].timestamp
                    self._consumer.pause(part)
            found |= {
                part: None for part in missing if part not in found and self._consumer.position(part) >= ends[part]
            }
            if time.monotonic() > deadline:
                raise UnavailableError(f"the oldest record of {missing} did not come within {FETCH_S:.0f} s.", "")
        return found
