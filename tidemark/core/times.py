"""Instants as people give them on a command line, and as records have them; printed they are `udfs.values.rfc3339`."""

from __future__ import annotations

from datetime import UTC, datetime

from tidemark.core.errors import UsageError
from udfs.calendars.calendar import MAX_MS, MIN_MS
from udfs.values import epoch_ms, instant, parse_rfc3339, rfc3339

EXAMPLE = "2026-01-31T00:00:00Z"


def given_instant(text: str, option: str = "") -> datetime:
    """The instant in UTC that was given as RFC 3339 text with its offset.

    Raises
    ------
    UsageError
        It is another text; names the option where there is one.
    """
    try:
        return parse_rfc3339(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        detail = str(error) if isinstance(error, ValueError) else f"{text!r} is outside the years 1 to 9999."
        raise UsageError(f"{option}: {detail}" if option else detail, f"write for example {EXAMPLE}.") from None


def given_ms(text: str, option: str = "") -> int:
    """As `given_instant`, in UTC epoch ms, rounded down."""
    return epoch_ms(given_instant(text, option))


def arrival_of(timestamp_ms: int) -> datetime:
    """The timestamp of a record as the nearest instant that calendars support: producers may set any 64 bits."""
    return instant(min(max(timestamp_ms, MIN_MS), MAX_MS))


def arrival_text(timestamp_ms: int) -> str:
    """The timestamp of a record in RFC 3339; a number of ms where no date is that far away."""
    try:
        return rfc3339(timestamp_ms)
    except OverflowError:
        return f"{timestamp_ms} ms"
