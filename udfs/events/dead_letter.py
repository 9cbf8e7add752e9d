"""Dead-letter records: the original bytes of an event that was not counted, its reason, and where it stood."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from udfs.values import MAX_RFC3339_MS, MIN_RFC3339_MS, rfc3339
from udfs.wire import HEADS, PARTIAL_REJECTS


class DlqRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Value of one record in the dead-letter topic.

    Parameters
    ----------
    reason, detail:
        Reason code (see `udfs.events.reasons`), and what was wrong in words.
    raw:
        Bytes of the Kafka value, exactly; base64 in JSON; None when the value was null, or has over 2 MiB.
    topic, partition, offset:
        Source position.
    arrival:
        Kafka record timestamp, RFC 3339 in UTC; None when no date can say it (a producer's CreateTime
        may be any 64-bit number).
    tenant_id, customer_id, event_id:
        As read from the event, None when they could not be read or are no valid ids.
    meter:
        The meter that refused the event; None when the event itself is at fault. Where several refused it and no other
        counted it, the first of them by name.
    partial:
        Whether other meters counted the event, so that it is missing in this one alone.
    """

    reason: str
    detail: str
    raw: bytes | None
    topic: str
    partition: int
    offset: int
    arrival: str | None
    tenant_id: str | None = None
    customer_id: str | None = None
    event_id: str | None = None
    meter: str | None = None
    partial: bool = False


class Refusal(msgspec.Struct, frozen=True):
    """What one meter has against an event: the fields in which partial dead letters of one event differ."""

    meter: str
    reason: str
    detail: str


class _Common(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that are the same in all partial dead letters of one event."""

    partial: bool = True
    raw: bytes | None
    topic: str
    partition: int
    offset: int
    arrival: str | None
    tenant_id: str | None
    customer_id: str | None
    event_id: str | None


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(DlqRecord)


def to_json(record: DlqRecord) -> str:
    """JSON text of a record."""
    return _ENCODER.encode(record).decode()


def pack_partial(record: DlqRecord, refusals: Iterable[Refusal]) -> str:
    """The partial dead letters of one event in one text, its bytes once; a head and the common part make a record.

    `record` says what they have in common; its reason, detail, meter and partial are not read.
    """
    common = _Common(
        raw=record.raw, topic=record.topic, partition=record.partition, offset=record.offset, arrival=record.arrival,
        tenant_id=record.tenant_id, customer_id=record.customer_id, event_id=record.event_id,
    )  # fmt: skip
    heads = HEADS.join(_ENCODER.encode(refusal).decode()[:-1] + "," for refusal in refusals)
    return PARTIAL_REJECTS.pack(heads, _ENCODER.encode(common).decode()[1:])


def unpack_records(text: str) -> list[DlqRecord]:
    """Records from a text of `to_json` (one) or of `pack_partial`."""
    if PARTIAL_REJECTS.separator not in text:
        return [from_json(text)]
    partial = PARTIAL_REJECTS.unpack(text)
    return [from_json(head + partial.common) for head in partial.heads.split(HEADS)]


def from_json(text: str | bytes) -> DlqRecord:
    """A record from its JSON text, with `raw` decoded.

    Raises
    ------
    msgspec.ValidationError, msgspec.DecodeError
        The text is no dead-letter record.
    """
    return _DECODER.decode(text)


def arrival_text(ms: int) -> str | None:
    """An arrival (UTC epoch ms) as text; None outside the years 1 to 9999, which no date can say."""
    return rfc3339(ms) if MIN_RFC3339_MS <= ms <= MAX_RFC3339_MS else None
