"""A record whose header has a name in bytes that are no UTF-8 is read, and those around it as they are."""

from __future__ import annotations

import pytest
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from tidemark.core.kafka import clients, header_names

NAMES = ["plain", "grün", "traceXX", "last"]


def batch(compression: int) -> bytes:
    made = MemoryRecordsBuilder(magic=2, compression_type=compression, batch_size=10_000)
    for number, name in enumerate(NAMES):
        made.append(timestamp=number, key=b"k", value=b"{}", headers=[(name, b"1"), ("empty", None)])
    made.close()
    return bytes(made.buffer())


@pytest.mark.parametrize("again", [False, True])
def test_names_are_as_java_reads_them(again: bool) -> None:
    assert clients.consumer  # imports are enough
    if again:
        header_names.install()
    raw = batch(0).replace(b"traceXX", b"trac\xe9XX")
    found = list(MemoryRecords(raw).next_batch())
    assert [one.headers[0][0] for one in found] == ["plain", "grün", "trac\ufffdXX", "last"]
    assert {(*one.headers[1],) for one in found} == {("empty", None)}
    assert [(one.offset, one.value) for one in found] == [(number, b"{}") for number in range(4)]


def test_what_is_damaged_is_still_refused() -> None:
    raw = batch(0)
    with pytest.raises(Exception, match=r"(?i)corrupt|invalid|size"):
        list(MemoryRecords(raw.replace(b"{}", b"{", 1) + b"\0").next_batch())
