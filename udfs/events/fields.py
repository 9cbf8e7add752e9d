"""One decoded event, native or CloudEvent, and the checks of its single fields: ids, instant, quantity."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, ClassVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from udfs.calendars.calendar import MAX_MS, MIN_MS
from udfs.events.reasons import Reason, Rejected, shown

MAX_ID_BYTES = 256
# |quantity| < 10^18 and 9 decimals: 10^11 such events still fit the DECIMAL(38,9) of every total.
MAX_INTEGER_DIGITS = 18
MAX_DECIMALS = 9


class Event(msgspec.Struct, gc=False, frozen=True):
    """One event as sent, of the latest version. Values that most events never need decoded stay raw JSON."""

    # What the sender calls these fields: for the details of a verdict.
    TIME: ClassVar[str] = "timestamp"
    QUANTITY: ClassVar[str] = "quantity"

    event_id: str
    tenant_id: str
    customer_id: str
    event_type: str
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]
    quantity: Raw | UnsetType = UNSET
    properties: dict[str, Raw] | UnsetType = UNSET
    resource_id: str | UnsetType | None = UNSET
    user_id: str | UnsetType | None = UNSET
    session_id: str | UnsetType | None = UNSET
    region: str | UnsetType | None = UNSET
    # In JSON 1.0 is an integer too.
    schema_version: int | float | UnsetType = UNSET
    # Who sent it: ids are unique within their source.
    source: str | UnsetType | None = UNSET
    # Id of the event that this one takes back.
    voids: str | UnsetType | None = UNSET


class CloudEvent(Event, gc=False, frozen=True):
    """An event that came as a CloudEvent; what it says is found in the fields of the native event."""

    TIME: ClassVar[str] = "time"
    QUANTITY: ClassVar[str] = "data.quantity"


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# msgspec rounds what is finer than a microsecond: only from .xxx9995 on does that reach the next millisecond. An escape
# may hide such a digit.
# To look for one byte costs a tenth of looking for several.
_NINES, _BACKSLASH, _ESCAPED = b"999", ord("\\"), b"\\u00"


_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def event_time_ms(event: Event, raw: bytes) -> int:
    """Event time in UTC epoch ms, rounded down; `raw` are the bytes the event was parsed from.

    Raises
    ------
    Rejected
        The instant is outside 1970 to 2100.
    """
    since = event.timestamp - _EPOCH
    micros = since.microseconds
    ms = since.days * 86_400_000 + since.seconds * 1_000 + micros // 1_000
    if micros % 1_000 == 0 and (_NINES in raw or (_BACKSLASH in raw and _ESCAPED in raw)):
        ms -= _was_rounded_up(raw, event.TIME)
    if MIN_MS <= ms < MAX_MS:
        return ms
    raise Rejected(Reason.INVALID_TIMESTAMP, f"{event.TIME} {event.timestamp.isoformat()} is outside 1970 to 2100.")


def _was_rounded_up(raw: bytes, name: str) -> bool:
    """Whether a timestamp that reads as whole milliseconds had a fraction just below them."""
    written = _decode_fields(raw).get(name)
    if written is None:
        return False
    fraction = re.search(r"\.(\d{6})[5-9]", msgspec.json.decode(written, type=str | None) or "")
    return fraction is not None and fraction[1].endswith("999")


def checked_id(name: str, value: str) -> str:
    """An id or event type that is not empty, has no control characters and at most MAX_ID_BYTES bytes of UTF-8.

    Raises
    ------
    Rejected
        `invalid_id` or `id_too_long`.
    """
    if not value:
        raise Rejected(Reason.INVALID_ID, f"{name} is empty.")
    if not value.isprintable() and any(c < " " or c == "\x7f" for c in value):
        raise Rejected(Reason.INVALID_ID, f"{name} {shown(value)} has control characters.")
    if len(value) * 4 > MAX_ID_BYTES and (size := len(value.encode())) > MAX_ID_BYTES:
        raise Rejected(Reason.ID_TOO_LONG, f"{name} {shown(value)} has {size} bytes; the limit is {MAX_ID_BYTES}.")
    return value


# A quantity that is its own canonical text: JSON number or numeric string, at most 18 digits before the point.
_plain = re.compile(rb'("?)((?:-?[1-9]\d{0,17}|0)(?:\.\d{0,8}[1-9])?)\1').fullmatch
_JSON_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_NUMERIC_STRING = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_NON_FINITE = re.compile(r"[+-]?(?:s?nan\d*|inf(?:inity)?)", re.IGNORECASE)
_AMOUNTS: dict[bytes, str] = {}
_AMOUNTS_LIMIT = 20_000
_AMOUNT_MEMO_BYTES = 32


def quantity_of(event: Event) -> str:
    """The quantity as plain decimal text without exponent ("1" when absent), safe for DECIMAL(38,9).

    Raises
    ------
    Rejected
        It is no finite decimal within the limits.
    """
    if event.quantity is UNSET:
        return "1"
    text = bytes(event.quantity)
    return _AMOUNTS.get(text) or amount_text(text, event.QUANTITY)


def amount_text(raw: bytes, name: str) -> str:
    """A JSON number or numeric string as plain decimal text without exponent, safe for DECIMAL(38,9).

    `raw` is the JSON text of one value, `name` what the sender calls it.

    Raises
    ------
    Rejected
        It is no finite decimal within the limits.
    """
    amount = _AMOUNTS.get(raw)
    if amount is None:
        match = _plain(raw)
        amount = match[2].decode() if match else _canonical(raw, name)
        if len(raw) <= _AMOUNT_MEMO_BYTES:
            if len(_AMOUNTS) >= _AMOUNTS_LIMIT:
                _AMOUNTS.clear()
            _AMOUNTS[raw] = amount
    return amount


def _canonical(raw: bytes, name: str) -> str:
    """Plain decimal text of any other JSON value that is a number or a numeric string."""
    text = raw.decode()
    grammar = _JSON_NUMBER
    if text.startswith('"'):
        text, grammar = msgspec.json.decode(raw, type=str), _NUMERIC_STRING
        if _NON_FINITE.fullmatch(text):
            raise Rejected(Reason.NON_FINITE_QUANTITY, f"{name} is {shown(text)}.")
    if not text.isascii() or not grammar.fullmatch(text):
        if raw.startswith(b'"'):
            raise Rejected(Reason.INVALID_QUANTITY, f'{name} "{shown(text)}" is not a decimal number.')
        raise Rejected(Reason.WRONG_TYPE, f"{name} is {shown(text)}, not a number or a numeric string.")
    return _plain_text(text, name)


def _plain_text(text: str, name: str) -> str:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("Infinity")
    # Never format before the range is known: 1E+999999999 has a gigabyte of zeros.
    if not number.is_finite() or (number and number.adjusted() >= MAX_INTEGER_DIGITS):
        raise Rejected(Reason.QUANTITY_OUT_OF_RANGE, f"{name} {shown(text)} is not within +-1E+{MAX_INTEGER_DIGITS}.")
    if not number:
        return "0"
    sign, digits, exponent = number.as_tuple()
    significant = "".join(map(str, digits)).rstrip("0")
    scale = len(digits) - len(significant) + int(exponent)
    if scale < -MAX_DECIMALS:
        raise Rejected(
            Reason.QUANTITY_TOO_PRECISE, f"{name} {shown(text)} has {-scale} decimals; the limit is {MAX_DECIMALS}."
        )
    return format(Decimal((sign, tuple(map(int, significant)), scale)), "f")
