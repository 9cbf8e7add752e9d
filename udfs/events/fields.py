"""One decoded event, native or CloudEvent, and the checks of its single fields: ids, instant, quantity."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, ClassVar, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from udfs.calendars.calendar import MAX_MS, MIN_MS
from udfs.events.reasons import Reason, Rejected, shown
from udfs.values import EPOCH, Parts, parts_of, plain, rounded

MAX_ID_BYTES = 256
# |quantity| < 10^18 and 9 decimals: 10^11 such events still fit the DECIMAL(38,9) of every total.
MAX_INTEGER_DIGITS = 18
MAX_DECIMALS = 9


class Event(msgspec.Struct, gc=False, frozen=True):
    """One event as sent, of the latest version. Values that most events never need decoded stay raw JSON."""

    # What the sender calls these fields: for the details of a rejection.
    TIME: ClassVar[str] = "timestamp"
    QUANTITY: ClassVar[str] = "quantity"

    event_id: str
    tenant_id: str
    customer_id: str
    event_type: str
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]
    quantity: Raw | UnsetType = UNSET
    properties: dict[str, Raw] | UnsetType | None = UNSET
    resource_id: str | UnsetType | None = UNSET
    user_id: str | UnsetType | None = UNSET
    session_id: str | UnsetType | None = UNSET
    region: str | UnsetType | None = UNSET
    # In JSON 1.0 is an integer too.
    schema_version: int | float | UnsetType | None = UNSET
    # Who sent it: ids are unique within their source.
    source: str | UnsetType | None = UNSET
    # Id of the event that this one takes back.
    voids: str | UnsetType | None = UNSET
    # Which SDK sent it, of any type; not read, but named: to look for a duplicate among unknown fields costs 0.7 us.
    sdk: Raw | UnsetType = UNSET


class CloudEvent(Event, gc=False, frozen=True):
    """An event that came as a CloudEvent; what it says is found in the fields of the native event."""

    TIME: ClassVar[str] = "time"
    QUANTITY: ClassVar[str] = "data.quantity"


_MICROSECOND = timedelta(microseconds=1)
# msgspec rounds what is finer than a microsecond: only from .xxx9995 on does that reach the next millisecond. An escape
# may hide such a digit.
_rounded_up = re.compile(rb"\.\d{3}999[5-9]").search
# To look for one byte costs a tenth of looking for several.
_BACKSLASH, _ESCAPED = ord("\\"), b"\\u00"
# Seconds and their fraction in RFC 3339 text.
_SECONDS = re.compile(r":\d\d:(\d\d)(?:\.(\d+))?", re.ASCII)
# Seconds with a fraction finer than a millisecond.
_finer = re.compile(rb":\d\d\.\d{4}").search
LEAP_SECOND, _LEAP = "60", b":60"
_LAST_NANOS = 999_999
# What some editors and shells put in front of UTF-8.
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_SomeEvent = TypeVar("_SomeEvent", bound=Event)


def cut_to_millisecond(event: _SomeEvent, raw: bytes) -> _SomeEvent:
    """The event with a time that lies in the millisecond that was written, wherever decoding rounded it.

    `raw` are the bytes the event was decoded from.
    """
    if event.timestamp.microsecond % 1_000 or not (_rounded_up(raw) or (_BACKSLASH in raw and _ESCAPED in raw)):
        return event
    _, fraction = _written_seconds(event, raw)
    if fraction[3:6] != "999" or fraction[6:7] < "5":
        return event
    return msgspec.structs.replace(event, timestamp=event.timestamp - _MICROSECOND)


def event_time_ms(event: Event) -> int:
    """Event time in UTC epoch ms, rounded down.

    Raises
    ------
    Rejected
        The instant is outside 1970 to 2100.
    """
    since = event.timestamp - EPOCH
    ms = since.days * 86_400_000 + since.seconds * 1_000 + since.microseconds // 1_000
    if MIN_MS <= ms < MAX_MS:
        return ms
    detail = f"{event.TIME} {event.timestamp.isoformat()} is outside 1970 to 2100; write when the use took place."
    raise Rejected(Reason.INVALID_TIMESTAMP, detail)


def nanos_of(event: Event, raw: bytes) -> int:
    """Nanoseconds from the event's millisecond on, 0 to 999 999: what was written, finer digits cut off.

    `raw` are the bytes the event was parsed from. A leap second is the last one of its minute.
    """
    if event.timestamp.microsecond % 1_000 == 0 and not (_BACKSLASH in raw or _LEAP in raw or _finer(raw)):
        return 0
    second, fraction = _written_seconds(event, raw)
    return _LAST_NANOS if second == LEAP_SECOND else int(fraction[3:9].ljust(6, "0"))


def _written_seconds(event: Event, raw: bytes) -> tuple[str, str]:
    """The second and its decimals as text; ('', '') for an event without a time of its own."""
    written = _decode_fields(raw.removeprefix(BYTE_ORDER_MARK)).get(event.TIME)
    match = _SECONDS.search(msgspec.json.decode(written, type=str | None) or "") if written is not None else None
    return ("", "") if match is None else (match[1], match[2] or "")


# What an id may not hold: controls, separators of lines and paragraphs, and marks that turn the direction of text, by
# which two ids that differ look the same. Of Unicode's categories Cc, Zl, Zp, and its property Bidi_Control.
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def checked_id(name: str, value: str) -> str:
    """An id or event type that is not empty, has no control characters and at most MAX_ID_BYTES bytes of UTF-8.

    Line and paragraph separators and marks that turn the direction of text count as control characters.

    Raises
    ------
    Rejected
        `invalid_id` or `id_too_long`.
    """
    if not value:
        raise Rejected(Reason.INVALID_ID, f"{name} is empty.")
    if not value.isprintable() and (match := _UNSHOWN.search(value)) is not None:
        detail = f"{name} {shown(value)} has the control character U+{ord(match[0]):04X}; send it without."
        raise Rejected(Reason.INVALID_ID, detail)
    if len(value) * 4 > MAX_ID_BYTES and (size := len(value.encode())) > MAX_ID_BYTES:
        raise Rejected(Reason.ID_TOO_LONG, f"{name} {shown(value)} has {size} bytes; the limit is {MAX_ID_BYTES}.")
    return value


# A quantity that is its own canonical text: JSON number or numeric string, at most 18 digits before the point.
_plain = re.compile(rb'("?)((?:-?[1-9]\d{0,17}|0)(?:\.\d{0,8}[1-9])?)\1').fullmatch
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

    What has more than MAX_DECIMALS decimals is rounded half-even to as many.

    `raw` is the JSON text of one value, `name` what the sender calls it.

    Raises
    ------
    Rejected
        It is no finite decimal within the limits.
    """
    amount = _AMOUNTS.get(raw)
    if amount is None:
        match = _plain(raw)
        amount = match[2].decode() if match else _rounded_text(raw, name)
        if len(raw) <= _AMOUNT_MEMO_BYTES:
            if len(_AMOUNTS) >= _AMOUNTS_LIMIT:
                _AMOUNTS.clear()
            _AMOUNTS[raw] = amount
    return amount


