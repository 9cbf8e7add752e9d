"""How a partial dead letter is sent again: a line that names its meter, and after it the bytes of the event.

Only the redrive topic is read so, and no producer can make such a value there: what a redrive sends is either a whole
JSON object or made by `wrap`, and a line that is a whole object with more after it is no JSON.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

import msgspec

KEY_BYTES = 16
# How `wrap` begins; JSON with a space in it is not of `wrap`.
_BEGIN = b'{"tidemark_meter":'


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    tidemark_meter: str
    run: str
    original: bytes | None = None


class Envelope(NamedTuple):
    """An event that is to count for one meter alone.

    Parameters
    ----------
    meter:
        The meter that refused the event when the others counted it.
    run:
        Id of the run that wrote the partial dead letter.
    event:
        Bytes of the event, repaired or not.
    original:
        Bytes before the repair; None where there was none.
    """

    meter: str
    run: str
    event: bytes
    original: bytes | None = None


def wrap(envelope: Envelope) -> bytes:
    """The value of a record of the redrive topic."""
    line = _Line(envelope.meter, envelope.run, envelope.original)
    return msgspec.json.encode(line) + b"\n" + envelope.event


def unwrap(value: bytes | None) -> Envelope | None:
    """An envelope from the value of a record of the redrive topic; None for any other value."""
    if value is None or not value.startswith(_BEGIN):
        return None
    head, newline, event = value.partition(b"\n")
    if not newline:
        return None
    try:
        line = msgspec.json.decode(head, type=_Line)
    except msgspec.MsgspecError:
        return None
    return Envelope(line.tidemark_meter, line.run, event, line.original)


def part_key(meter: str, key: bytes) -> bytes:
    """Dedupe key of what an event of dedupe key `key` adds to one meter alone; it is no event's, and no void's."""
    return _hashed(b"meter", meter, key)


def declined_key(meter: str, key: bytes) -> bytes:
    """Dedupe key of an envelope that has nothing to add to its meter: not being counted, it uses up no other key."""
    return _hashed(b"declined", meter, key)


def _hashed(kind: bytes, meter: str, key: bytes) -> bytes:
    # The texts of other keys begin with a digit, or with "void ".
    name = meter.encode()
    return blake2b(b"%b %d:%b%b" % (kind, len(name), name, key), digest_size=KEY_BYTES).digest()
