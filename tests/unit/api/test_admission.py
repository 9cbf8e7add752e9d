"""Which events of a request are written: what the job reads, of the tenant of the key, not from the future."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.api.admission import Admitted, admit, filled
from udfs.events.parse import parse
from udfs.events.reasons import Rejected
from udfs.values import epoch_ms, parse_rfc3339

NOW_MS = epoch_ms(parse_rfc3339("2026-03-01T12:00:00Z"))
TOLERANCE_MS = 300_000
NATIVE = {"event_id": "e", "customer_id": "c", "event_type": "t", "timestamp": "2026-03-01T12:00:00Z"}
CLOUD = {"specversion": "1.0", "id": "e", "source": "s", "type": "t", "subject": "c"}


def admitted(*events: bytes | dict[str, object]) -> Admitted:
    raws = [event if isinstance(event, bytes) else json.dumps(event).encode() for event in events]
    return admit(raws, "acme", NOW_MS, TOLERANCE_MS)


def reasons(*events: bytes | dict[str, object]) -> list[str | None]:
    return [one.reason for one in admitted(*events).outcomes]


def test_accepted_events_become_records_with_the_key_of_their_customer():
    made = admitted(NATIVE, {**NATIVE, "event_id": "f", "tenant_id": "acme", "customer_id": "ü"}, CLOUD)
    assert [one.key for one in made.records] == [b"acme/c", "acme/ü".encode(), b"acme/c"]
    assert json.loads(made.records[0].value) == {**NATIVE, "tenant_id": "acme"}
    assert json.loads(made.records[2].value) == {**CLOUD, "tenantid": "acme"}
    assert (made.document()["accepted"], made.rejected) == (3, 0)


def test_an_event_that_names_its_tenant_is_written_as_it_is():
    raw = b' {"tenant_id" : "acme", ' + json.dumps(NATIVE).encode()[1:]
    assert admitted(raw).records[0].value == raw


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tenant_id": "other"}, "foreign_tenant"),
        ({"tenant_id": None}, "wrong_type"),
        ({"tenant_id": ""}, "invalid_id"),
        ({"customer_id": "a\u202eb"}, "invalid_id"),
        ({"event_type": "t" * 257}, "id_too_long"),
        ({"timestamp": "2026-03-01T12:05:00.001Z"}, "in_future"),
        ({"timestamp": "2026-03-01T12:05:00Z"}, None),
        ({"timestamp": "2199-01-01T00:00:00Z"}, "invalid_timestamp"),
        ({"timestamp": "1999-01-01T00:00:00Z"}, None),
        ({"quantity": "much"}, None),
        ({"properties": {"x": "y" * 70_000}}, "event_too_large"),
    ],
)
def test_only_what_the_job_is_sure_to_reject_is_rejected_here(changes, reason):
    assert reasons({**NATIVE, **changes}) == [reason]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"tenantid": None}, None), ({"tenantid": "other"}, "foreign_tenant"), ({"data": []}, "wrong_type")],
)
def test_cloudevents_have_the_same_rules(changes, reason):
    assert reasons({**CLOUD, **changes}) == [reason]


def test_outcomes_say_which_event_and_why():
    made = admitted(NATIVE, b"{", {"event_id": "x"})
    assert [(one.index, one.id, one.status) for one in made.outcomes] == [
        (0, "e", "accepted"), (1, None, "rejected"), (2, "x", "rejected"),
    ]  # fmt: skip
    assert made.outcomes[2].detail == "customer_id, event_type, timestamp are missing."
    assert not made.is_unreadable
    assert admitted(b"{", b"3", b"\xff").is_unreadable


def test_an_id_that_no_text_can_hold_is_escaped():
    assert admitted(b'{"event_id": "\\ud800"}').outcomes[0].id == "\\ud800"


@pytest.mark.parametrize("raw", [b"{}", b"  {  }", b"\xef\xbb\xbf{}", b"[]", b"{", b"\xff", b'{"a":1,"a":2}', b""])
def test_filling_in_a_tenant_never_repairs_or_breaks_anything_else(raw):
    other = filled(raw, "acme")
    assert other == raw or json.loads(other.removeprefix(b"\xef\xbb\xbf")) == {
        **json.loads(raw.removeprefix(b"\xef\xbb\xbf")), "tenant_id": "acme",
    }  # fmt: skip


@given(
    st.dictionaries(st.text(max_size=5), st.none() | st.text(max_size=5) | st.lists(st.integers())),
    st.sampled_from([NATIVE, CLOUD]),
)
def test_what_is_accepted_is_read_the_same_by_the_job(more, event):
    made = admitted({**more, **event})
    for record in made.records:
        read = parse(record.value, "", NOW_MS)
        assert (read.tenant_id, read.event_id, read.customer_id) == ("acme", "e", "c")


@given(st.binary(max_size=200))
def test_any_bytes_have_an_outcome_and_what_is_accepted_parses(raw):
    made = admitted(raw)
    assert len(made.outcomes) == 1
    try:
        parse(filled(raw, "acme"), "acme", NOW_MS)
    except Rejected:
        assert not made.records
