"""Instants from the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tidemark.core.errors import UsageError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant_ms(text: str) -> int:
    """UTC epoch ms, rounded down, from an RFC 3339 instant.

    Raises
    ------
    UsageError
        It is not an instant, or has no zone.
    """
    try:
        at = datetime.fromisoformat(text.upper())
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise UsageError(f"{text!r} is not an instant.", "write RFC 3339 with a zone: 2024-02-29T23:59:59Z.")
    return (at - _EPOCH) // timedelta(milliseconds=1)
