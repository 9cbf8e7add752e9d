"""Instants of the catalog: RFC 3339 text, `beginning` and `open`, as UTC epoch milliseconds and back."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from udfs.calendars.calendar import MAX_MS, MIN_MS
from udfs.meters.meter import BEGINNING_MS, FOREVER_MS

BEGINNING = "beginning"
OPEN = "open"
_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def instant_ms(text: str) -> int:
    """`beginning`, or an RFC 3339 instant of 1970 to 2100 rounded down, as UTC epoch ms.

    Raises
    ------
    ValueError
        Any other text; the message says what is wrong with it.

    """
    if text == BEGINNING:
        return BEGINNING_MS
    if not _RFC3339.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no RFC 3339 instant such as 2026-01-31T00:00:00Z.")
    try:
        ms = (datetime.fromisoformat(text.upper()) - _EPOCH) // _MS
    except ValueError as error:
        raise ValueError(f"{text[:40]!r} is no instant: {error}.") from None
    if not MIN_MS <= ms < MAX_MS:
        raise ValueError(f"{text[:40]!r} is outside the years 1970 to 2100.")
    return ms


def shown(ms: int) -> str:
    """An instant as people read it: RFC 3339 in UTC, `beginning` or `open`."""
    if ms == BEGINNING_MS:
        return BEGINNING
    if ms == FOREVER_MS:
        return OPEN
    at = _EPOCH + ms * _MS
    return at.isoformat(timespec="milliseconds" if ms % 1_000 else "seconds").replace("+00:00", "Z")


def stored(ms: int) -> str:
    """An instant as Postgres reads it."""
    return {BEGINNING_MS: "-infinity", FOREVER_MS: "infinity"}.get(ms) or shown(ms)
