"""Kafka records as Parquet: the columns of a file, a writer with bounded memory, and a reader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from tidemark.archive.disk import written
from tidemark.core.kafka import Record

SCHEMA = pa.schema(
    [
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("arrival_ms", pa.int64(), nullable=False),
        pa.field("key", pa.binary()),
        pa.field("value", pa.binary()),
        pa.field("headers", pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())])), nullable=False),
    ]
)
# A writer and a reader hold one row group in memory; a group ends at the first of these limits.
_GROUP_ROWS = 20_000
_GROUP_BYTES = 16 * 1024 * 1024
# Size of the records, before compression, at which a file is full.
FILE_BYTES = 256 * 1024 * 1024
# Columns of a record beside its key, value and headers.
_FIXED_BYTES = 16


class Writer:
    """Writes records of one partition, in the order of their offsets, to a new file; use as a context manager.

    Parameters
    ----------
    path:
        The file; replaced if it exists.

    Raises
    ------
    UnavailableError
        By each method: the disk takes no more.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = self.size = 0
        self.first = self.last = -1
        self.arrival_min_ms = self.arrival_max_ms = 0
        self._group: list[Record] = []
        self._group_bytes = 0
        # Values are all different, keys are not.
        with written(path):
            self._parquet = pq.ParquetWriter(path, SCHEMA, compression="zstd", use_dictionary=["key"])

    def add(self, record: Record) -> None:
        """Write one record."""
        at_ms = record.timestamp_ms
        if not self.rows:
            self.first, self.arrival_min_ms, self.arrival_max_ms = record.offset, at_ms, at_ms
        self.last = record.offset
        self.arrival_min_ms = min(self.arrival_min_ms, at_ms)
        self.arrival_max_ms = max(self.arrival_max_ms, at_ms)
        self.rows += 1
        self._group.append(record)
        size = size_of(record)
        self.size += size
        self._group_bytes += size
        if len(self._group) >= _GROUP_ROWS or self._group_bytes >= _GROUP_BYTES:
            self._write_group()

    def close(self) -> None:
        """Write what is left; the file is then complete, but maybe not synced to disk."""
        try:
            self._write_group()
        finally:
            with written(self.path):
                self._parquet.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write_group(self) -> None:
        if self._group:
            with written(self.path):
                self._parquet.write_table(_table(self._group), row_group_size=len(self._group))
            self._group, self._group_bytes = [], 0


def read(source: Any, partition: int) -> Iterator[Record]:
    """Records of a file in the order of their offsets; holds one row group in memory.

    Parameters
    ----------
    source:
        Path, or an open file of Arrow.
    partition:
        Partition of its records.

    Raises
    ------
    OSError, pyarrow.ArrowException
        The file does not exist, or is not a Parquet file.
    """
    with pq.ParquetFile(source) as file:
        for group in range(file.num_row_groups):
            yield from _records(file.read_row_group(group), partition)


def size_of(record: Record) -> int:
    """Bytes a record takes, before compression."""
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers + _FIXED_BYTES


def _table(records: list[Record]) -> Any:
    columns = [
        [record.offset for record in records],
        [record.timestamp_ms for record in records],
        [record.key for record in records],
        [record.value for record in records],
        [[{"name": name, "value": value} for name, value in record.headers] for record in records],
    ]
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], SCHEMA)


def _records(table: Any, partition: int) -> Iterator[Record]:
    columns = [table.column(name).to_pylist() for name in SCHEMA.names]
    for offset, arrival_ms, key, value, headers in zip(*columns, strict=True):
        pairs = tuple((header["name"], header["value"]) for header in headers)
        yield Record(partition, offset, arrival_ms, key, value, pairs)
