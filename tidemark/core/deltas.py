"""A record of the topic of deltas, as `meter` writes it; and which records there another program wrote."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

import msgspec

from udfs.values import parse_rfc3339

# As jobs/flink/valid_delta.sql has it: what one delta may have at most, and ten together.
_MOST = 1_000_000_000_000
_LARGEST = Decimal("1E28")
_KEY_BYTES = 2_250
_INT = 2**31 - 1
_BIGINT = 2**63 - 1

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_AMOUNT = re.compile(r"-?[0-9]{1,29}(\.[0-9]{1,9})?")
_Count = Annotated[int, msgspec.Meta(ge=-_MOST, le=_MOST)]
_Offset = Annotated[int, msgspec.Meta(ge=0, le=_BIGINT)]


class Delta(msgspec.Struct):
    """What one tick added to a series and minute; amounts are decimal text, instants RFC 3339 in UTC."""

    tenant_id: str
    customer_id: str
    meter: str
    dims: str
    part: str
    minute: str
    period_start: str
    period_end: str
    n: Annotated[int, msgspec.Meta(ge=1, le=_MOST)]
    samples: _Count
    total: str
    source_topic: str
    source_partition: Annotated[int, msgspec.Meta(ge=0, le=_INT)]
    first_offset: _Offset
    last_offset: _Offset
    events: Annotated[int, msgspec.Meta(ge=0, le=_MOST)]


_decode = msgspec.json.Decoder(Delta).decode


def read(value: bytes | None) -> Delta | None:
    """The delta of a record; None for what `meter` has not written, whatever it holds."""
    try:
        delta = _decode(value or b"")
        return delta if _fits(delta) else None
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError):
        return None


def _fits(delta: Delta) -> bool:
    """Whether tables and sums take it; raises ValueError for what is no instant."""
    ids = delta.tenant_id + delta.customer_id + delta.meter
    if not ids.isprintable() and _CONTROL.search(ids):
        return False
    texts = delta.dims + delta.part
    if "\0" in texts or "\0" in delta.source_topic or len((ids + texts + delta.source_topic).encode()) > _KEY_BYTES:
        return False
    minute, start, end = map(parse_rfc3339, (delta.minute, delta.period_start, delta.period_end))
    return (
        _AMOUNT.fullmatch(delta.total) is not None
        and abs(Decimal(delta.total)) < _LARGEST
        and delta.first_offset <= delta.last_offset
        and start < end
        and not (minute.second or minute.microsecond)
    )
