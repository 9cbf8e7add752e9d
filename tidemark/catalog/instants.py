"""Instants of the catalog: RFC 3339 text, `beginning` and `open`, as UTC epoch milliseconds and back."""

from __future__ import annotations

from udfs.calendars.calendar import MAX_MS, MIN_MS
from udfs.meters.meter import BEGINNING_MS, FOREVER_MS
from udfs.values import epoch_ms, parse_rfc3339, rfc3339

BEGINNING = "beginning"
OPEN = "open"


def instant_ms(text: str) -> int:
    """`beginning`, or an RFC 3339 instant of 1970 to 2100 rounded down, as UTC epoch ms.

    Raises
    ------
    ValueError
        Any other text; the message says what is wrong with it.

    """
    if text == BEGINNING:
        return BEGINNING_MS
    ms = epoch_ms(parse_rfc3339(text))
    if not MIN_MS <= ms < MAX_MS:
        raise ValueError(f"{text[:40]!r} is outside the years 1970 to 2100.")
    return ms


def shown(ms: int) -> str:
    """An instant as people read it: RFC 3339 in UTC, `beginning` or `open`."""
    if ms == BEGINNING_MS:
        return BEGINNING
    if ms == FOREVER_MS:
        return OPEN
    return rfc3339(ms)


def stored(ms: int) -> str:
    """An instant as Postgres reads it."""
    return {BEGINNING_MS: "-infinity", FOREVER_MS: "infinity"}.get(ms) or shown(ms)
