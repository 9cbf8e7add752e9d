"""The raw events that a number is made of, and how many copies of each were dropped."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice
from typing import Any

import msgspec
from msgspec import UnsetType

from tidemark.billing.delta_index import MOMENT, Source
from tidemark.billing.lines import PeriodKey
from tidemark.core.kafka import Record, end_offsets, offsets_at, read_ranges
from tidemark.core.policy import policy_of
from tidemark.core.settings import Settings
from tidemark.core.topics import has_create_time
from tidemark.dead_letters.log import mark_of
from tidemark.dead_letters.validate import read_event, time_of
from udfs.catalog.cache import Catalog
from udfs.decode.decoder import Decoder, key_of
from udfs.events.envelope import unwrap
from udfs.events.parse import Event as Parsed
from udfs.meters.packing import Packed, unpack
from udfs.values import epoch_ms, instant

_BATCH = 5_000
# Ranges with fewer offsets between them are read as one: a seek costs about as much as so many records.
_NEAR = 2_000
# Records that are looked through for copies without being asked for: about ten seconds.
COPIES_AT_ONCE = 1_000_000

# Offsets [start, end) by partition, ascending and apart.
Ranges = Mapping[int, Sequence[tuple[int, int]]]
_Place = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Event:
    """One measurement of an event that is in the number.

    Parameters
    ----------
    topic, partition, offset, arrival_ms:
        Where and when it came; arrival in UTC epoch ms.
    event_id, source, voids, time_ms, properties:
        What it says of itself: `source` and `voids` are '' where it has none, the time is in UTC epoch ms.
    dims, part, samples, amount:
        What the meter makes of it.
    copies:
        Copies of it that were dropped, as far as they were looked for; None: not looked for.
    """

    topic: str
    partition: int
    offset: int
    dims: str
    part: str
    samples: int
    amount: Decimal
    event_id: str = ""
    time_ms: int | None = None
    arrival_ms: int = 0
    source: str = ""
    voids: str = ""
    properties: Mapping[str, Any] | None = None
    copies: int | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """Events of a number, and whether all copies that could be dropped were looked for."""

    events: Sequence[Event]
    copies_complete: bool


def read_events(
    settings: Settings, catalog: Catalog, key: PeriodKey, meter: str, sources: Sequence[Source], *, all_copies: bool
) -> Read:
    """Measurements in the offsets of the sources, decoded as `meter` does with the catalog of today.

    Copies may stand in any partition, for as long as keys are remembered. They are looked for in all of that where it
    is COPIES_AT_ONCE records or fewer, or `all_copies` says so; else among the offsets of the sources.

    Raises
    ------
    UnavailableError
        Kafka or Postgres does not answer.
    """
    reader = _Reader(settings, catalog, key, meter)
    for topic in sorted({source.topic for source in sources}):
        reader.read(topic, merged(source for source in sources if source.topic == topic))
    window = _window(settings, reader.arrivals) if reader.events else {}
    size = sum(end - start for ranges in window.values() for spans in ranges.values() for start, end in spans)
    complete = all_copies or size <= COPIES_AT_ONCE
    copies = _count_copies(settings, reader, window) if complete else reader.copies
    events = [replace(one, copies=copies[event]) for event, one in reader.events]
    return Read(events, complete)


class _Reader:
    """Reads ranges of offsets, and keeps what is in the number: of copies of an event the first."""

    def __init__(self, settings: Settings, catalog: Catalog, key: PeriodKey, meter: str) -> None:
        self._settings, self._key, self._meter = settings, key, meter
        self._decoder = Decoder(catalog, policy_of(settings))
        self._owner = key.tenant_id, key.customer_id, meter, epoch_ms(key.start)
        self.names = texts_of(key.customer_id)
        self.first: dict[bytes, _Place] = {}
        self.origins: set[_Place] = set()
        self.copies: Counter[bytes] = Counter()
        self.events: list[tuple[bytes, Event]] = []
        self.arrivals: list[int] = []

    def read(self, topic: str, ranges: Ranges) -> None:
        records = (one for one in read_ranges(self._settings.kafka, topic, ranges) if may_hold(one.value, self.names))
        while some := list(islice(records, _BATCH)):
            for record, event, text in decoded(self._decoder, self._settings, topic, some):
                if event in self.first:
                    self.copies[event] += 1
                    continue
                found = [one for one in unpack(text) if self._is_own(one)]
                self.first[event] = topic, record.partition, record.offset
                if (mark := mark_of(record)) is not None:
                    self.origins.add((mark.origin.topic, mark.origin.partition, mark.origin.offset))
                if found:
                    self.arrivals.append(record.timestamp_ms)
                self.events += [(event, made(self._settings, topic, record, one)) for one in found]

    def _is_own(self, one: Packed) -> bool:
        return (one.tenant, one.customer, one.meter, one.period_start_ms) == self._owner and one.part != MOMENT


def decoded(
    decoder: Decoder, settings: Settings, topic: str, records: Sequence[Record]
) -> Iterator[tuple[Record, bytes, str]]:
    """Records of one topic that are accepted and measured, each with its dedupe key and its measurements."""
    batch = decoder.decode_batch(
        [record.value for record in records], [record.timestamp_ms for record in records],
        [source_partition(settings, topic, record.partition) for record in records],
        [record.offset for record in records],
    )  # fmt: skip
    for record, event, text in zip(records, batch.keys, batch.measurements, strict=True):
        if event is not None and text:
            yield record, event, text


def source_partition(settings: Settings, topic: str, partition: int) -> int:
    """A partition as the decoder knows it: partition p of the redrive topic is -1 - p."""
    return -1 - partition if topic == settings.topics.redrive else partition


def made(settings: Settings, topic: str, record: Record, one: Packed) -> Event:
    """A measurement of an event that was decoded, with what the event says of itself."""
    place = topic, record.partition, record.offset, one.dims, one.part, one.samples, Decimal(one.amount)
    event = event_of(settings, record)
    if event is None:
        return Event(*place, arrival_ms=record.timestamp_ms)
    return Event(
        *place, event.event_id, time_of(event), record.timestamp_ms, event.source or "",
        event.voids or "", properties_of(event),
    )  # fmt: skip


def event_of(settings: Settings, record: Record) -> Parsed | None:
    """The event in a record; None when it cannot be read."""
    envelope = unwrap(record.value)
    raw = record.value if envelope is None else envelope.event
    return read_event(raw, record.timestamp_ms, settings.events.default_tenant)


def properties_of(event: Parsed) -> dict[str, Any]:
    """Properties of an event as JSON values."""
    if isinstance(event.properties, UnsetType) or event.properties is None:
        return {}
    return {name: json.loads(bytes(value)) for name, value in event.properties.items()}


def texts_of(name: str) -> tuple[bytes, ...]:
    """How JSON may write a name without escapes; with escapes there is a backslash."""
    return (msgspec.json.encode(name)[1:-1],)


def may_hold(value: bytes | None, names: Iterable[bytes]) -> bool:
    """Whether a record can hold one of the names: a cheap look at its bytes, before it is decoded."""
    return value is not None and (b"\\" in value or any(name in value for name in names))


def merged(sources: Iterable[Source]) -> dict[int, list[tuple[int, int]]]:
    """Ranges [start, end) by partition, ascending and apart."""
    found: dict[int, list[tuple[int, int]]] = {}
    spans = sorted((source.partition, *span) for source in sources for span in source.ranges)
    for partition, first, last in spans:
        mine = found.setdefault(partition, [])
        if mine and first <= mine[-1][1] + _NEAR:
            mine[-1] = mine[-1][0], max(mine[-1][1], last + 1)
        else:
            mine.append((first, last + 1))
    return found


def _window(settings: Settings, arrivals: Sequence[int]) -> dict[str, Ranges]:
    """Where copies may stand: as long around the events as keys are remembered.

    Partitions are read at their own pace, so a copy that was dropped may have arrived before the one that was counted.
    """
    found: dict[str, Ranges] = {}
    for topic in (settings.topics.events, settings.topics.redrive):
        disorder_ms = settings.meter.bounded_disorder_s * 1_000 if has_create_time(settings.kafka, topic) else 0
        around_ms = settings.events.dedupe_ttl_ms + disorder_ms
        since = instant(max(0, min(arrivals) - around_ms))
        until = instant(max(arrivals) + around_ms)
        starts, stops = offsets_at(settings.kafka, topic, since), offsets_at(settings.kafka, topic, until)
        ends = end_offsets(settings.kafka, topic)
        found[topic] = {part: [(start, stops.get(part, ends[part]))] for part, start in starts.items()}
    return found


def _count_copies(settings: Settings, reader: _Reader, window: Mapping[str, Ranges]) -> Counter[bytes]:
    """Copies of the events that were read, in a window; what became a dead letter and was redriven is no copy."""
    wanted = {event for event, _ in reader.events}
    copies: Counter[bytes] = Counter()
    for topic, ranges in window.items():
        for record in read_ranges(settings.kafka, topic, ranges):
            place = topic, record.partition, record.offset
            if not may_hold(record.value, reader.names) or place in reader.origins:
                continue
            event = event_of(settings, record)
            if event is not None and (key := key_of(event)) in wanted and reader.first[key] != place:
                copies[key] += 1
    return copies
