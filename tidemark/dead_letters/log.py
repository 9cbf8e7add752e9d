"""The contents of the redrive topic: which events were redriven, from where, and which of them failed again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from tidemark.core.kafka import Record, dump, read_one
from tidemark.core.settings import Settings
from tidemark.dead_letters.fixes import Edit
from tidemark.dead_letters.part import WHOLE, Part, envelope_of, part_of
from tidemark.dead_letters.records import DeadLetter, Position, position_of, read_dead_letters
from tidemark.dead_letters.validate import read_event
from udfs.decode.decoder import key_of
from udfs.events.envelope import part_key, unwrap

HEADER = "tidemark-redrive"


class Source(msgspec.Struct, frozen=True):
    """The position of an event that was rejected: a record of the events topic or of the redrive topic."""

    topic: str
    partition: int
    offset: int


class Marker(msgspec.Struct, frozen=True):
    """Value of the header of a redriven record, as JSON.

    Parameters
    ----------
    topic, partition, offset:
        Source position that the dead letter names.
    origin:
        First position of the event: the same, unless the event was redriven before and rejected again.
    dead_letter:
        The dead letter itself: topic and position.
    redriven_at:
        Time of the redrive, RFC 3339 UTC; the record's timestamp is the original arrival.
    redriven_by, audit_entry:
        Name that was stated, and the number of the entry of the audit, which has the login; empty and 0 in headers
        of before there was one.
    edits:
        What the fixes changed of the event.
    """

    topic: str
    partition: int
    offset: int
    origin: Source
    dead_letter: Source
    redriven_at: str
    redriven_by: str = ""
    audit_entry: int = 0
    edits: tuple[Edit, ...] = ()


_decode_marker = msgspec.json.Decoder(Marker).decode


def marker_of(record: Record) -> Marker | None:
    """The header of a redriven record; None if there is no header, or if another program wrote it."""
    for name, value in record.headers:
        if name == HEADER and value is not None:
            try:
                return _decode_marker(value)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                return None
    return None


def source_of(dead_letter: DeadLetter) -> Source:
    """Source position that a dead letter names."""
    return Source(dead_letter["topic"], dead_letter["partition"], dead_letter["offset"])


@dataclass(slots=True)
class RedriveLog:
    """Positions in the redrive topic, by the events that must not be sent a second time.

    Parameters
    ----------
    topic:
        The redrive topic.
    rejected:
        Positions in it whose event became a dead letter again: such an event was not counted.
    run_id:
        The run of the dead letters: another run may have counted what one meter of this run is missing.
    keys, origins:
        Position of the event with that dedupe key, or from that first position, that was not rejected again, by part.
        The origin is needed beside the key: a fix may have given the event another identity.
    failed:
        Origins and parts of events that were rejected again.
    """

    topic: str
    rejected: Collection[Position] = ()
    run_id: str = ""
    keys: dict[tuple[bytes, Part], Position] = field(default_factory=dict)
    origins: dict[tuple[Source, Part], Position] = field(default_factory=dict)
    failed: dict[Position, tuple[Source, Part]] = field(default_factory=dict)

    def add(self, record: Record, default_tenant: str = "") -> None:
        """Add a record of the redrive topic; `default_tenant` is the tenant of CloudEvents that name no tenant."""
        position, marker, envelope = Position(record.partition, record.offset), marker_of(record), unwrap(record.value)
        part = part_of(envelope)
        if position in self.rejected:
            self.failed[position] = (marker.origin if marker else Source(self.topic, *position)), part
            return
        value = record.value if envelope is None else envelope.event
        event = read_event(value, record.timestamp_ms, default_tenant)
        if event is not None:
            key = key_of(event) if envelope is None else part_key(envelope.meter, key_of(event))
            self.keys.setdefault((key, part), position)
        if marker is not None:
            self.origins.setdefault((marker.origin, part), position)

    def origin_of(self, source: Source) -> Source:
        """The first position of the event that was read at a source position."""
        if source.topic != self.topic:
            return source
        failed = self.failed.get(Position(source.partition, source.offset))
        return source if failed is None else failed[0]

    def part_of(self, dead_letter: DeadLetter) -> Part:
        """The part of its event that a dead letter of the run is about."""
        return part_of(envelope_of(dead_letter, self.topic, self.run_id))

    def already_redriven(self, source: Source, key: bytes | None, part: Part = WHOLE) -> Position | None:
        """Position of that part of the event if it was redriven and not rejected again; else None."""
        position = self.origins.get((self.origin_of(source), part))
        return position if position is not None or key is None else self.keys.get((key, part))

    def failures(self, source: Source, part: Part = WHOLE) -> list[Position]:
        """Earlier attempts to redrive that part of the event that were rejected again."""
        failed = self.origin_of(source), part
        return [position for position, source_and_part in self.failed.items() if source_and_part == failed]


def collecting_rejected(
    dead_letters: Iterable[DeadLetter], topic: str, rejected: set[Position]
) -> Iterator[DeadLetter]:
    """Yield all dead letters, and collect the positions of those that were rejected, whole, in the redrive topic."""
    for dead_letter in dead_letters:
        if dead_letter["topic"] == topic and not dead_letter.get("partial"):
            rejected.add(Position(dead_letter["partition"], dead_letter["offset"]))
        yield dead_letter


def read_log(settings: Settings, rejected: Collection[Position]) -> RedriveLog:
    """The whole redrive topic, up to its current end.

    `rejected` must have been read before: an event that is rejected in the meantime then counts as redriven, and is
    sent again the next time. The other order could send an event twice.
    """
    log = RedriveLog(settings.topics.redrive, rejected, settings.run_id)
    for record in dump(settings.kafka, settings.topics.redrive, "read_uncommitted"):
        log.add(record, settings.events.default_tenant)
    return log


def rejected_again(settings: Settings) -> set[Position]:
    """Positions in the redrive topic whose event became a dead letter again."""
    rejected: set[Position] = set()
    for _ in collecting_rejected(read_dead_letters(settings), settings.topics.redrive, rejected):
        pass
    return rejected


def marker_at(settings: Settings, position: Position) -> Marker | None:
    """The header of one redriven record."""
    record = read_one(settings.kafka, settings.topics.redrive, *position, "read_uncommitted")
    return None if record is None else marker_of(record)


def source_of_dead_letter(dead_letter: DeadLetter, settings: Settings) -> Source:
    """Position of the dead letter itself."""
    return Source(settings.names.dlq, *position_of(dead_letter["at"]))
