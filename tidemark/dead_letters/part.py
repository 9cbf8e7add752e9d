"""Which part of an event a dead letter is about: the whole event, or what one meter is missing."""

from __future__ import annotations

from typing import NamedTuple

from tidemark.dead_letters.records import DeadLetter, raw_of
from udfs.events.envelope import Envelope, unwrap


class Part(NamedTuple):
    """The meter that is missing the event, and the run of the dead letter; both '' for a whole event."""

    meter: str = ""
    run: str = ""


WHOLE = Part()


def part_of(envelope: Envelope | None) -> Part:
    """The part that a record of the redrive topic is about."""
    return WHOLE if envelope is None else Part(envelope.meter, envelope.run)


def envelope_of(dead_letter: DeadLetter, redrive_topic: str, run_id: str) -> Envelope | None:
    """The envelope in which a redrive sends the event of a dead letter of that run; None for a whole event."""
    raw = raw_of(dead_letter)
    if dead_letter.get("partial") and raw is not None:
        return Envelope(dead_letter["meter"], run_id, event_of(dead_letter, redrive_topic) or b"")
    earlier = unwrap(raw) if dead_letter["topic"] == redrive_topic else None
    return None if earlier is None else earlier._replace(run=run_id)


def event_of(dead_letter: DeadLetter, redrive_topic: str) -> bytes | None:
    """The bytes of the event itself."""
    raw = raw_of(dead_letter)
    envelope = unwrap(raw) if dead_letter["topic"] == redrive_topic else None
    return raw if envelope is None else envelope.event
