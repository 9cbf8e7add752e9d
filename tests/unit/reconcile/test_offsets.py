"""The check of offsets on a small log: partly counted events count, their partial dead letters are beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.oracle.support import ARRIVAL, catalog_of, event, millis
from tests.unit.fuzz.records import good
from tidemark.core.kafka import Record
from tidemark.core.settings import Settings
from tidemark.oracle.oracle import Oracle
from tidemark.reconcile.offsets import JobCounts, check, read_counts
from tidemark.reconcile.places import Place
from udfs.events.envelope import Envelope, wrap

SETTINGS = Settings()
EVENTS, REDRIVEN = Place(SETTINGS.topics.events, 0), Place(SETTINGS.topics.redrive, 0)
CATALOG = catalog_of(m={"aggregation": "sum", "value": "size"}, n={"aggregation": "count"})
REPAIRED = wrap(Envelope("m", "", event("1", properties={"size": 7}), event("1")))
# Partly counted, its copy, counted by both, no event; redriven for one meter, twice.
LOG = [
    (0, 0, event("1")), (0, 1, event("1")), (0, 2, event("2", properties={"size": 5})), (0, 3, b"{"),
    (-1, 0, REPAIRED), (-1, 1, REPAIRED),
]  # fmt: skip
SAID = JobCounts(counted={EVENTS: 2, REDRIVEN: 1}, dead={EVENTS: 1}, partial=1)


@pytest.fixture
def oracle() -> Iterator[Oracle]:
    with Oracle(CATALOG, [(p, offset, millis(ARRIVAL), value) for p, offset, value in LOG]) as made:
        yield made


def found(oracle: Oracle, said: JobCounts) -> list[dict[str, Any]]:
    return [dict(one.subject) for one in check(SETTINGS, oracle, {0: 4, -1: 2}, said, {}).findings]


def test_a_partly_counted_event_is_counted_once_and_what_was_redriven_for_a_meter_once(oracle: Oracle) -> None:
    assert found(oracle, SAID) == []


@pytest.mark.parametrize("partial", [0, 2])
def test_a_partial_dead_letter_too_many_or_too_few_is_a_difference(oracle: Oracle, partial: int) -> None:
    assert found(oracle, replace(SAID, partial=partial)) == [{"dead_letters": "partial"}]


def test_a_redriven_part_that_was_counted_twice_is_a_difference(oracle: Oracle) -> None:
    twice = replace(SAID, counted={EVENTS: 2, REDRIVEN: 2})
    assert {"topic": SETTINGS.topics.redrive, "partition": 0} in found(oracle, twice)


def test_what_was_redriven_after_the_catalog_was_put_right_may_have_been_counted_so() -> None:
    # The recomputation, by the catalog of now, counts the event itself for the meter that had refused it.
    sized = event("1", properties={"size": 7})
    log = [(0, 0, sized), (-1, 0, wrap(Envelope("m", "", sized)))]
    with Oracle(CATALOG, [(p, offset, millis(ARRIVAL), value) for p, offset, value in log]) as oracle:
        assert found(oracle, JobCounts({EVENTS: 1, REDRIVEN: 1}, {}, 1)) == []
        assert found(oracle, JobCounts({EVENTS: 1}, {}, 0)) == []
        assert json.dumps(found(oracle, JobCounts({EVENTS: 1, REDRIVEN: 2}, {}, 1))) != "[]"


# Partition 0 from offset 2 on: a copy of the event before it, an event of its own, its copy, and no event.
LATER = [
    (0, 0, event("1", properties={"size": 5})), (0, 1, event("0", properties={"size": 5})),
    (0, 2, event("1", properties={"size": 5})), (0, 3, event("2", properties={"size": 5})),
    (0, 4, event("2", properties={"size": 5})), (0, 5, b"{"),
]  # fmt: skip
STARTS = {0: 2}


@pytest.fixture
def later() -> Iterator[Oracle]:
    with Oracle(CATALOG, [(p, offset, millis(ARRIVAL), value) for p, offset, value in LATER]) as made:
        yield made


def differing(oracle: Oracle, said: JobCounts) -> list[dict[str, Any]]:
    return [dict(one.subject) for one in check(SETTINGS, oracle, {0: 6}, said, STARTS).findings]


def test_behind_a_start_what_is_new_there_was_counted_and_the_copies_of_what_came_before_were_not(
    later: Oracle,
) -> None:
    right = JobCounts(counted={EVENTS: 1}, dead={EVENTS: 1})
    assert differing(later, right) == []
    lost, twice = replace(right, counted={}), replace(right, counted={EVENTS: 2})
    for wrong in (lost, twice, replace(right, dead={})):
        assert {"topic": EVENTS.topic, "partition": 0} in differing(later, wrong)
    (note,) = check(SETTINGS, later, {0: 6}, right, STARTS).notes
    assert "retention" in note


def test_of_a_delta_across_the_start_any_number_of_events_may_lie_behind_it(later: Oracle) -> None:
    # Two events of it: one or both of them before the start.
    for counted in (1, 2, 3):
        across = JobCounts(counted={EVENTS: counted}, dead={EVENTS: 1}, across={EVENTS: 2})
        assert differing(later, across) == []
    assert differing(later, JobCounts(counted={EVENTS: 4}, dead={EVENTS: 1}, across={EVENTS: 2})) != []


def test_what_the_jobs_wrote_is_taken_apart_by_the_offsets_it_was_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def delta(events: int, first: int, last: int) -> bytes:
        delta = good("usage.deltas")[0] | {"source_topic": EVENTS.topic, "source_partition": 0}
        return json.dumps(delta | {"events": events, "first_offset": first, "last_offset": last}).encode()

    def dead(offset: int, *, partial: bool = False) -> bytes:
        return json.dumps({"topic": EVENTS.topic, "partition": 0, "offset": offset, "partial": partial}).encode()

    written = {
        SETTINGS.names.deltas: [delta(1, 0, 1), delta(2, 1, 3), b"forged", delta(4, 2, 9), b"{}"],
        SETTINGS.names.dlq: [dead(1), dead(2), dead(8), dead(1, partial=True), dead(3, partial=True)],
    }
    monkeypatch.setattr(
        "tidemark.reconcile.offsets.dump",
        lambda _, topic: [Record(0, at, 0, None, value) for at, value in enumerate(written[topic])],
    )
    assert read_counts(SETTINGS, {0: 6}, STARTS) == JobCounts({EVENTS: 6}, {EVENTS: 1}, 1, {EVENTS: 2}, foreign=2)
    assert read_counts(SETTINGS, {0: 6}, {}) == JobCounts({EVENTS: 7}, {EVENTS: 2}, 2, {}, foreign=2)
