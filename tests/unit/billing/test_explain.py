"""What people see of a number: its versions, the difference of two, and whether the events add up."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tests.unit.billing.ledger_parts import AT, PERIODS
from tidemark.billing.close import Closed
from tidemark.billing.delta_index import Source
from tidemark.billing.events import Event, merged
from tidemark.billing.explain import Explained, Version, between
from tidemark.billing.explained import document_of
from tidemark.billing.lines import Line
from tidemark.billing.refusals import Refusal
from tidemark.cli import close as cli_close
from tidemark.cli import ledger as cli_ledger
from tidemark.core.errors import UsageError

KEY = PERIODS[0]


def line(value: str) -> Line:
    return Line("sum", "B", 1, 1, Decimal(value))


def explained(*events: Event) -> Explained:
    versions = [
        Version(0, "close", None, AT, "test", {"": line("3"), "x": line("1")}),
        Version(1, "void", None, AT, "test", {"": line("2.5")}),
    ]
    sources = [
        Source("", "usage.events", 0, 2, 2, Decimal("1.5"), [(3, 9), (12, 12)]),
        Source("", "usage.events", 1, 1, 1, Decimal(1), [(4, 4)]),
    ]
    return Explained(KEY, "bytes", "", versions, {"": line("2.5")}, {}, sources, list(events) or None)


def test_the_difference_of_two_versions_is_what_changed() -> None:
    changes = between(explained(), "0", "1")
    assert {at.dims: str(change.delta) for at, change in changes.items()} == {"": "-0.5", "x": "-1"}
    assert between(explained(), "1", "current") == {}
    back = between(explained(), "1", "0")
    assert {at.dims: str(change.delta) for at, change in back.items()} == {"": "0.5", "x": "1"}


def test_a_version_that_is_unknown_is_named_with_those_that_are() -> None:
    with pytest.raises(UsageError) as caught:
        between(explained(), "0", "2")
    assert caught.value.fix == "take one of 0, 1, current."


def test_events_add_up_when_they_are_as_many_and_as_much_as_the_deltas_say() -> None:
    events = [Event("usage.events", 0, offset, "", "", 1, Decimal("0.75")) for offset in (3, 12)]
    last = Event("usage.events", 1, 4, "", "", 1, Decimal(1))
    assert explained(*events, last).adds_up
    assert not explained(*events).adds_up
    assert not explained(*events, Event("usage.events", 1, 4, "", "", 1, Decimal(2))).adds_up


def test_offsets_are_read_once_in_their_order() -> None:
    sources = [
        Source("", "t", 0, ranges=[(5_000, 9_000), (1, 2)]),
        Source("x", "t", 0, ranges=[(8_000, 12_000), (20_000, 20_000), (21_999, 22_000)]),
        Source("", "t", 1, ranges=[(0, 0)]),
    ]
    # Ranges close together are read as one.
    assert merged(sources) == {0: [(1, 3), (5_000, 12_001), (20_000, 22_001)], 1: [(0, 1)]}


def test_a_document_of_a_number_has_exact_text() -> None:
    document = document_of(explained())
    assert document["versions"][0]["lines"][0]["value"] == "3"
    assert [(row["partition"], row["first_offset"], row["last_offset"]) for row in document["sources"]] == [
        (0, 3, 12),
        (1, 4, 4),
    ]
    assert "events" not in document


def test_a_document_of_events_says_what_each_says_of_itself_and_how_many_copies_were_dropped() -> None:
    place = ("usage.events", 0, 3, "", "", 1, Decimal("0.75"))
    first = Event(*place, "e-1", 1_700_000_000_123, 1_700_000_001_000, properties={"user": "u"}, copies=2)
    void = Event("usage.events", 0, 4, "", "", -1, Decimal("-0.75"), "v-1", 0, 0, "eu", "e-1", {}, 0)
    document = document_of(explained(first, void))
    assert document["copies_dropped"] == 2
    assert document["copies_complete"]
    assert document["events"][0] == {
        "event_id": "e-1", "time": "2023-11-14T22:13:20.123Z", "arrival": "2023-11-14T22:13:21Z",
        "topic": "usage.events", "partition": 0, "offset": 3, "dims": "", "part": "", "samples": 1, "amount": "0.75",
        "properties": {"user": "u"}, "copies_dropped": 2,
    }  # fmt: skip
    assert (document["events"][1]["source"], document["events"][1]["voids"]) == ("eu", "e-1")
    table = cli_ledger._events_table(explained(first, void))
    assert table.row_count == 2
    assert str(table.caption).startswith("2 copies were dropped")


def test_a_document_of_a_close_names_the_periods_that_were_refused() -> None:
    closed = Closed(datetime(2024, 1, 5, tzinfo=UTC), 2, 1, 3, (Refusal("lag", "late", (KEY,)),))
    document = cli_close._document(closed)
    assert (document["watermark"], document["closes"], document["published"]) == ("2024-01-05T00:00:00Z", 2, 3)
    assert document["refused"][0]["periods"][0]["period_end"] == "2024-01-02T00:00:00Z"


@pytest.mark.parametrize("text", ["acme", "/x", "acme/", ""])
def test_a_customer_needs_its_tenant(text: str) -> None:
    with pytest.raises(UsageError, match="names no customer"):
        cli_close._pair(text)
    assert cli_close._pair("acme/a/b") == ("acme", "a/b")
