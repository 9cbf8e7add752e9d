"""The raw events behind a number, and how many copies of each were dropped."""

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
from tidemark.core.times import arrival_of
from tidemark.core.topics import has_create_time
from tidemark.dead_letters.log import marker_of
from tidemark.dead_letters.validate import read_event, time_of
from udfs.catalog.cache import Catalog
from udfs.decode.decoder import Decoder, key_of
from udfs.events.envelope import Envelope, part_key, unwrap
from udfs.events.parse import Event as Parsed
from udfs.meters.packing import Packed, unpack
from udfs.values import epoch_ms

_BATCH = 5_000
# Ranges with fewer offsets between them are read as one: a seek costs about as much as so many records.
_NEAR = 2_000
# Records that are searched for copies without an explicit request: about ten seconds.
COPIES_AT_ONCE = 1_000_000

# Offsets [start, end) by partition, ascending and apart.
Ranges = Mapping[int, Sequence[tuple[int, int]]]
_Place = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Event:
    """One measurement that is part of a number, with its event.

    Parameters
    ----------
    topic, partition, offset, arrival_ms:
        Where and when it arrived; arrival in UTC epoch ms.
    event_id, source, voids, time_ms, properties:
        Fields of the event: `source` and `voids` are '' if absent, the time is in UTC epoch ms.
    dims, part, samples, amount:
        What the meter measures.
    copies:
        Copies of it that were dropped, as far as they were searched; None: not searched.
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
    """Events of a number, and whether the search for dropped copies was complete."""

    events: Sequence[Event]
    copies_complete: bool


def read_events(
    settings: Settings, catalog: Catalog, key: PeriodKey, meter: str, sources: Sequence[Source], *, all_copies: bool
) -> Read:
    """Measurements in the offsets of the sources, decoded as `meter` does with the catalog of today.

    Copies may be in any partition, for as long as dedupe keys are kept. All these records are searched if they are
    COPIES_AT_ONCE or fewer, or if `all_copies` is set; otherwise only the offsets of the sources.

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
    events = [replace(event, copies=copies[key]) for key, event in reader.events if not reader.was_refused(event)]
    return Read(events, complete)


class _Reader:
    """Reads ranges of offsets, and keeps the events of the number: of several copies, the first."""

    def __init__(self, settings: Settings, catalog: Catalog, key: PeriodKey, meter: str) -> None:
        self._settings, self._key, self._meter = settings, key, meter
        self._decoder = Decoder(catalog, policy_of(settings))
        self._owner = key.tenant_id, key.customer_id, meter, epoch_ms(key.start)
        self.names = texts_of(key.customer_id)
        self.first: dict[bytes, _Place] = {}
        self.origins: set[_Place] = set()
        # Where the meter refused what it counted when it was redriven.
        self.refused: set[_Place] = set()
        self.copies: Counter[bytes] = Counter()
        self.events: list[tuple[bytes, Event]] = []
        self.arrivals: list[int] = []

    def read(self, topic: str, ranges: Ranges) -> None:
        ranged = read_ranges(self._settings.kafka, topic, ranges)
        records = (record for record in ranged if may_hold(record.value, self.names))
        while batch := list(islice(records, _BATCH)):
            for record, key, text in decoded(self._decoder, self._settings, topic, batch):
                if key in self.first:
                    self.copies[key] += 1
                    continue
                measured = [packed for packed in unpack(text) if self._is_own(packed)]
                self.first[key] = topic, record.partition, record.offset
                if (marker := marker_of(record)) is not None:
                    origin = marker.origin.topic, marker.origin.partition, marker.origin.offset
                    self.origins.add(origin)
                    if measured and envelope_in(self._settings, topic, record) is not None:
                        self.refused.add(origin)
                if measured:
                    self.arrivals.append(record.timestamp_ms)
                self.events += [(key, made(self._settings, topic, record, packed)) for packed in measured]

    def was_refused(self, event: Event) -> bool:
        """Whether the meter took it only when it was redriven, although the catalog of today would take it at once."""
        return (event.topic, event.partition, event.offset) in self.refused

    def _is_own(self, packed: Packed) -> bool:
        series = packed.tenant, packed.customer, packed.meter, packed.period_start_ms
        return series == self._owner and packed.part != MOMENT


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
    """The decoder's number of a partition: partition p of the redrive topic is -1 - p."""
    return -1 - partition if topic == settings.topics.redrive else partition


