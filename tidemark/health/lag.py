"""How far jobs are behind: in records, and in seconds since the oldest of them arrived and took place."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidemark.core.errors import UnavailableError
from tidemark.core.kafka import GroupOffsets, clients
from tidemark.core.names import GROUPS
from tidemark.core.settings import Settings
from tidemark.core.topics import has_create_time
from tidemark.health.state import Lag
from udfs.events.envelope import unwrap
from udfs.events.fields import event_time_ms
from udfs.events.parse import parse
from udfs.events.reasons import Rejected
from udfs.values import epoch_ms, parse_rfc3339

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
    """What `meter` and `rollup` read, and `anomaly` where it must run: elsewhere it may never have been started."""
    names = settings.names
    groups = {job: names.group(group) for job, group in GROUPS.items()}
    found = [
        Source("meter", settings.topics.events, groups["meter"]),
        Source("meter", settings.topics.redrive, groups["meter"]),
        Source("rollup", names.deltas, groups["rollup"], ours=True),
    ]
    if "anomaly" in settings.health.jobs:
        found += [Source("anomaly", topic, groups["anomaly"], ours=True) for topic in (names.deltas, names.dlq)]
    return found


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
        found = [record for record in oldest.values() if record is not None]
        records = sum(ends[part] - starts[part] for part, record in oldest.items() if record is not None)
        seconds = _age_s([record.timestamp for record in found])
        times_ms = [self._event_ms(source, record) for record in found]
        known_ms = [at for at in times_ms if at is not None]
        return Lag(
            source.job, source.topic, records, seconds if self._by_clock[source.topic] else None,
            _age_s(known_ms) if known_ms or not found else None,
        )  # fmt: skip

    def _event_ms(self, source: Source, record: Any) -> int | None:
        """Event time of a record that a job has not committed; None where it says none."""
        if source.ours:
            return minute_ms(record.value)
        # What is redriven may be the repair of one meter, whose event follows in an envelope.
        envelope = unwrap(record.value) if source.topic == self._settings.topics.redrive else None
        value = record.value if envelope is None else envelope.event
        try:
            return event_time_ms(parse(value, self._settings.events.default_tenant, record.timestamp))
        except Rejected:
            return None

    def _committed(self, source: Source) -> dict[int, int]:
        if source.group not in self._groups:
            self._groups[source.group] = GroupOffsets(self._settings.kafka, source.group, source.topic)
        return self._groups[source.group].by_topic().get(source.topic, {})

    def _oldest(self, starts: Mapping[Any, int], ends: Mapping[Any, int]) -> dict[Any, Any]:
        """The first record from each start on; None where only transaction markers follow."""
        found: dict[Any, Any] = {}
        if not starts:
            return found
        self._consumer.assign(list(starts))
        # What was paused for another job that reads the topic too stays so when it is assigned again.
        self._consumer.resume(*starts)
        for part, start in starts.items():
            self._consumer.seek(part, start)
        deadline = time.monotonic() + FETCH_S
        while missing := [part for part in starts if part not in found]:
            for part, records in self._consumer.poll(_POLL_MS).items():
                if records and part not in found:
                    found[part] = records[0]
                    self._consumer.pause(part)
            found |= {
                part: None for part in missing if part not in found and self._consumer.position(part) >= ends[part]
            }
            if time.monotonic() > deadline:
                raise UnavailableError(f"the oldest record of {missing} did not come within {FETCH_S:.0f} s.", "")
        return found


def minute_ms(value: bytes | None) -> int | None:
    """The minute of a delta, epoch ms; None for a record that has none, as dead letters have."""
    try:
        return epoch_ms(parse_rfc3339(json.loads(value or b"null")["minute"]))
    except (ValueError, KeyError, TypeError):
        return None


def _age_s(times_ms: Sequence[int]) -> float:
    """Age of the oldest of some instants; 0 where there is none."""
    return max(time.time() - min(times_ms) / 1_000, 0.0) if times_ms else 0.0
