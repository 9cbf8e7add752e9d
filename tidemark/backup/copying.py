"""One table to one file and back: Postgres' own COPY, compressed by zstd, with the SHA-256 of what is in the file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, Any

import psycopg
import zstandard
from psycopg import sql

from tidemark.backup.manifest import Table
from tidemark.core.errors import DifferenceError
from tidemark.core.places import Place

_BLOCK = 1024 * 1024
_DAMAGED = "it was changed or damaged since: take another backup."


class Hashed:
    """A file that is written or read once, from its begin to its end: how long it is, and its SHA-256."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._digest = stream, hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """Of what has passed, hexadecimal."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> int:
        """Write, and count what was written."""
        self._note(data)
        self._stream.write(data)
        return len(data)

    def read(self, size: int) -> bytes:
        """Read, and count what was read."""
        data = bytes(self._stream.read(size))
        self._note(data)
        return data

    def _note(self, data: bytes) -> None:
        self.size += len(data)
        self._digest.update(data)


def unload(connection: psycopg.Connection, table: Table, place: Place) -> Table:
    """Write a table, as the transaction sees it; the table with what its file has."""
    rows = 0
    with place.writing(table.file) as stream:
        hashed = Hashed(stream)
        with _compressed(hashed) as writer, connection.cursor().copy(_copy_out(table)) as copy:
            for block in copy:
                # A row is a line: an end of line in a value is written as \n.
                rows += bytes(block).count(b"\n")
                writer.write(block)
    return replace(table, rows=rows, size=hashed.size, sha256=hashed.sha256)


def load(connection: psycopg.Connection, table: Table, place: Place) -> None:
    """Read a table into an empty one, in the transaction of the caller.

    Raises
    ------
    DifferenceError
        The file is not the one that was written.
    """
    rows = 0
    with place.reading(table.file) as stream:
        hashed = Hashed(stream)
        with connection.cursor().copy(_copy_in(table)) as copy:
            for block in _blocks(hashed, f"{place.uri}/{table.file}"):
                rows += block.count(b"\n")
                copy.write(block)
        # What is after the last frame is part of the file too.
        while hashed.read(_BLOCK):
            pass
    if (hashed.sha256, rows) != (table.sha256, table.rows):
        raise DifferenceError(
            f"{place.uri}/{table.file} has {rows:,} rows and sha256 {hashed.sha256[:12]}, not {table.rows:,} and "
            f"{table.sha256[:12]}.",
            _DAMAGED,
        )


def _blocks(hashed: Hashed, file: str) -> Iterator[bytes]:
    reader = zstandard.ZstdDecompressor().stream_reader(hashed)  # type: ignore[arg-type]
    try:
        while block := reader.read(_BLOCK):
            yield block
    except zstandard.ZstdError as error:
        raise DifferenceError(f"{file} cannot be read: {error}.", _DAMAGED) from error


def _compressed(hashed: Hashed) -> Any:
    file: IO[bytes] = hashed  # type: ignore[assignment]
    return zstandard.ZstdCompressor(write_checksum=True).stream_writer(file, closefd=False)


def _copy_out(table: Table) -> sql.Composed:
    # Not the table itself: the rows of a hypertable are in its chunks.
    statement = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT")
    return statement.format(_columns(table), sql.Identifier(table.schema, table.name))


def _copy_in(table: Table) -> sql.Composed:
    statement = sql.SQL("COPY {} ({}) FROM STDIN")
    return statement.format(sql.Identifier(table.schema, table.name), _columns(table))


def _columns(table: Table) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, table.columns))
