"""The native usage event: strict and fast parsing of raw bytes; `udfs.diagnosis` explains bad ones."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated

import msgspec
from msgspec import UNSET, Raw, UnsetType

from udfs.calendars import MAX_MS, MIN_MS
from udfs.diagnosis import SCHEMA_VERSION, diagnose, inspect
from udfs.reasons import Reason, Rejected, shown
from udfs.shape import MAX_DEPTH, shape_of

# Raw bytes of one event; a producer's batch limit is far above, and a dead-letter record carries the bytes in base64.
MAX_EVENT_BYTES = 65_536
MAX_ID_BYTES = 256
# |quantity| < 10^18 and 9 decimals: 10^11 such events still fit the DECIMAL(38,9) of every total.
MAX_INTEGER_DIGITS = 18
MAX_DECIMALS = 9


class Event(msgspec.Struct, gc=False, frozen=True):
    """One event as sent. Values that most events never need decoded stay raw JSON."""

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


_decode = msgspec.json.Decoder(Event).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_REQUIRED_COUNT = 5


def parse(raw: bytes | None) -> Event:
    """An event from the bytes of one Kafka value.

    Fields are present and of their type, every key is there once, strings are storable. Ids, time range, quantity and
    properties are checked where they are used (`checked_id`, `event_time_ms`, `quantity_of`, `udfs.meters`).

    Raises
    ------
    Rejected
        The bytes are no such event.
    """
    if not raw:
        raise Rejected(Reason.EMPTY_VALUE, "the value is null." if raw is None else "the value has 0 bytes.")
    if len(raw) > MAX_EVENT_BYTES:
        raise Rejected(Reason.EVENT_TOO_LARGE, f"the value has {len(raw)} bytes; the limit is {MAX_EVENT_BYTES}.")
    try:
        event = _decode(raw)
        # msgspec skips what it does not decode: the bytes of unknown fields may still not be UTF-8 ...
        if not raw.isascii():
            raw.decode()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise diagnose(raw, str(error)) from None
    # ... and it lets the last of two equal keys win: as many keys must be written as were decoded.
    shape = shape_of(raw)
    properties = event.properties
    decoded = _REQUIRED_COUNT + (event.quantity is not UNSET) + (event.schema_version is not UNSET)
    if properties is not UNSET:
        decoded += 1 + len(properties)
    if (shape.keys != decoded and shape.keys != _decoded_keys(event, raw)) or shape.suspect or shape.depth > MAX_DEPTH:
        inspect(raw)
    if event.schema_version is not UNSET and event.schema_version != SCHEMA_VERSION:
        inspect(raw)
    return event


def _decoded_keys(event: Event, raw: bytes) -> int:
    """Different keys of the event and of its properties: all there are, when no value holds an object of its own."""
    return len(_decode_fields(raw)) + (0 if event.properties is UNSET else len(event.properties))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# msgspec rounds what is finer than a microsecond: only from .xxx9995 on does that reach the next millisecond. An escape
# may hide such a digit.
_NINES, _ESCAPED = b"999", b"\\u00"


class _Timestamp(msgspec.Struct):
    timestamp: str


_decode_timestamp = msgspec.json.Decoder(_Timestamp).decode


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
    if micros % 1_000 == 0 and (_NINES in raw or _ESCAPED in raw) and _was_rounded_up(raw):
        ms -= 1
    if MIN_MS <= ms < MAX_MS:
        return ms
    raise Rejected(Reason.INVALID_TIMESTAMP, f"timestamp {event.timestamp.isoformat()} is outside 1970 to 2100.")


def _was_rounded_up(raw: bytes) -> bool:
    """Whether a timestamp that reads as whole milliseconds had a fraction just below them."""
    fraction = re.search(r"\.(\d{6})[5-9]", _decode_timestamp(raw).timestamp)
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
_plain = re.compile(rb'("?)((?:-?[1-9]\d{0,17}|0)(?:\.\d{1,9})?)\1').fullmatch
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
    amount = _AMOUNTS.get(text)
    if amount is None:
        match = _plain(text)
        amount = match[2].decode() if match else _canonical(text)
        if len(text) <= _AMOUNT_MEMO_BYTES:
            if len(_AMOUNTS) >= _AMOUNTS_LIMIT:
                _AMOUNTS.clear()
            _AMOUNTS[text] = amount
    return amount


def _canonical(raw: bytes) -> str:
    """Plain decimal text of any other JSON value that is a number or a numeric string."""
    text = raw.decode()
    grammar = _JSON_NUMBER
    if text.startswith('"'):
        text, grammar = msgspec.json.decode(raw, type=str), _NUMERIC_STRING
        if _NON_FINITE.fullmatch(text):
            raise Rejected(Reason.NON_FINITE_QUANTITY, f"quantity is {shown(text)}.")
    if not text.isascii() or not grammar.fullmatch(text):
        if raw.startswith(b'"'):
            raise Rejected(Reason.INVALID_QUANTITY, f'quantity "{shown(text)}" is not a decimal number.')
        raise Rejected(Reason.WRONG_TYPE, f"quantity is {shown(text)}, not a number or a numeric string.")
    return _plain_text(text)


def _plain_text(text: str) -> str:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("Infinity")
    # Never format before the range is known: 1E+999999999 has a gigabyte of zeros.
    if not number.is_finite() or (number and number.adjusted() >= MAX_INTEGER_DIGITS):
        raise Rejected(Reason.QUANTITY_OUT_OF_RANGE, f"quantity {shown(text)} is not within +-1E+{MAX_INTEGER_DIGITS}.")
    if not number:
        return "0"
    sign, digits, exponent = number.as_tuple()
    significant = "".join(map(str, digits)).rstrip("0")
    scale = len(digits) - len(significant) + int(exponent)
    if scale < -MAX_DECIMALS:
        raise Rejected(
            Reason.QUANTITY_TOO_PRECISE, f"quantity {shown(text)} has {-scale} decimals; the limit is {MAX_DECIMALS}."
        )
    return format(Decimal((sign, tuple(map(int, significant)), scale)), "f")
