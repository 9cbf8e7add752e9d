"""What send and dlq do without Kafka: keys of events, reading lines, selecting and showing dead letters."""

import base64
import io

import pytest

from tidemark.core.errors import UsageError
from tidemark.core.send import key_of, open_lines, send_lines
from tidemark.core.settings import load
from tidemark.dead_letters.records import count_by_reason, preview, select


def dead(reason, tenant="t", raw=b"x"):
    encoded = None if raw is None else base64.b64encode(raw).decode()
    return {"reason": reason, "tenant_id": tenant, "raw": encoded}


def test_a_readable_event_is_keyed_by_tenant_and_customer():
    assert key_of('{"tenant_id": "t", "customer_id": "ä"}'.encode()) == "t/ä".encode()


@pytest.mark.parametrize(
    "line",
    [b"", b"not json", b"[]", b"null", b"\xff", b'{"tenant_id": "t"}', b'{"tenant_id": 1, "customer_id": "c"}',
     b'{"a":' * 100_000],
)  # fmt: skip
def test_an_unreadable_event_has_no_key(line):
    assert key_of(line) is None


def test_half_a_surrogate_pair_still_makes_a_key():
    assert key_of(rb'{"tenant_id": "t", "customer_id": "\ud800"}') == rb"t/\ud800"


def test_lines_come_from_a_file_or_from_standard_input(tmp_path):
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"a\nb")
    with open_lines(str(file), io.BytesIO()) as lines:
        assert list(lines) == [b"a\n", b"b"]
    with open_lines("-", io.BytesIO(b"c\n")) as lines:
        assert list(lines) == [b"c\n"]


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with (
        pytest.raises(UsageError, match=r"missing\.ndjson"),
        open_lines(str(tmp_path / "missing.ndjson"), io.BytesIO()),
    ):
        pass


def test_a_rate_of_nothing_is_refused_before_kafka_is_asked():
    with pytest.raises(UsageError, match="rate"):
        send_lines(load(), [b"a"], rate=0)


def test_dead_letters_are_chosen_by_reason_and_tenant_and_the_last_are_kept():
    records = [dead("too_late"), dead("too_late", "u"), dead("in_future"), dead("too_late", raw=b"y")]
    assert select(records, reason="too_late", tenant="t") == [records[0], records[3]]
    assert select(records, limit=1) == [records[3]]
    assert count_by_reason(records) == {"too_late": 3, "in_future": 1}


@pytest.mark.parametrize(
    ("raw", "shown"),
    [(None, "(null)"), (b"{}", "{}"), (b"a\n\xff", "a\\n\\xff"), ("ä".encode(), "ä"), (b"\x1b[31m", "\\x1b[31m")],
)
def test_a_preview_is_safe_on_a_terminal(raw, shown):
    assert preview(dead("x", raw=raw)) == shown


def test_a_preview_is_short():
    assert len(preview(dead("x", raw=b"y" * 70_000))) == 120