def made(settings: Settings, topic: str, record: Record, packed: Packed) -> Event:
    """A measurement of a decoded event, with the fields of the event."""
    place = topic, record.partition, record.offset, packed.dims, packed.part, packed.samples, Decimal(packed.amount)
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


def envelope_in(settings: Settings, topic: str, record: Record) -> Envelope | None:
    """The envelope of a record; the redrive topic alone has any."""
    return unwrap(record.value) if topic == settings.topics.redrive else None


def _dedupe_key(settings: Settings, topic: str, record: Record, event: Parsed) -> bytes:
    envelope = envelope_in(settings, topic, record)
    return key_of(event) if envelope is None else part_key(envelope.meter, key_of(event))


def properties_of(event: Parsed) -> dict[str, Any]:
    """Properties of an event as JSON values."""
    if isinstance(event.properties, UnsetType) or event.properties is None:
        return {}
    return {name: json.loads(bytes(value)) for name, value in event.properties.items()}


def texts_of(name: str) -> tuple[bytes, ...]:
    """How JSON writes a name without escapes; with escapes there is a backslash."""
    return (msgspec.json.encode(name)[1:-1],)


def may_hold(value: bytes | None, names: Iterable[bytes]) -> bool:
    """Whether a record can contain one of the names: a cheap check of its bytes, before it is decoded."""
    return value is not None and (b"\\" in value or any(name in value for name in names))


def merged(sources: Iterable[Source]) -> dict[int, list[tuple[int, int]]]:
    """Ranges [start, end) by partition, ascending and apart."""
    ranges: dict[int, list[tuple[int, int]]] = {}
    spans = sorted((source.partition, *span) for source in sources for span in source.ranges)
    for partition, first, last in spans:
        merged_spans = ranges.setdefault(partition, [])
        if merged_spans and first <= merged_spans[-1][1] + _NEAR:
            merged_spans[-1] = merged_spans[-1][0], max(merged_spans[-1][1], last + 1)
        else:
            merged_spans.append((first, last + 1))
    return ranges


def _window(settings: Settings, arrivals: Sequence[int]) -> dict[str, Ranges]:
    """Where copies may be: before and after the events for as long as dedupe keys are kept.

    Partitions are read at their own pace, so a dropped copy may have arrived before the counted event.
    """
    window: dict[str, Ranges] = {}
    for topic in (settings.topics.events, settings.topics.redrive):
        disorder_ms = settings.meter.bounded_disorder_s * 1_000 if has_create_time(settings.kafka, topic) else 0
        around_ms = settings.events.dedupe_ttl_ms + disorder_ms
        since, until = arrival_of(min(arrivals) - around_ms), arrival_of(max(arrivals) + around_ms)
        starts, stops = offsets_at(settings.kafka, topic, since), offsets_at(settings.kafka, topic, until)
        ends = end_offsets(settings.kafka, topic)
        window[topic] = {part: [(start, stops.get(part, ends[part]))] for part, start in starts.items()}
    return window


def _count_copies(settings: Settings, reader: _Reader, window: Mapping[str, Ranges]) -> Counter[bytes]:
    """Copies of the events that were read, in a window; a dead letter that was redriven is not a copy."""
    wanted = {key for key, _ in reader.events}
    copies: Counter[bytes] = Counter()
    for topic, ranges in window.items():
        for record in read_ranges(settings.kafka, topic, ranges):
            place = topic, record.partition, record.offset
            if not may_hold(record.value, reader.names) or place in reader.origins:
                continue
            event = event_of(settings, record)
            if event is None:
                continue
            key = _dedupe_key(settings, topic, record, event)
            if key in wanted and reader.first[key] != place:
                copies[key] += 1
    return copies
