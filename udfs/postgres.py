"""Postgres with a bound on every wait, also on a server that holds the connection and says nothing."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator

import psycopg

CONNECT_TIMEOUT_S = 3
# Given to the server to end its statement by itself and say so, before the client cuts the connection.
_ANSWER_MARGIN_S = 2.0


def connect(
    url: str, *, statement_timeout_ms: int, application_name: str, lock_timeout_ms: int = 0
) -> psycopg.Connection:
    """Autocommit connection in UTC; a timeout of 0 means no limit.

    Raises
    ------
    psycopg.OperationalError
        No session within CONNECT_TIMEOUT_S.

    """
    return psycopg.connect(
        url,
        connect_timeout=CONNECT_TIMEOUT_S,
        application_name=application_name,
        # Compiling a statement takes longer than any of ours runs.
        options=f"-c TimeZone=UTC -c jit=off -c statement_timeout={statement_timeout_ms} "
        f"-c lock_timeout={lock_timeout_ms}",
        autocommit=True,
    )


@contextlib.contextmanager
def deadline(connection: psycopg.Connection, timeout_ms: int) -> Iterator[None]:
    """Cut the connection when the body takes longer than `timeout_ms` and a margin; the body then sees psycopg.Error.

    statement_timeout is kept by the server: a server that is frozen, or behind a dead network, keeps nothing.
    """
    twin = socket.socket(fileno=os.dup(connection.fileno()))

    def cut() -> None:
        with contextlib.suppress(OSError):
            twin.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(timeout_ms / 1_000 + _ANSWER_MARGIN_S, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        twin.close()


def first_line(error: BaseException) -> str:
    """First line of an error message: libpq adds hints and positions below it."""
    return str(error).strip().partition("\n")[0][:300]
