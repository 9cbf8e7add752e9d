"""Values as people read them: grouped digits, shares, instants in the zone of the viewer. Pure."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from udfs.values import EXACT, parse_rfc3339, plain, rounded

_UNKNOWN = "\N{EN DASH}"
_DECIMALS = 3
_FULL = Decimal(100)


def number(text: str | None) -> str:
    """A plain decimal with its digits in groups and at most 3 decimals: the exact value is beside it, as a title."""
    if text is None:
        return _UNKNOWN
    return f"{Decimal(plain(rounded(Decimal(text), _DECIMALS))):,f}"


def about(text: str) -> str:
    """The same of what is only estimated: whole above a hundred."""
    value = Decimal(text)
    return number(plain(rounded(value, 0 if abs(value) >= _FULL else 1)))


def share(value: Decimal | None) -> str:
    """A share without zeros at its end; 0 where none is known."""
    return "0" if value is None else plain(value)


def percent(part: str | None, whole: str | None) -> Decimal | None:
    """Share in percent, to one decimal; None where one is not known or the whole is 0."""
    if part is None or whole is None or not Decimal(whole):
        return None
    return rounded(EXACT.divide(EXACT.multiply(Decimal(part), _FULL), Decimal(whole)), 1)


def moment(text: str | None, zone: str) -> str:
    """An instant in RFC 3339 as minutes of a zone: `2026-03-01 09:30 CET`."""
    if not text:
        return _UNKNOWN
    return local(text, zone).strftime("%Y-%m-%d %H:%M %Z")


def day(text: str, zone: str) -> str:
    """The day of an instant in a zone; a date stays what it is."""
    return text if len(text) == len("2026-03-01") else local(text, zone).date().isoformat()


def local(text: str, zone: str) -> datetime:
    """An instant in RFC 3339 in a zone."""
    return parse_rfc3339(text).astimezone(ZoneInfo(zone))


def last_day(end: str, zone: str) -> date:
    """The last day in a zone of what ends before an instant."""
    return (local(end, zone) - datetime.resolution).date()
