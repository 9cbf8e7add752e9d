"""The index of the archive in Postgres: its files, and the offsets that no file holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from tidemark.core.errors import StandbyError, TidemarkError
from tidemark.core.names import Names
from tidemark.core.postgres import LOCK_TIMEOUT_S, connect, lock, use_schema
from tidemark.core.settings import PostgresSettings
from udfs.values import instant

# A killed writer may hold the lock until Postgres notices; a longer wait means that another writer works.
_LOCK_WAIT = "10s"

_FILES: LiteralString = """
SELECT topic, partition, day, first_offset, last_offset, rows, bytes, sha256, arrival_min, arrival_max, path
FROM archive_file
WHERE topic = %(topic)s AND (%(partitions)s::integer[] IS NULL OR partition = ANY (%(partitions)s))
  AND arrival_max >= %(since)s AND arrival_min < %(until)s
ORDER BY partition, first_offset
"""
_GAPS: LiteralString = """
SELECT topic, partition, first_offset, last_offset, reason FROM archive_gap
WHERE topic = %(topic)s ORDER BY partition, first_offset
"""
_NEXT: LiteralString = """
SELECT partition, max(last_offset) + 1
FROM (
    SELECT partition, last_offset FROM archive_file WHERE topic = %(topic)s
    UNION ALL
    SELECT partition, last_offset FROM archive_gap WHERE topic = %(topic)s
) covered
GROUP BY partition
"""
_ADD_FILE: LiteralString = """
INSERT INTO archive_file (topic, partition, day, first_offset, last_offset, rows, bytes, sha256, arrival_min,
                          arrival_max, path)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_ADD_GAP: LiteralString = """
INSERT INTO archive_gap (topic, partition, first_offset, last_offset, reason) VALUES (%s, %s, %s, %s, %s)
"""


@dataclass(frozen=True, slots=True)
class File:
    """A file of the archive; see the comments of the table `archive_file`."""

    topic: str
    partition: int
    day: date
    first: int
    last: int
    rows: int
    size: int
    sha256: str
    arrival_min: datetime
    arrival_max: datetime
    path: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets `first` to `last` that no file holds; `reason` as in the table `archive_gap`."""

    topic: str
    partition: int
    first: int
    last: int
    reason: str


class Index:
    """The index over one connection; every method is one transaction, or part of the caller's.

    Parameters
    ----------
    connection:
        Its search path begins with the schema of the ledger.
    """

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection

    def archive_id(self) -> str:
        """Id of the archive that the index belongs to."""
        row = self.connection.execute("SELECT archive_id FROM archive").fetchone()
        return str(row[0]) if row else ""

    def take_id(self, archive_id: str) -> None:
        """Be the index of an archive that is there already; for an index without files."""
        self.connection.execute("UPDATE archive SET archive_id = %s", [archive_id])

    def count(self) -> int:
        """Files of all topics."""
        row = self.connection.execute("SELECT count(*) FROM archive_file").fetchone()
        return int(row[0]) if row else 0

    def topics(self) -> list[str]:
        """Topics that have been archived."""
        return [str(row[0]) for row in self.connection.execute("SELECT topic FROM archive_topic ORDER BY topic")]

    def register_topic(self, topic: str, topic_id: str) -> None:
        """Store the id of a topic, or check that it is still the same.

        Raises
        ------
        TidemarkError
            It was deleted and created again: its offsets start again, and those of the archive mean other records.
        """
        add = "INSERT INTO archive_topic (topic, topic_id) VALUES (%s, %s) ON CONFLICT DO NOTHING"
        self.connection.execute(add, [topic, topic_id])
        row = self.connection.execute("SELECT topic_id FROM archive_topic WHERE topic = %s", [topic]).fetchone()
        if row and str(row[0]) != topic_id:
            raise TidemarkError(
                f"topic {topic} was deleted and created again (id {topic_id}, not {row[0]}): offsets differ.",
                "archive it under another topics.events, or with another database and archive.dir.",
            )

    def next_offsets(self, topic: str) -> dict[int, int]:
        """Offset to continue with, by partition; absent where nothing was archived."""
        rows = self.connection.execute(_NEXT, {"topic": topic})
        return {int(partition): int(offset) for partition, offset in rows}

    def files(
        self,
        topic: str,
        partitions: Sequence[int] | None = None,
        since_ms: int | None = None,
        until_ms: int | None = None,
    ) -> list[File]:
        """Files by partition and offset; with a range of arrivals [since_ms, until_ms), those that may have some."""
        given = {
            "topic": topic,
            "partitions": None if partitions is None else [*partitions],
            "since": "-infinity" if since_ms is None else instant(since_ms),
            "until": "infinity" if until_ms is None else instant(until_ms),
        }
        return [File(*row) for row in self.connection.execute(_FILES, given)]

    def file_at(self, topic: str, partition: int, first: int) -> File | None:
        """The file that begins with an offset."""
        files = self.files(topic, [partition])
        return next((file for file in files if file.first == first), None)

    def gaps(self, topic: str) -> list[Gap]:
        """Gaps in the order of partition and offset."""
        return [Gap(*row) for row in self.connection.execute(_GAPS, {"topic": topic})]

    def add(self, file: File | None, gaps: Sequence[Gap]) -> None:
        """Add a file and the gaps around and within it, all or nothing."""
        with self.connection.transaction():
            if file is not None:
                row = (
                    file.topic, file.partition, file.day, file.first, file.last, file.rows, file.size, file.sha256,
                    file.arrival_min, file.arrival_max, file.path,
                )  # fmt: skip
                self.connection.execute(_ADD_FILE, row)
            for gap in gaps:
                self.connection.execute(_ADD_GAP, (gap.topic, gap.partition, gap.first, gap.last, gap.reason))


@contextmanager
def opened(postgres: PostgresSettings, names: Names) -> Iterator[Index]:
    """The index, for reading.

    Raises
    ------
    UnavailableError
        Postgres does not answer.
    TidemarkError
        The tables do not exist.
    """
    with connect(postgres) as connection:
        use_schema(connection, names.billing_schema)
        known = connection.execute("SELECT to_regclass('archive_file')").fetchone()
        if not known or known[0] is None:
            raise TidemarkError(f"schema {names.billing_schema} has no index of an archive.", "`tidemark db migrate`.")
        yield Index(connection)


@contextmanager
def writing(postgres: PostgresSettings, names: Names) -> Iterator[Index]:
    """The index, locked for a process that changes the archive; the lock goes with the connection.

    Raises
    ------
    StandbyError
        Somebody else is at work.
    TidemarkError
        As for `opened`.
    """
    with opened(postgres, names) as index:
        index.connection.execute(sql.SQL("SET lock_timeout = {}").format(_LOCK_WAIT))
        name = f"archive of {names.billing_schema}"
        try:
            lock(index.connection, name)
        except psycopg.errors.LockNotAvailable:
            raise StandbyError(
                f"the {name} is being changed by somebody else.", "wait until that archive, erase or retention is done."
            ) from None
        index.connection.execute(sql.SQL("SET lock_timeout = {}").format(f"{LOCK_TIMEOUT_S}s"))
        yield index


def as_json(entry: File | Gap) -> dict[str, Any]:
    """A file or gap for a JSON document."""
    return {name: getattr(entry, name) for name in entry.__slots__}
