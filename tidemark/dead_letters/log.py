"""What the redrive topic holds already: which events were redriven, from where, and which of them failed again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from tidemark.core.kafka import Record, dump, read_one
from tidemark.core.settings import Settings
from tidemark.dead_letters.part import WHOLE, Part, envelope_of, part_of
from tidemark.dead_letters.records import Letter, Position, dead_letters, position_of
from tidemark.dead_letters.validate import read_event
from udfs.decode.decoder import key_of
from udfs.events.envelope import part_key, unwrap

HEADER = "tidemark-redrive"


class Source(msgspec.Struct, frozen=True):
    """Where an event was read that was rejected: a record of the events topic or of the redrive topic."""

    topic: str
    partition: int
    offset: int


class Mark(msgspec.Struct, frozen=True):
    """Value of the header of a redriven record, as JSON.

    Parameters
    ----------
    topic, partition, offset:
        Source position that the dead letter names.
    origin:
        Where the event stood first: the same, but for an event that was redriven before and rejected again.
    dead_letter:
        The dead letter itself: topic and position.
    redriven_at:
        When, RFC 3339 UTC; the record's timestamp is the original arrival.
    """

    topic: str
    partition: int
    offset: int
    origin: Source
    dead_letter: Source
    redriven_at: str


_decode_mark = msgspec.json.Decoder(Mark).decode


def mark_of(record: Record) -> Mark | None:
    """The header of a redriven record; None where there is none, or one that somebody else wrote."""
    for name, value in record.headers:
        if name == HEADER:
            try:
                return _decode_mark(value)
            except msgspec.MsgspecError:
                return None
    return None


def source_of(letter: Letter) -> Source:
    """Source position that a dead letter names."""
    return Source(letter["topic"], letter["partition"], letter["offset"])


@dataclass(slots=True)
class RedriveLog:
    """Positions in the redrive topic, by what may not be sent a second time.

    Parameters
    ----------
    topic:
        The redrive topic.
    rejected:
        Positions there whose event became a dead letter again: such an event was not counted.
    run_id:
        The run whose dead letters are meant: what it is missing in one meter, another run may have counted.
    keys, origins:
        Where an event of that dedupe key, or from that first place, stands that was not rejected again, by part. The
        origin is needed beside the key: a fix may have given the event another identity.
    failed:
        Origins and parts of those that were.
    """

    topic: str
    rejected: Collection[Position] = ()
    run_id: str = ""
    keys: dict[tuple[bytes, Part], Position] = field(default_factory=dict)
    origins: dict[tuple[Source, Part], Position] = field(default_factory=dict)
    failed: dict[Position, tuple[Source, Part]] = field(default_factory=dict)

    def add(self, record: Record, default_tenant: str = "") -> None:
        """Take in one record of the redrive topic; `default_tenant` is that of CloudEvents that name none."""
        position, mark, envelope = Position(record.partition, record.offset), mark_of(record), unwrap(record.value)
        part = part_of(envelope)
        if position in self.rejected:
            self.failed[position] = (mark.origin if mark else Source(self.topic, *position)), part
            return
        value = record.value if envelope is None else envelope.event
        event = read_event(value, record.timestamp_ms, default_tenant)
        if event is not None:
            key = key_of(event) if envelope is None else part_key(envelope.meter, key_of(event))
            self.keys.setdefault((key, part), position)
        if mark is not None:
            self.origins.setdefault((mark.origin, part), position)

    def origin_of(self, source: Source) -> Source:
        """Where the event of a source position stood first."""
        if source.topic != self.topic:
            return source
        failed = self.failed.get(Position(source.partition, source.offset))
        return source if failed is None else failed[0]

    def part_of(self, letter: Letter) -> Part:
        """The part of its event that a dead letter of the run stands for."""
        return part_of(envelope_of(letter, self.topic, self.run_id))

    def standing(self, source: Source, key: bytes | None, part: Part = WHOLE) -> Position | None:
        """Where that part of the event stands that was redriven already, and not rejected again; None if nowhere."""
        found = self.origins.get((self.origin_of(source), part))
        return found if found is not None or key is None else self.keys.get((key, part))

    def failures(self, source: Source, part: Part = WHOLE) -> list[Position]:
        """Earlier attempts to redrive that part of the event that were rejected again."""
        failed = self.origin_of(source), part
        return [position for position, one in self.failed.items() if one == failed]


def noting_rejected(letters: Iterable[Letter], topic: str, rejected: set[Position]) -> Iterator[Letter]:
    """Pass dead letters on, and note the positions of those that were rejected, whole, in the redrive topic."""
    for letter in letters:
        if letter["topic"] == topic and not letter.get("partial"):
            rejected.add(Position(letter["partition"], letter["offset"]))
        yield letter


def read_log(settings: Settings, rejected: Collection[Position]) -> RedriveLog:
    """The whole redrive topic, up to its present end.

    `rejected` must have been read before: what is rejected in the meantime then counts as standing and is not sent
    again until the next time, instead of the other way round.
    """
    log = RedriveLog(settings.topics.redrive, rejected, settings.run_id)
    for record in dump(settings.kafka, settings.topics.redrive, "read_uncommitted"):
        log.add(record, settings.events.default_tenant)
    return log


def rejected_again(settings: Settings) -> set[Position]:
    """Positions in the redrive topic whose event became a dead letter again."""
    rejected: set[Position] = set()
    for _ in noting_rejected(dead_letters(settings), settings.topics.redrive, rejected):
        pass
    return rejected


def mark_at(settings: Settings, position: Position) -> Mark | None:
    """The header of one redriven record."""
    record = read_one(settings.kafka, settings.topics.redrive, *position, "read_uncommitted")
    return None if record is None else mark_of(record)


def own_source(letter: Letter, settings: Settings) -> Source:
    """Position of the dead letter itself."""
    return Source(settings.names.dlq, *position_of(letter["at"]))
