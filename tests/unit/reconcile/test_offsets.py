"""The check of offsets on a small log: partly counted events count, their partial dead letters are beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.oracle.support import ARRIVAL, catalog_of, event, millis
from tidemark.core.settings import Settings
from tidemark.oracle.oracle import Oracle
from tidemark.reconcile.offsets import JobCounts, check
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
    return [dict(one.subject) for one in check(SETTINGS, oracle, {0: 4, -1: 2}, said, "").findings]


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
