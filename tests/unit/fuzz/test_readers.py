"""Readers of topics: whatever a record holds, it is read, or it is counted, kept and skipped."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given

from tests.unit.fuzz.records import CORPUS, ODD, corpus, foreign_deltas, good, hostile, hostile_of
from tests.unit.strategies import ARRIVAL_MS, decoder
from tidemark.alerts import topic as alert_topic
from tidemark.billing.dead_letter_index import dead_letter_row, redriven_row
from tidemark.billing.delta_index import summed
from tidemark.core import deltas
from tidemark.core.kafka import Record
from tidemark.core.settings import Settings
from tidemark.dead_letters.log import HEADER
from tidemark.dead_letters.records import parsed, takes
from tidemark.latency.sample import candidates, delta_of
from tidemark.oracle.deltas import read_rows
from udfs.alerts.event import AlertError
from udfs.live.publisher import unpack_change
from udfs.wire import LIVE_CHANGE

SETTINGS = Settings()
SOURCE = {"topic": "usage.dlq", "partition": 1, "offset": 2}
MARKER = SOURCE | {"origin": SOURCE, "dead_letter": SOURCE, "redriven_at": "2026-01-01T00:00:00Z"}
DECODER = decoder()
# Deep enough to end a recursive reader, and short.
DEEP = [b"[" * 100_000, b'{"a":' * 20_000, b'{"data":' * 3_000 + b"1" + b"}" * 3_000]


def record(value: bytes | None) -> Record:
    return Record(0, 7, ARRIVAL_MS, None, value)


def read_event(value: bytes) -> None:
    batch = DECODER.decode_batch([value], [ARRIVAL_MS], [3], [100])
    assert (batch.keys[0] is None) == (batch.measurements[0] is None)
    assert batch.keys[0] is not None or batch.rejects[0] is not None, "neither counted nor kept"


def read_redriven(value: bytes) -> None:
    DECODER.decode_batch([value], [ARRIVAL_MS], [-1], [100])
    for marker in (value, json.dumps(MARKER).encode()):
        is_storable(redriven_row(SETTINGS, record(value)._replace(headers=((HEADER, marker),))))


def read_marker(value: bytes) -> None:
    is_storable(redriven_row(SETTINGS, record(b"{}")._replace(headers=((HEADER, value),))))


def is_storable(row: tuple[Any, ...] | None, most_bytes: int = 999) -> None:
    """Whether columns of Postgres take what an index makes of a record: one that does not fit would be met again."""
    for value in row or ():
        if isinstance(value, str):
            assert "\0" not in value
            assert len(value.encode()) <= most_bytes
        elif isinstance(value, int):
            assert -(2**63) <= value < 2**63


def read_delta(value: bytes) -> None:
    delta = deltas.read(value)
    rows = [] if delta is None else summed([delta])
    # The ids of a delta are bounded together: one may be as long as all; an index takes 2 704.
    is_storable(tuple(part for row in rows for part in row), most_bytes=2_250)
    found = delta_of(0, 7, ARRIVAL_MS, value)
    candidates([] if found is None else [found])
    foreign: list[bytes] = []
    assert len([*read_rows([value], foreign)]) + len(foreign) == 1


def read_dead_letter(value: bytes) -> None:
    dead_letter = parsed(record(value))
    row = dead_letter_row(SETTINGS, record(value))
    is_storable(row)
    assert row is None or dead_letter is not None
    if dead_letter is not None:
        takes(dead_letter, tenant="acme", since_ms=0, until_ms=1)


def read_alert(value: bytes) -> None:
    with suppress(AlertError):
        alert = alert_topic.read(value)
        assert alert.id


READERS: dict[str, tuple[str, Callable[[bytes], None]]] = {
    "events": ("usage.events", read_event),
    "redriven events": ("usage.events", read_redriven),
    "markers of what was redriven": ("marker", read_marker),
    "deltas": ("usage.deltas", read_delta),
    "dead letters": ("usage.dlq", read_dead_letter),
    "alerts": ("usage.alerts", read_alert),
}


@pytest.mark.parametrize("reader", READERS)
def test_no_record_stops_a_reader(reader: str) -> None:
    topic, read = READERS[reader]

    @given(hostile(topic) if topic != "marker" else hostile_of([MARKER]))
    def any_record(value: bytes) -> None:
        read(value)

    any_record()
    for value in (*corpus(), *DEEP, b""):
        read(value)


@pytest.mark.parametrize("topic", ["usage.events", "usage.deltas", "usage.dlq", "usage.alerts"])
def test_what_is_valid_is_read(topic: str) -> None:
    assert len(good(topic)) > 2


def test_every_valid_delta_is_one() -> None:
    for document in good("usage.deltas"):
        value = json.dumps(document).encode()
        foreign: list[bytes] = []
        assert deltas.read(value) is not None
        assert len([*read_rows([value], foreign)]) == 1
        assert foreign == []


def test_a_record_that_the_jobs_leave_out_is_no_delta_to_the_oracle_either() -> None:
    foreign: list[bytes] = []
    assert [*read_rows(foreign_deltas(), foreign)] == []
    assert foreign == foreign_deltas()


@pytest.mark.parametrize("field", deltas.Delta.__struct_fields__)
def test_a_delta_that_no_table_takes_is_foreign(field: str) -> None:
    document = good("usage.deltas")[0]
    values: tuple[Any, ...] = ("\0", None, 2**64, [], "x" * 3_000)
    for odd in values:
        assert deltas.read(json.dumps(document | {field: odd}).encode()) is None, odd


@pytest.mark.parametrize("odd", ["2026-01-01", "2026-01-01T00:00:00", "20260101T000000Z", "2026-W01-4T00:00:00Z"])
@pytest.mark.parametrize("field", ["minute", "period_start", "period_end"])
def test_a_delta_whose_time_is_no_instant_is_foreign(field: str, odd: str) -> None:
    assert deltas.read(json.dumps(good("usage.deltas")[0] | {field: odd}).encode()) is None


@given(hostile("usage.deltas"))
def test_no_packed_counter_stops_the_hot_path(value: bytes) -> None:
    unpack_change(value.decode("latin-1"))


def test_no_odd_field_of_a_packed_counter_stops_the_hot_path() -> None:
    fields = ["acme", "c", "m", "0", "1", "1", "1", "1", "1", "1", "", "1", "1", ""]
    for place in range(len(fields)):
        for odd in ODD:
            with suppress(TypeError):
                unpack_change("\x1f".join([*fields[:place], str(odd), *fields[place + 1 :]]))
    assert LIVE_CHANGE.separator == "\x1f"


def test_the_corpus_is_small() -> None:
    assert CORPUS.stat().st_size < 10_000
