"""Names of record headers as Java reads them: what is no UTF-8 becomes U+FFFD.

Brokers check no name, and clients in C or Go send any bytes. Python's client takes a record with such a name for
damaged, and never gets past it; jobs do.
"""
# ruff: noqa: SLF001 - the client has no option for it.

from __future__ import annotations

from typing import Any

from kafka.record.default_records import DefaultRecordBatch


class _Lenient(bytearray):
    """Bytes, parts of which decode without an error."""

    def __getitem__(self, at: Any) -> Any:
        part = super().__getitem__(at)
        return _Lenient(part) if isinstance(at, slice) else part

    def decode(self, *_: Any) -> str:
        return bytes(self).decode("utf-8", "replace")


_read = DefaultRecordBatch._read_msg


def _read_any(batch: DefaultRecordBatch) -> Any:
    try:
        return _read(batch)
    except UnicodeDecodeError:
        # The batch has not moved: a record is read whole before it does.
        batch._buffer = _Lenient(batch._buffer)
        return _read(batch)


def install() -> None:
    """Have Kafka's client read such records; repeated, it changes nothing."""
    DefaultRecordBatch._read_msg = _read_any
