"""Events on disk until the server has said what became of them: one SQLite file, written by one process."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tidemark_client.events.errors import SpoolError
from tidemark_client.events.event import Encoded

_VERSION = 1
_TABLES = """
CREATE TABLE event (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, customer TEXT NOT NULL,
  body BLOB NOT NULL);
CREATE TABLE rejected (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, customer TEXT NOT NULL,
  body BLOB NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, at_ms INTEGER NOT NULL);
PRAGMA user_version = 1;
"""
_BUSY_S = 30.0
# A write-ahead log that once grew is cut back to this.
_LOG_BYTES = 8 * 1024 * 1024
# Rows read at once while looking for as many as fit into a request.
_SOME = 100


class Pending(NamedTuple):
    """An event that waits to be sent, by its place in the spool."""

    seq: int
    id: str
    customer: str
    body: bytes


class Rejected(NamedTuple):
    """An event that is not counted, and why.

    Parameters
    ----------
    id, customer:
        Of the event.
    body:
        The event as it was sent, JSON in UTF-8; without its properties where those could not be encoded, and `{}` where
        the rest could not either.
    reason, detail:
        Reason code, of the server or of the SDK, and words.
    at_ms:
        When that was found, epoch ms.
    """

    id: str
    customer: str
    body: bytes
    reason: str
    detail: str
    at_ms: int


class Spool:
    """The file of a slot; for several threads of one process.

    Parameters
    ----------
    file:
        Made where it is missing.

    Raises
    ------
    SpoolError
        It is no spool, or one of another version.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        with self._reading() as connection:
            self._kept = _count_rejected(connection)
            row = connection.execute("SELECT count(*), coalesce(sum(length(body)), 0) FROM event").fetchone()
        self.events: int = row[0]
        self.bytes: int = row[1]

    def add(self, events: Sequence[Encoded], rejected: Sequence[Rejected] = ()) -> int:
        """Put events on disk, those that cannot be sent among the rejected; they outlive the machine's power.

        Returns the place of the last event that waits, 0 for none yet.
        """
        with self._writing() as connection:
            connection.executemany("INSERT INTO event (id, customer, body) VALUES (?, ?, ?)", events)
            _reject(connection, rejected)
            last = connection.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()[0]
        self._grow(len(events), sum(len(event.body) for event in events))
        return int(last)

    def oldest(self, count: int, size: int) -> list[Pending]:
        """The longest waiting events, at most `count`, and `size` bytes with a separator each, but always one."""
        batch: list[Pending] = []
        with self._reading() as connection:
            # Read row by row: a thousand large events need not be in memory to send the first ten.
            cursor = connection.execute("SELECT seq, id, customer, body FROM event ORDER BY seq LIMIT ?", (count,))
            cursor.arraysize = _SOME
            for pending in map(Pending._make, cursor):
                size -= len(pending.body) + 1
                if batch and size < 0:
                    break
                batch.append(pending)
            cursor.close()
        return batch

    def settle(self, settled: Sequence[Pending], rejected: Sequence[Rejected] = ()) -> int:
        """Forget events whose outcome is known, and keep those that were rejected, in one transaction.

        Returns how many of them were there: what was dropped while it was under way is gone already.
        """
        query = "DELETE FROM event WHERE seq = ?"
        with self._writing() as connection:
            _reject(connection, rejected)
            gone = [pending for pending in settled if connection.execute(query, (pending.seq,)).rowcount]
        self._grow(-len(gone), -sum(len(pending.body) for pending in gone))
        return len(gone)

    def first(self) -> int | None:
        """Place of the longest waiting event; None where none waits."""
        with self._reading() as connection:
            found: int | None = connection.execute("SELECT min(seq) FROM event").fetchone()[0]
        return found

    def rejected(self, limit: int) -> list[Rejected]:
        """The rejected events, the oldest first."""
        query = "SELECT id, customer, body, reason, detail, at_ms FROM rejected ORDER BY seq LIMIT ?"
        with self._reading() as connection:
            return [Rejected._make(row) for row in connection.execute(query, (limit,))]

    def rejected_count(self) -> int:
        """How many rejected events are kept; like `events` and `bytes` it asks no disk, which may hang or fail."""
        return self._kept

    def forget_rejected(self, ids: Sequence[str]) -> int:
        """Remove rejected events that someone has seen to; how many there were."""
        with self._writing() as connection:
            return connection.executemany("DELETE FROM rejected WHERE id = ?", [(one,) for one in ids]).rowcount

    def resend_rejected(self, ids: Sequence[str]) -> int:
        """Have rejected events wait to be sent again, under the same ids; how many there were."""
        with self._writing() as connection:
            rows = [
                row
                for one in ids
                for row in connection.execute("SELECT id, customer, body FROM rejected WHERE id = ?", (one,))
            ]
            connection.executemany("INSERT INTO event (id, customer, body) VALUES (?, ?, ?)", rows)
            connection.executemany("DELETE FROM rejected WHERE id = ?", [row[:1] for row in rows])
        self._grow(len(rows), sum(len(row[2]) for row in rows))
        return len(rows)

    def trim_rejected(self, most: int) -> int:
        """Remove the oldest rejected events above `most`; how many."""
        query = "DELETE FROM rejected WHERE seq <= (SELECT seq FROM rejected ORDER BY seq DESC LIMIT 1 OFFSET ?)"
        with self._writing() as connection:
            return connection.execute(query, (most,)).rowcount

    def drop_oldest(self, size: int) -> int:
        """Remove the longest waiting events until no more than `size` bytes are left; how many."""
        dropped = 0
        while self.bytes > size and (batch := self.oldest(_SOME, self.bytes - size)):
            dropped += self.settle(batch)
        return dropped

    def suspend(self) -> None:
        """Close the file and keep everyone out, for a fork: no connection of SQLite may be carried into a child."""
        self._lock.acquire()
        self._disconnect()

    def resume(self) -> None:
        """Let everyone in again, in the process that forked."""
        self._lock.release()

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _grow(self, events: int, size: int) -> None:
        with self._lock:
            self.events += events
            self.bytes += size

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connected()
            except sqlite3.Error as error:
                raise self._failed(error) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as connection:
            with connection:
                yield connection
                kept = _count_rejected(connection)
            self._kept = kept

    def _failed(self, error: sqlite3.Error) -> SpoolError:
        # What a failed disk leaves behind is not relied on: the next use opens the file again.
        try:
            self._disconnect()
        except sqlite3.Error:
            self._connection = None
        return SpoolError(f"the spool {self._file} cannot be used: {error}. Free its disk, or move the file away.")

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = _opened(self._file)
        return self._connection


