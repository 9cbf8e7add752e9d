"""Dead-letter records: JSON that keeps the original bytes, arrivals that no date can express, selections."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.core.errors import UsageError
from tidemark.core.kafka import Record
from tidemark.core.times import given_ms
from tidemark.dead_letters.records import (
    DeadLetter,
    Position,
    arrival_ms,
    newest,
    parsed,
    position_of,
    preview,
    raw_of,
    select,
    survey,
    takes,
)
from udfs.events.dead_letter import DlqRecord, arrival_text, from_json, to_json

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
RECORD = DlqRecord(
    reason="too_late", detail="late", raw=b'{"a":1}', topic="usage.events", partition=3, offset=7,
    arrival="2024-02-29T23:59:59.999Z", tenant_id="acme",
)  # fmt: skip


@given(
    st.builds(
        DlqRecord,
        reason=TEXT,
        detail=TEXT,
        raw=st.none() | st.binary(max_size=300),
        topic=TEXT,
        partition=st.integers(0, 2**31 - 1),
        offset=st.integers(0, 2**63 - 1),
        arrival=st.none() | st.integers(-(10**14), 10**14).map(arrival_text),
        tenant_id=st.none() | TEXT,
        customer_id=st.none() | TEXT,
        event_id=st.none() | TEXT,
        meter=st.none() | TEXT,
        partial=st.booleans(),
    )
)
def test_a_record_survives_its_json(record: DlqRecord) -> None:
    assert from_json(to_json(record)) == record
    assert from_json(to_json(record).encode()) == record


SCALAR = st.none() | st.booleans() | st.integers() | TEXT


@given(
    st.binary(max_size=40)
    | st.recursive(SCALAR, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner))
    .map(json.dumps).map(str.encode)
    | st.tuples(st.sampled_from(sorted(json.loads(to_json(RECORD)))), st.none() | st.integers() | TEXT | st.just([]))
    .map(lambda change: json.dumps(json.loads(to_json(RECORD)) | dict([change])).encode())
)  # fmt: skip
def test_whatever_somebody_writes_to_the_topic_is_read_or_left_out(value: bytes) -> None:
    dead_letter = parsed(Record(0, 1, 2, None, value, ()))
    if dead_letter is not None:
        assert takes(dead_letter, since_ms=0) in (True, False)
        assert survey([dead_letter], 1).by_reason
        assert isinstance(preview(dead_letter), str)


@pytest.mark.parametrize("value", [b"[]", b"x", b"{}", b"[" * 100_000, b'{"arrival": 1e999}', b"\xff"])
def test_a_record_of_somebody_else_is_left_out(value: bytes) -> None:
    assert parsed(Record(0, 1, 2, None, value, ())) is None


@pytest.mark.parametrize("raw", [b"", b"\0", bytes(range(256)), b"\xff" * 100_000, b'{"a":"\xed\xa0\x80"'])
def test_the_bytes_are_in_standard_base64(raw: bytes) -> None:
    document = json.loads(to_json(msgspec.structs.replace(RECORD, raw=raw)))
    assert base64.b64decode(document["raw"], validate=True) == raw


def test_a_null_value_and_an_empty_one_stay_apart() -> None:
    assert json.loads(to_json(msgspec.structs.replace(RECORD, raw=None)))["raw"] is None
    assert json.loads(to_json(msgspec.structs.replace(RECORD, raw=b"")))["raw"] == ""


def test_a_record_has_all_its_fields_also_when_they_are_null() -> None:
    assert json.loads(to_json(RECORD)) == {
        "reason": "too_late", "detail": "late", "raw": "eyJhIjoxfQ==", "topic": "usage.events", "partition": 3,
        "offset": 7, "arrival": "2024-02-29T23:59:59.999Z", "tenant_id": "acme", "customer_id": None, "event_id": None,
        "meter": None, "partial": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "{}", "null", "[]", to_json(RECORD)[:-1], to_json(RECORD).replace('"eyJ', '"*eyJ')]
)
def test_text_that_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        from_json(text)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00Z"), (-1, "1969-12-31T23:59:59.999Z"),
        (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"), (253_402_300_800_000, None),
        (-62_135_596_800_000, "0001-01-01T00:00:00Z"), (-62_135_596_800_001, None),
        (2**63 - 1, None), (-(2**63), None),
    ],
)  # fmt: skip
def test_an_arrival_is_text_in_the_years_1_to_9999_and_null_elsewhere(ms: int, text: str | None) -> None:
    assert arrival_text(ms) == text


def dead_letter(at: str = "0:0", **fields: object) -> DeadLetter:
    """A record as `tidemark.dead_letters.records.read_dead_letters` yields it."""
    return {"at": at, **json.loads(to_json(RECORD)), **fields}


def arrived(*texts: str | None) -> list[DeadLetter]:
    return [dead_letter(f"0:{offset}", arrival=text) for offset, text in enumerate(texts)]


def positions(dead_letters: list[DeadLetter]) -> list[str]:
    return [dead_letter["at"] for dead_letter in dead_letters]


T1, T2, T3 = "2024-01-01T00:00:00.001Z", "2024-01-01T00:00:00.002Z", "2024-01-01T00:00:00.003Z"


def test_every_condition_must_hold() -> None:
    dead_letters = [
        dead_letter("0:0", reason="too_late", tenant_id="acme", customer_id="bob"),
        dead_letter("0:1", reason="in_future", tenant_id="acme", customer_id="bob"),
        dead_letter("0:2", reason="too_late", tenant_id="globex", customer_id="bob"),
        dead_letter("0:3", reason="too_late", tenant_id="acme", customer_id=None),
    ]
    assert positions(select(dead_letters, reason="too_late", tenant="acme", customer="bob")) == ["0:0"]
    assert positions(select(dead_letters, reason="too_late", tenant="acme")) == ["0:0", "0:3"]
    assert positions(select(dead_letters, reason=None, tenant="globex")) == ["0:2"]


def test_a_range_holds_its_beginning_and_not_its_end() -> None:
    dead_letters = arrived(T1, T2, T3, None)
    assert positions(select(dead_letters, since_ms=given_ms(T2))) == ["0:1", "0:2"]
    assert positions(select(dead_letters, until_ms=given_ms(T2))) == ["0:0"]
    assert positions(select(dead_letters, since_ms=given_ms(T2), until_ms=given_ms(T3))) == ["0:1"]


def test_an_arrival_that_no_date_can_say_is_in_no_range_but_in_the_whole() -> None:
    dead_letters = arrived(None, T1)
    assert positions(select(dead_letters, since_ms=0)) == ["0:1"]
    assert positions(select(dead_letters)) == ["0:0", "0:1"]


def test_positions_choose_exactly_the_records_named() -> None:
    dead_letters = [dead_letter("0:1"), dead_letter("1:1"), dead_letter("1:11")]
    assert positions(select(dead_letters, at={Position(1, 1), Position(0, 11)})) == ["1:1"]
    assert select(dead_letters, at=set()) == []


def test_the_newest_are_kept_by_arrival_whatever_partition_they_are_in() -> None:
    dead_letters = arrived(T3, T1, None, T2)
    assert positions(newest(dead_letters, 2)) == ["0:3", "0:0"]
    assert positions(newest(dead_letters, 0)) == []
    assert positions(newest(dead_letters)) == ["0:2", "0:1", "0:3", "0:0"]


def test_equal_arrivals_are_in_the_order_of_their_source() -> None:
    dead_letters = [
        dead_letter("0:0", partition=1, offset=9),
        dead_letter("0:1", partition=1, offset=10),
        dead_letter("0:2", partition=0),
    ]
    assert positions(newest(dead_letters)) == positions(newest(dead_letters, 3)) == ["0:2", "0:0", "0:1"]


def test_a_survey_counts_all_that_are_wanted_and_shows_the_newest() -> None:
    dead_letters = [*arrived(T1, T2, T3), dead_letter("1:0", reason="in_future"), dead_letter("1:1", tenant_id="other")]
    dead_letters.append(dead_letter("1:2", reason="missing_value", meter="miles", partial=True, arrival=T1))
    shown, counts, partial = survey(dead_letters, 1, tenant="acme")
    assert positions(shown) == ["1:0"]
    assert counts == {"too_late": 3, "in_future": 1, "missing_value": 1}
    assert partial == 1


def test_dead_letters_of_a_meter_and_partial_or_whole_ones_are_chosen() -> None:
    dead_letters = [
        dead_letter("0:0"),
        dead_letter("0:1", meter="miles"),
        dead_letter("0:2", meter="miles", partial=True),
    ]
    assert positions(select(dead_letters, meter="miles")) == ["0:1", "0:2"]
    assert positions(select(dead_letters, partial=True)) == ["0:2"]
    assert positions(select(dead_letters, partial=False)) == ["0:0", "0:1"]


def test_original_bytes_and_arrival_come_back() -> None:
    assert raw_of(dead_letter()) == b'{"a":1}'
    assert raw_of(dead_letter(raw=None)) is None
    assert arrival_ms(dead_letter()) == 1_709_251_199_999
    assert arrival_ms(dead_letter(arrival=None)) is None


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_an_arrival_is_read_back_to_the_millisecond(ms: int) -> None:
    assert given_ms(arrival_text(ms) or "") == ms


@pytest.mark.parametrize("text", ["2024-01-01T00:00:00", "2024-01-01", "yesterday", ""])
def test_an_instant_needs_a_zone(text: str) -> None:
    with pytest.raises(UsageError, match="is not an RFC 3339 instant"):
        given_ms(text)


@pytest.mark.parametrize("text", ["", "1", ":", "1:", ":1", "a:1", "-1:1", "1:1:1"])
def test_a_position_is_two_numbers(text: str) -> None:
    with pytest.raises(UsageError, match="not a position"):
        position_of(text)


def test_a_position_is_read_as_it_is_written() -> None:
    assert position_of("3:12345678901") == Position(3, 12_345_678_901)
    assert str(Position(3, 7)) == "3:7"


def test_a_whole_preview_is_not_cut() -> None:
    raw = base64.b64encode(b"y" * 70_000).decode()
    assert preview(dead_letter(raw=raw), None) == "y" * 70_000
