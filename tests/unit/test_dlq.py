"""Dead-letter records: JSON that keeps the original bytes exactly, and arrivals that no date can express."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs.dlq import DlqRecord, from_json, rfc3339, to_json

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
        arrival=st.none() | st.integers(-(10**14), 10**14).map(rfc3339),
        tenant_id=st.none() | TEXT,
        customer_id=st.none() | TEXT,
        event_id=st.none() | TEXT,
    )
)
def test_a_record_survives_its_json(record: DlqRecord) -> None:
    assert from_json(to_json(record)) == record
    assert from_json(to_json(record).encode()) == record


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
        (0, "1970-01-01T00:00:00.000Z"), (-1, "1969-12-31T23:59:59.999Z"),
        (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"), (253_402_300_800_000, None),
        (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"), (-62_135_596_800_001, None),
        (2**63 - 1, None), (-(2**63), None),
    ],
)  # fmt: skip
def test_an_arrival_is_text_in_the_years_1_to_9999_and_null_elsewhere(ms: int, text: str | None) -> None:
    assert rfc3339(ms) == text
