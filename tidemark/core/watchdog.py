"""Cuts the connection of a tool whose statement nobody answers any more.

A tool's statement may take hours, so that no time-out tells a long one from a dead server. While one runs, the server
is therefore asked over a second connection whether it is still at work on it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Literal

import psycopg
from psycopg.pq import TransactionStatus

from udfs import postgres as low_level

# Pause between two looks at a connection; a statement that takes less than two is never asked for.
CHECK_S = 10.0
PROBE_MS = 5_000
# Looks in a row that must find the same: one may fall between a statement and the next.
STRIKES = 2

_ACTIVITY = "SELECT state, state_change FROM pg_stat_activity WHERE pid = %s"
_CONNECTIONS_IN_USE = "FATAL"

# What a look finds wrong: no answer, no such session, or one that has answered, since when.
Sign = Literal["unreachable", "gone"] | datetime
Probe = Callable[[int], Sign | None]


class Patience:
    """Whether a statement is given up, by one look after the other; pure."""

    def __init__(self, strikes: int = STRIKES) -> None:
        self._strikes = strikes
        self._was_active = False
        self._sign: Sign | None = None
        self._count = 0

    def is_over(self, look: Callable[[], bool], probe: Callable[[], Sign | None]) -> bool:
        """Take one look: whether the connection waits for an answer, and if it does so again, what the server says."""
        was_active, self._was_active = self._was_active, look()
        sign = probe() if was_active and self._was_active else None
        self._count = self._count + 1 if sign is not None and sign == self._sign else int(sign is not None)
        self._sign = sign
        return self._count >= self._strikes


@contextlib.contextmanager
def watched(connection: psycopg.Connection, url: str, pid: int) -> Iterator[None]:
    """Cut the connection when its server has answered nothing, or an answer was lost; the body sees psycopg.Error.

    `pid` is the process of the server that works for it.
    """
    twin, over = socket.socket(fileno=os.dup(connection.fileno())), threading.Event()

    def waits() -> bool:
        return connection.info.transaction_status == TransactionStatus.ACTIVE

    def watch() -> None:
        patience = Patience()
        with twin:
            while not over.wait(CHECK_S):
                if patience.is_over(waits, lambda: probed(url, pid)):
                    with contextlib.suppress(OSError):
                        twin.shutdown(socket.SHUT_RDWR)
                    return

    threading.Thread(target=watch, name="postgres watchdog", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def probed(url: str, pid: int) -> Sign | None:
    """What is wrong with a session that should be at work; None while it is."""
    try:
        with (
            low_level.connect(url, statement_timeout_ms=PROBE_MS, application_name="tidemark watchdog") as connection,
            low_level.deadline(connection, PROBE_MS),
        ):
            row = connection.execute(_ACTIVITY, [pid]).fetchone()
    except psycopg.Error as error:
        # A server that refuses because it has too many connections is alive.
        return None if _CONNECTIONS_IN_USE in str(error) else "unreachable"
    if row is None:
        return "gone"
    state, since = row
    return None if state == "active" or since is None else since