def decimals_of(raw: bytes) -> int:
    """Decimals of a JSON value that `amount_text` takes, those without effect at the end not counted."""
    parts = parts_of(_text(raw))
    return 0 if parts is None else max(0, -parts.exponent)


def _text(raw: bytes) -> str:
    """The text of a JSON string, or of any other value as it is."""
    return msgspec.json.decode(raw, type=str) if raw.startswith(b'"') else raw.decode()


def _rounded_text(raw: bytes, name: str) -> str:
    """Plain decimal text of any other JSON value that is a number or a numeric string."""
    text = _text(raw)
    if raw.startswith(b'"') and _NON_FINITE.fullmatch(text):
        raise Rejected(Reason.NON_FINITE_QUANTITY, f"{name} is {shown(text)}; send a finite number, or no event.")
    parts = parts_of(text)
    if parts is None:
        if raw.startswith(b'"'):
            detail = f'{name} "{shown(text)}" is not a decimal number; write digits and a point, for example "1234.5".'
            raise Rejected(Reason.INVALID_QUANTITY, detail)
        said = ", which counts as 1 where it is left out" if text == "null" else ""
        raise Rejected(Reason.WRONG_TYPE, f"{name} is {shown(text)}, not a number or a numeric string{said}.")
    amount = _rounded(parts)
    if amount is None:
        raise Rejected(Reason.QUANTITY_OUT_OF_RANGE, f"{name} {shown(text)} is not within +-1E+{MAX_INTEGER_DIGITS}.")
    return amount


def _rounded(parts: Parts) -> str | None:
    """A number half-even to MAX_DECIMALS decimals as plain text; None when it is out of range then."""
    # Never made a Decimal before its size is known: 1E+999999999 has a gigabyte of zeros.
    if parts.places_before > MAX_INTEGER_DIGITS:
        return None
    if not parts.digits or parts.places_before < -MAX_DECIMALS:
        return "0"
    sign = "-" if parts.negative else ""
    value = rounded(Decimal(f"{sign}{parts.digits}E{parts.exponent}"), MAX_DECIMALS)
    return None if value.adjusted() >= MAX_INTEGER_DIGITS else plain(value)
