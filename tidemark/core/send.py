"""Sends a file of events, one per line, exactly as they are: the job `meter` validates them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tidemark.core.errors import UsageError
from tidemark.core.kafka import Sender
from tidemark.core.settings import Settings
from udfs.events.parse import BYTE_ORDER_MARK

STDIN = "-"


def send_lines(
    settings: Settings,
    lines: Iterable[bytes],
    topic: str | None = None,
    rate: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Send each line as one record; empty lines are skipped, all others are sent unchanged.

    Parameters
    ----------
    settings:
        Settings of the target.
    lines:
        One event each, with or without the line end.
    topic:
        Topic; None for the source topic.
    rate:
        Lines a second; None for as fast as Kafka accepts them.
    progress:
        Called with 1 after each line.

    Returns
    -------
    Number of records sent and acknowledged.

    Raises
    ------
    UnavailableError
        Kafka cannot be reached.

    """
    if rate is not None and rate <= 0:
        raise UsageError(f"a rate of {rate} lines a second sends nothing.", "give a rate above 0.")
    begun = time.monotonic()
    with Sender(settings.kafka) as sender:
        for line in lines:
            value = line.rstrip(b"\r\n")
            if not value:
                continue
            if rate is not None:
                _wait_until(begun + sender.sent / rate)
            sender.send(topic or settings.topics.events, value, key=key_of(value))
            if progress is not None:
                progress(1)
        sender.flush()
        return sender.sent


def key_of(value: bytes) -> bytes | None:
    """Kafka key of an event, `tenant/customer`, so that a customer's events stay in order; None when unreadable."""
    try:
        event = json.loads(value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict):
        return None
    tenant, customer = event.get("tenant_id"), event.get("customer_id")
    if not isinstance(tenant, str) or not isinstance(customer, str):
        return None
    return f"{tenant}/{customer}".encode("utf-8", "backslashreplace")


@contextmanager
def open_lines(source: str, stdin: BinaryIO) -> Iterator[Iterable[bytes]]:
    """Lines of a file, or of standard input for `-`; a byte order mark at the start is removed.

    Raises
    ------
    UsageError
        The file cannot be read.

    """
    if source == STDIN:
        yield _without_mark(stdin)
        return
    try:
        file = Path(source).open("rb")  # noqa: SIM115 - closed below, once opening is known to have worked
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error.strerror}.", "give a file of events, one a line.") from error
    with file:
        yield _without_mark(file)


def _without_mark(lines: BinaryIO) -> Iterator[bytes]:
    for place, line in enumerate(lines):
        yield line if place else line.removeprefix(BYTE_ORDER_MARK)


def _wait_until(at: float) -> None:
    left = at - time.monotonic()
    if left > 0:
        time.sleep(left)
