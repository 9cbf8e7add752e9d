"""Dead-letter records: the original bytes of an event that was not counted, its reason, and where it stood."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class DlqRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Value of one record in the dead-letter topic.

    Parameters
    ----------
    reason, detail:
        Reason code (see `udfs.events.reasons`), and what was wrong in words.
    raw:
        Bytes of the Kafka value, exactly; base64 in JSON; None when the value was null.
    topic, partition, offset:
        Source position.
    arrival:
        Kafka record timestamp, RFC 3339 UTC with milliseconds; None when no date can say it (a producer's CreateTime
        may be any 64-bit number).
    tenant_id, customer_id, event_id:
        As read from the event, None when they could not be read or are no valid ids.
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


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(DlqRecord)


def to_json(record: DlqRecord) -> str:
    """JSON text of a record."""
    return _ENCODER.encode(record).decode()


def from_json(text: str | bytes) -> DlqRecord:
    """A record from its JSON text, with `raw` decoded.

    Raises
    ------
    msgspec.ValidationError, msgspec.DecodeError
        The text is no dead-letter record.
    """
    return _DECODER.decode(text)


def rfc3339(ms: int) -> str | None:
    """UTC epoch milliseconds as RFC 3339 text with milliseconds; None outside the years 1 to 9999."""
    try:
        at = _EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        return None
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
