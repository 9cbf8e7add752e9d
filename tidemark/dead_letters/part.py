"""Which part of an event a dead letter stands for: all of it, or what one meter is missing."""

from __future__ import annotations

from typing import NamedTuple

from tidemark.dead_letters.records import Letter, raw_of
from udfs.events.envelope import Envelope, unwrap


class Part(NamedTuple):
    """The meter that is missing the event, and the run whose dead letter says so; both '' for a whole event."""

    meter: str = ""
    run: str = ""


WHOLE = Part()


def part_of(envelope: Envelope | None) -> Part:
    """The part that a record of the redrive topic is about."""
    return WHOLE if envelope is None else Part(envelope.meter, envelope.run)


def envelope_of(letter: Letter, redrive_topic: str, run_id: str) -> Envelope | None:
    """What a redrive has to send around the event, for a dead letter of that run; None for a whole one."""
    raw = raw_of(letter)
    if letter.get("partial") and raw is not None:
        return Envelope(letter["meter"], run_id, event_of(letter, redrive_topic) or b"")
    earlier = unwrap(raw) if letter["topic"] == redrive_topic else None
    return None if earlier is None else earlier._replace(run=run_id)


def event_of(letter: Letter, redrive_topic: str) -> bytes | None:
    """The bytes of the event itself."""
    raw = raw_of(letter)
    envelope = unwrap(raw) if letter["topic"] == redrive_topic else None
    return raw if envelope is None else envelope.event
