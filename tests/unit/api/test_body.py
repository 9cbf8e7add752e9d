"""Bodies of requests: every form gives the same events, and none can be larger than it says."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.api.body import MAX_EVENTS, Inflater, events_of
from tidemark.api.problem import Problem


def refused(code: str, status: int):
    return pytest.raises(Problem, check=lambda problem: (problem.code, problem.status) == (code, status))


def inflated(body: bytes, encoding: str = "", limit: int = 1_000, step: int = 7) -> bytes:
    inflater = Inflater(encoding, limit)
    for begin in range(0, len(body), step):
        inflater.feed(body[begin : begin + step])
    return inflater.body()


@given(st.binary(max_size=1_000), st.integers(1, 50))
def test_a_body_is_the_same_however_it_is_sent(body, step):
    assert inflated(body, step=step) == body
    assert inflated(gzip.compress(body), "gzip", 2_000, step) == body
    half = len(body) // 2
    assert inflated(gzip.compress(body[:half]) + gzip.compress(body[half:]), "gzip", 2_000, step) == body


def test_a_body_over_the_limit_is_refused_before_it_is_whole():
    assert len(inflated(b"x" * 1_000)) == 1_000
    with refused("body_too_large", 413):
        inflated(b"x" * 1_001)
    bomb = gzip.compress(b"x" * 10_000_000)[:900]
    inflater = Inflater("gzip", 1_000)
    with refused("body_too_large", 413):
        inflater.feed(bomb)
    assert len(inflater._body) == 1_001
    with refused("body_too_large", 413):
        inflated(gzip.compress(b"x" * 600) * 2, "gzip")


def test_what_is_no_gzip_is_refused():
    with refused("malformed_gzip", 400):
        inflated(b"plain", "gzip")
    with refused("malformed_gzip", 400):
        inflated(gzip.compress(b"x" * 500)[:-3], "GZIP")
    with refused("unsupported_encoding", 415):
        Inflater("br")
    assert inflated(b"", "gzip") == b""


@pytest.mark.parametrize(
    ("content", "body", "count"),
    [
        ("application/json", b' {"a": 1}', 1),
        ("application/json; charset=utf-8", b"\xef\xbb\xbf [{}, 3, [] ]", 3),
        ("Application/JSON", b"{", 1),
        ("application/x-ndjson", b'{"a":1}\r\n\n {}\n', 2),
        ("application/ndjson", b"{}", 1),
        ("application/cloudevents+json", b"[]", 1),
        ("application/cloudevents-batch+json", b"[{}]", 1),
    ],
)
def test_each_type_is_split_into_events(content, body, count):
    assert len(events_of({"content-type": content}, body)) == count


def test_elements_of_an_array_keep_their_bytes():
    assert events_of({}, b'[ {"a" : 1e3}, "x"]') == [b'{"a" : 1e3}', b'"x"']


@pytest.mark.parametrize(
    ("content", "body", "code", "status"),
    [
        ("text/csv", b"x", "unsupported_media_type", 415),
        ("application/json; charset=latin-1", b"{}", "unsupported_charset", 415),
        ("application/json", b"", "no_events", 400),
        ("application/json", b"[]", "no_events", 400),
        ("application/json", b"[{}", "malformed_json", 400),
        ("application/json", b"[" * 100_000, "malformed_json", 400),
        ("application/cloudevents-batch+json", b"{}", "malformed_json", 400),
        ("application/x-ndjson", b"{}\n" * (MAX_EVENTS + 1), "too_many_events", 413),
    ],
)
def test_what_has_no_events_is_refused(content, body, code, status):
    with refused(code, status):
        events_of({"content-type": content}, body)


def test_a_cloudevent_in_binary_mode_becomes_one_in_structured_mode():
    headers = {"content-type": "application/json", "ce-specversion": "1.0", "ce-id": "%E2%82%AC", "ce-type": '"a b"'}
    (event,) = events_of(headers, b'{"quantity": 2}')
    assert json.loads(event) == {
        "specversion": "1.0", "id": "€", "type": "a b", "datacontenttype": "application/json", "data": {"quantity": 2},
    }  # fmt: skip
    (empty,) = events_of(headers, b"")
    assert "data" not in json.loads(empty)


def test_ce_headers_beside_a_structured_cloudevent_are_not_read():
    headers = {"content-type": "application/cloudevents+json", "ce-specversion": "1.0"}
    assert events_of(headers, b"{}") == [b"{}"]
