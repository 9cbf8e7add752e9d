"""Connections of reads to Postgres, shared by threads."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tidemark.core.errors import UnavailableError
from tidemark.core.postgres import Database
from tidemark.core.settings import Settings

CONNECTIONS = 4
TIMEOUT_MS = 10_000
_WAIT_S = 5.0


class Connections:
    """A few connections for reads, each used by one thread at a time; made again after a failure."""

    def __init__(self, settings: Settings, size: int = CONNECTIONS) -> None:
        schema = settings.names.billing_schema
        self._all = [Database(settings.postgres.ops, "api reads", schema, timeout_ms=TIMEOUT_MS) for _ in range(size)]
        self._free: queue.SimpleQueue[Database] = queue.SimpleQueue()
        for one in self._all:
            self._free.put(one)

    @contextmanager
    def using(self) -> Iterator[psycopg.Connection]:
        """A connection whose tables are those of the active version; raises UnavailableError when all are busy."""
        try:
            database = self._free.get(timeout=_WAIT_S)
        except queue.Empty:
            raise UnavailableError(f"all {len(self._all)} connections for reads are busy.", "try again.") from None
        try:
            with database.using() as connection:
                yield connection
        finally:
            self._free.put(database)

    def close(self) -> None:
        """Give all of them back."""
        for one in self._all:
            one.close()