def move(source: Spool, target: Spool, count: int, size: int) -> bool:
    """Take over events of a process that ended, and what was rejected of it; whether there may be more.

    They are on disk in the target before they leave the source: a crash between sends them twice under the same ids.
    """
    pending = source.oldest(count, size)
    rejected = source.rejected(count)
    target.add([Encoded(*event[1:]) for event in pending], rejected)
    source.settle(pending)
    source.forget_rejected([event.id for event in rejected])
    return bool(pending or rejected)


def _count_rejected(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM rejected").fetchone()[0])


def _reject(connection: sqlite3.Connection, rejected: Sequence[Rejected]) -> None:
    query = "INSERT OR REPLACE INTO rejected (id, customer, body, reason, detail, at_ms) VALUES (?, ?, ?, ?, ?, ?)"
    # A server's words may hold what is no Unicode.
    rows = [(*one[:3], _storable(one.reason), _storable(one.detail), one.at_ms) for one in rejected]
    connection.executemany(query, rows)


def _storable(text: str) -> str:
    return text.encode(errors="replace").decode()


def _opened(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=_BUSY_S, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL: what is committed survives the power of the machine, not only the process.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        _prepare(connection, file)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, file: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        connection.executescript(f"BEGIN;{_TABLES}COMMIT;")
    elif version != _VERSION:
        raise SpoolError(
            f"the spool {file} has version {version}; this SDK reads {_VERSION}: use the one that wrote it."
        )
