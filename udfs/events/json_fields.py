"""Checks of single fields of a JSON document read at leisure, and what is wrong with one in words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from udfs.events.reasons import Reason, Rejected, shown
from udfs.events.shape import MAX_PROPERTIES

_LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?", re.ASCII)
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.\d+)?(?:[Zz]|[+-](\d\d):?(\d\d))", re.ASCII)
_LEAP_SECOND = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d):60(?:\.\d+)?([Zz]|[+-]\d\d:?\d\d)", re.ASCII)
_LAST_MINUTE = 23 * 60 + 59


@dataclass(frozen=True, slots=True)
class Number:
    """A JSON number as written: no digit limit, no rounding."""

    text: str


@dataclass(frozen=True, slots=True)
class NonFinite:
    """NaN, Infinity or -Infinity, which some writers emit and JSON does not know."""

    text: str


def require(document: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise `missing_field` with all of the names that the document does not have."""
    missing = [name for name in names if name not in document]
    if missing:
        raise Rejected(Reason.MISSING_FIELD, f"{', '.join(missing)} {'are' if missing[1:] else 'is'} missing.")


def expect(name: str, value: Any, contract: str, holds: bool) -> None:
    """Raise `wrong_type` unless the contract holds."""
    if not holds:
        raise Rejected(Reason.WRONG_TYPE, f"{name} is {kind(value)}, not {contract}.")


def expect_text(document: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise `wrong_type` unless each of these optional fields is a string, null or absent."""
    for name in names:
        value = document.get(name)
        expect(name, value, "a string or null", value is None or isinstance(value, str))


def expect_properties(name: str, value: Any) -> None:
    """Raise `wrong_type` or `too_many_properties` unless it is null, or an object within the limit."""
    if value is None:
        return
    expect(name, value, "an object", isinstance(value, dict))
    if len(value) > MAX_PROPERTIES:
        detail = f"{name} has {len(value)} properties; the limit is {MAX_PROPERTIES}."
        raise Rejected(Reason.TOO_MANY_PROPERTIES, detail)


def expect_instant(name: str, value: Any) -> None:
    """Raise `wrong_type`, `timestamp_without_zone` or `invalid_timestamp` unless it is an RFC 3339 string."""
    expect(name, value, "an RFC 3339 string", isinstance(value, str))
    if _LOCAL_TIME.fullmatch(value) and _is_date_time(value):
        detail = f'{name} "{shown(value)}" has neither Z nor an offset; write one, for example {value[:19]}Z.'
        raise Rejected(Reason.TIMESTAMP_WITHOUT_ZONE, detail)
    if _is_rfc3339(value) or without_leap_second(value) is not None:
        return
    fault = "is not RFC 3339, for example 2024-02-29T23:59:59Z"
    if _LEAP_SECOND.fullmatch(value):
        fault = "has a second 60, which only 23:59:60 UTC may have; write 59.999 for the end of a minute"
    raise Rejected(Reason.INVALID_TIMESTAMP, f'{name} "{shown(value)}" {fault}.')


def without_leap_second(value: str) -> str | None:
    """A time in a leap second, which is 23:59:60 in UTC, as the last millisecond of its minute; None for any other."""
    match = _LEAP_SECOND.fullmatch(value)
    if match is None:
        return None
    other = f"{match[1]}:59.999{match[2]}"
    if not _is_rfc3339(other):
        return None
    at = datetime.fromisoformat(other.upper())
    return other if _minute_of_day(at) == _LAST_MINUTE else None


def _minute_of_day(at: datetime) -> int:
    """Minute of the UTC day, 0 to 1439; without arithmetic on dates, which would end with the year 9999."""
    offset = at.utcoffset() or timedelta()
    return (at.hour * 60 + at.minute - int(offset.total_seconds()) // 60) % 1_440


def _is_rfc3339(value: str) -> bool:
    match = _RFC3339.fullmatch(value)
    hours, minutes = (match[2] or "0", match[3] or "0") if match else ("99", "99")
    return match is not None and _is_date_time(match[1]) and int(hours) <= 23 and int(minutes) <= 59  # noqa: PLR2004


def _is_date_time(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def kind(value: Any) -> str:
    """What a JSON value is, in words."""
    match value:
        case None:
            return "null"
        case bool():
            return f"the boolean {str(value).lower()}"
        case Number() | NonFinite():
            return f"the number {shown(value.text)}"
        case str():
            return f'the string "{shown(value)}"'
        case list():
            return "an array"
        case _:
            return "an object"
