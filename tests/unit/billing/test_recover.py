"""Records of the topics become the rows that made them, and one that does not follow is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tidemark.billing.chain import BEGINNING, Chain, Link, hash_of
from tidemark.billing.lines import Line, LineKey, PeriodKey, content_hash
from tidemark.billing.messages import Context, close_message, correction_message
from tidemark.billing.recover import Published, rows_of
from tidemark.billing.true_up import Change, Close, Correction
from tidemark.core.errors import TidemarkError

AT = datetime(2026, 3, 2, 5, 0, 0, 123_000, tzinfo=UTC)
KEY = PeriodKey("acme", "ann", datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))
CALLS, SEATS = LineKey("calls", '{"region":"eu"}'), LineKey("seats", "")
CONTEXT = Context(AT, "ada", "", {"usage.events": {"0": 7}}, AT, 12)
FIRST = {CALLS: Line("sum", "calls", 3, 2, Decimal("5.500000001"))}
THEN = {SEATS: Line("max", "seats", 1, 1, Decimal(4))}


def close(link: Link | None = None) -> Published:
    return Published(41, "closes", '["acme","ann"]', close_message(Close(KEY, FIRST), CONTEXT, 6, link))


def correction(link: Link) -> Published:
    changes = {CALLS: Change(FIRST[CALLS], None), SEATS: Change(None, THEN[SEATS])}
    body = correction_message(Correction(KEY, 1, changes, THEN, is_current=False), CONTEXT, "replay", "back", link)
    return Published(42, "corrections", '["acme","ann"]', body)


def test_a_close_and_its_correction_are_the_rows_that_made_them() -> None:
    chain, first = Chain({}), close(Link(1, BEGINNING))
    rows = rows_of(first, chain)
    (head,), (line,) = rows["period_close"], rows["period_close_line"]
    assert (head["closed_by"], head["dead_letters"], head["lines"], head["catalog_revision"]) == ("ada", 6, 1, 12)
    assert (head["chain_no"], head["previous_hash"], head["record_hash"]) == (1, BEGINNING, hash_of(first.body))
    assert head["content_hash"] == content_hash(KEY, FIRST)
    assert head["rests_on"].obj == {"usage.events": {"0": 7}}
    assert (line["meter"], line["dims"], line["n"], line["value"]) == (*CALLS, 3, Decimal("5.500000001"))
    assert rows["outbox"] == [{"seq": 41, "topic": "closes", "key": first.key, "body": first.body}]

    second = correction(Link(2, hash_of(first.body)))
    rows = rows_of(second, chain)
    (head,), (gone, new) = rows["correction"], rows["correction_line"]
    assert (head["correction_no"], head["cause"], head["replay_id"], head["is_current"]) == (1, "replay", "back", False)
    assert (gone["before"], gone["before_n"], gone["after"], gone["after_n"]) == (Decimal("5.500000001"), 3, None, 0)
    assert (gone["unit"], gone["delta"]) == ("calls", Decimal("-5.500000001"))
    assert (new["before"], new["after"], new["after_samples"], new["unit"]) == (None, Decimal(4), 1, "seats")
    assert [*rows] == ["correction", "correction_line", "outbox"]


def test_a_record_that_does_not_follow_the_one_before_it_is_refused() -> None:
    chain = Chain({})
    rows_of(close(Link(1, BEGINNING)), chain)
    for link in (Link(3, hash_of(close(Link(1, BEGINNING)).body)), Link(2, BEGINNING)):
        with pytest.raises(TidemarkError, match=r"record 42 of corrections is number \d of tenant acme"):
            rows_of(correction(link), chain)


def test_a_record_from_before_there_was_a_chain_has_no_place_in_it() -> None:
    (head,) = rows_of(close(), Chain({}))["period_close"]
    assert (head["chain_no"], head["previous_hash"], head["record_hash"]) == (None, None, None)
