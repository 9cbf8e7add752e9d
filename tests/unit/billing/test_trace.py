"""Outcomes of an event: first, copies, dead letters whole and partial, voids; and the index of the deltas."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.billing.delta_index import STRETCH, WIDE, summed
from tidemark.billing.events import may_hold, texts_of
from tidemark.billing.trace import Hit, Refused, grouped, record_outcomes
from tidemark.core.deltas import Delta
from udfs.events.envelope import Envelope, wrap
from udfs.events.parse import parse

TOPIC = "usage.events"
DONE = {TOPIC: {0: 100, 1: 100}}


def hit(offset: int, arrival_ms: int | None = None, partition: int = 0, **fields: object) -> Hit:
    value = {
        "event_id": "e-1", "tenant_id": "acme", "customer_id": "c", "event_type": "call",
        "timestamp": "2026-01-01T00:00:00Z", "schema_version": 2, **fields,
    }  # fmt: skip
    raw = json.dumps(value).encode()
    return Hit(TOPIC, partition, offset, offset if arrival_ms is None else arrival_ms, False, parse(raw), raw)


def summaries(*hits: Hit) -> list[str]:
    return [event.summary for event in grouped("e-1", hits)]


def test_of_copies_the_first_to_arrive_was_counted() -> None:
    hits = [hit(7, 5, partition=1), hit(3, 9), hit(9, 9)]
    record_outcomes(hits, {}, DONE)
    assert [hit.outcome for hit in hits] == ["counted", "copy", "copy"]
    assert summaries(*hits) == ["e-1 of acme was counted once. 2 copies of it were dropped."]


def test_what_meter_has_not_read_is_not_counted_yet() -> None:
    hits = [hit(99), hit(100)]
    record_outcomes(hits, {}, DONE)
    assert [hit.outcome for hit in hits] == ["counted", "waiting"]
    assert summaries(*hits) == ["e-1 of acme was counted once. 1 record is not read by `meter` yet."]


def test_a_dead_letter_gives_way_to_the_next_record_and_a_partial_one_does_not() -> None:
    whole, partial = Refused("invalid_quantity", "x"), Refused("invalid_value", "x", "bytes")
    hits = [hit(1), hit(2), hit(3)]
    record_outcomes(hits, {hits[0].place: [whole], hits[1].place: [partial]}, DONE)
    assert [hit.outcome for hit in hits] == ["rejected", "counted", "copy"]
    (answer,) = summaries(*hits)
    assert answer == (
        "e-1 of acme was counted once. 1 copy of it was dropped. 1 record of it became a dead letter. "
        "Rejected by bytes only."
    )


def redriven(original: Hit, meter: str) -> Hit:
    value = wrap(Envelope(meter, "", original.value))
    return Hit(f"{TOPIC}.redrive", 0, 0, original.arrival_ms, False, original.event, value)


def test_what_one_meter_refused_is_counted_beside_the_event_when_it_is_redriven() -> None:
    first = hit(1)
    dead_letters = {first.place: [Refused("invalid_value", "x", "bytes"), Refused("missing_value", "x", "users")]}
    hits = [first, hit(2), redriven(first, "bytes"), replace(redriven(first, "bytes"), offset=1)]
    record_outcomes(hits, dead_letters, DONE | {f"{TOPIC}.redrive": {0: 2}})
    assert [hit.outcome for hit in hits] == ["counted", "copy", "counted", "copy"]
    (answer,) = summaries(*hits)
    assert answer == (
        "e-1 of acme was counted once. 2 copies of it were dropped. Rejected by users only. "
        "Rejected at first, redriven and counted by bytes."
    )


def test_an_event_that_was_refused_each_time_was_not_counted() -> None:
    hits = [hit(1), hit(2)]
    record_outcomes(hits, {hit.place: [Refused("too_late", "x")] for hit in hits}, DONE)
    assert summaries(*hits) == ["e-1 of acme was not counted: 2 records are dead letters (too_late)."]


def test_the_same_id_of_another_tenant_or_source_is_another_event() -> None:
    hits = [hit(1), hit(2, tenant_id="globex"), hit(3, source="eu"), hit(4, source="eu")]
    record_outcomes(hits, {}, DONE)
    assert [hit.outcome for hit in hits] == ["counted", "counted", "counted", "copy"]
    assert [(event.tenant, event.source) for event in grouped("e-1", hits)] == [
        ("acme", ""),
        ("acme", "eu"),
        ("globex", ""),
    ]


def test_all_voids_of_an_event_are_one() -> None:
    hits = [hit(1), hit(2, event_id="v-1", voids="e-1"), hit(3, event_id="v-2", voids="e-1")]
    record_outcomes(hits, {}, DONE)
    (event,) = grouped("e-1", hits)
    assert [hit.outcome for hit in event.voids] == ["counted", "copy"]
    assert event.summary == "e-1 of acme was counted once. It was taken back by v-1."
    alone = hit(2, event_id="v-1", voids="e-1")
    record_outcomes([alone], {}, DONE)
    assert summaries(alone) == ["e-1 of acme did not arrive. It was taken back by v-1."]


def test_bytes_that_are_no_event_go_with_the_tenant_they_name() -> None:
    torn = Hit(TOPIC, 0, 1, 1, False, None, b'{"event_id": "e-1", "tenant_id": "acme"}')
    record_outcomes([torn], {}, DONE)
    assert torn.outcome == "rejected"
    assert [event.tenant for event in grouped("e-1", [torn])] == ["acme"]


@given(st.text(min_size=1))
def test_a_record_that_holds_an_id_is_never_passed_over(name: str) -> None:
    names = texts_of(name)
    for ascii_only in (True, False):
        raw = json.dumps({"id": name}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        assert may_hold(raw, names)
    assert not may_hold(None, names)
    assert not may_hold(b'{"id": "x"}', texts_of("y-1"))


@pytest.mark.parametrize("part", ["m"])
def test_a_moment_is_no_amount(part: str) -> None:
    assert summed([delta(1, 1, part=part)]) == {}


def delta(first: int, last: int, total: str = "1", part: str = "") -> Delta:
    start, end = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"
    return Delta("acme", "c", "calls", "", part, start, start, end, 1, 1, total, TOPIC, 0, first, last, 1)


offsets = st.integers(0, 5 * STRETCH)


@given(st.lists(st.tuples(offsets, st.integers(0, STRETCH), st.decimals(-(10**18), 10**18, places=9))))
def test_the_index_loses_no_offset_and_no_amount(ranges: list[tuple[int, int, Decimal]]) -> None:
    deltas = [delta(first, first + length, str(total)) for first, length, total in ranges]
    rows = summed(deltas)
    for row_delta in deltas:
        assert any(row[0] <= row_delta.first_offset and row_delta.last_offset <= row[1] for row in rows.values())
    assert sum(row[2] for row in rows.values()) == len(deltas)
    with_all_digits = sum(int(WIDE.scaleb(total, 9)) for *_, total in ranges)
    assert sum(int(WIDE.scaleb(row[4], 9)) for row in rows.values()) == with_all_digits
    assert len(rows) <= 6
