"""Which dead letters keep a period open: whole and partial ones, until they were redriven and counted; read once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tests.integration.storage import own_run
from tests.unit.dead_letters.test_redrive import (
    ARRIVAL_MS,
    EVENT_MS,
    REDRIVE,
    TOPIC,
    dead_letter,
    event,
    only,
    partial,
    plan,
)
from tidemark.billing import dead_letter_index
from tidemark.billing.dead_letter_list import listed
from tidemark.billing.lines import PeriodKey
from tidemark.billing.refusals import count_dead_letters
from tidemark.core import postgres, topics
from tidemark.core.kafka import Sender
from tidemark.core.settings import Settings
from tidemark.dead_letters.log import HEADER, Marker, Source
from tidemark.dead_letters.records import DeadLetter, Position, Wanted, read_dead_letters, survey
from udfs.values import rfc3339

MARCH = PeriodKey("acme", "alice", datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC))
APRIL = PeriodKey("acme", "alice", MARCH.end, datetime(2024, 5, 1, tzinfo=UTC))
OTHER = PeriodKey("acme", "bob", MARCH.start, MARCH.end)
OWNER = {"tenant_id": "acme", "customer_id": "alice"}


@pytest.fixture
def run(stack: Any) -> Iterator[Settings]:
    with own_run(stack.settings) as settings:
        made = settings.with_changes({"topics.events": f"test.{settings.run_id}"})
        topics.apply(made)
        yield made


class Log:
    """Both topics of a run; offsets are counted, everything is in partition 0."""

    def __init__(self, run: Settings) -> None:
        self.run = run
        self.sent = 0

    def reject(self, one: DeadLetter, **changed: Any) -> None:
        named = {TOPIC: self.run.topics.events, REDRIVE: self.run.topics.redrive}
        document = {**one, **OWNER, "topic": named[one["topic"]], **changed}
        del document["at"]
        with Sender(self.run.kafka) as sender:
            sender.send(self.run.names.dlq, json.dumps(document).encode(), partition=0)

    def redrive(self, value: bytes, origin: int) -> int:
        """Send an event again; its offset in the redrive topic."""
        source = Source(self.run.topics.events, 0, origin)
        marker = Marker(source.topic, 0, origin, source, Source(self.run.names.dlq, 0, 0), "now")
        with Sender(self.run.kafka) as sender:
            headers = [(HEADER, msgspec.json.encode(marker))]
            sender.send(self.run.topics.redrive, value, partition=0, timestamp_ms=ARRIVAL_MS, headers=headers)
        self.sent += 1
        return self.sent - 1

    def open(self) -> dict[PeriodKey, int]:
        with postgres.connect(self.run.postgres) as connection:
            return dict(count_dead_letters(connection, self.run, [MARCH, APRIL, OTHER]).open)


@pytest.fixture
def log(run: Settings) -> Log:
    return Log(run)


def value_of(one: DeadLetter, run: Settings) -> bytes:
    """What a redrive sends, as the run sends it."""
    item = only(plan([one]))
    assert item.record_value is not None
    return item.record_value.replace(b'"run":""', f'"run":"{run.run_id}"'.encode())


def test_every_meter_that_is_missing_an_event_counts_until_it_was_redriven(log: Log, run: Settings) -> None:
    assert MARCH.start.timestamp() * 1_000 < EVENT_MS < MARCH.end.timestamp() * 1_000
    calls, seconds = (partial(event(), 1, meter=meter) for meter in ("calls", "seconds"))
    log.reject(calls)
    log.reject(seconds)
    assert log.open() == {MARCH: 2}
    value = value_of(calls, run)
    at = log.redrive(value, 1)
    assert log.open() == {MARCH: 1}
    # An event that was rejected again is still missing, and counts as one dead letter.
    log.reject(dead_letter(value, at, topic=REDRIVE, meter="calls"))
    assert log.open() == {MARCH: 2}


def test_a_redriven_event_that_a_meter_refuses_is_missing_there(log: Log, run: Settings) -> None:
    log.reject(dead_letter(event(), 1))
    assert log.open() == {MARCH: 1}
    at = log.redrive(value_of(dead_letter(event(), 1), run), 1)
    assert log.open() == {}
    log.reject(partial(event(), at, topic=REDRIVE))
    assert log.open() == {MARCH: 1}


def test_what_is_too_late_is_counted_and_keeps_nothing_open(log: Log, run: Settings) -> None:
    log.reject(dead_letter(event(), 1, reason="too_late"))
    log.reject(dead_letter(b"{", 2))
    with postgres.connect(run.postgres) as connection:
        found = count_dead_letters(connection, run, [MARCH])
        assert (found.counts, found.open) == ({MARCH: 2}, {MARCH: 1})


@pytest.mark.parametrize(
    "changed",
    [
        {"tenant_id": "a\x00b"}, {"customer_id": "x" * 10_000}, {"tenant_id": None}, {"arrival": None},
        {"tenant_id": 7}, {"raw": None},
    ],
)  # fmt: skip
def test_whatever_a_dead_letter_says_it_is_indexed(log: Log, run: Settings, changed: dict[str, Any]) -> None:
    log.reject(dead_letter(event(), 1), **changed)
    assert dead_letter_index.catch_up(run) == 1
    assert dead_letter_index.catch_up(run) == 0


def test_each_record_is_read_once_and_a_topic_that_was_made_again_from_its_start(log: Log, run: Settings) -> None:
    for offset in range(3):
        log.reject(dead_letter(event(), offset))
    assert dead_letter_index.catch_up(run) == 3
    log.reject(dead_letter(event(), 3))
    assert dead_letter_index.catch_up(run) == 1
    assert log.open() == {MARCH: 4}
    with postgres.connect(run.postgres) as connection:
        # As another topic of the same name would be known.
        table = f"{run.names.billing_schema}.dead_letter_position"
        connection.execute(f"UPDATE {table} SET topic_id = gen_random_uuid()".encode())
    assert dead_letter_index.catch_up(run) == 4
    assert log.open() == {MARCH: 4}


SELECTIONS: list[Wanted] = [
    {}, {"reason": "too_late"}, {"tenant": "acme", "customer": "bob"}, {"meter": "calls"}, {"partial": True},
    {"partial": False}, {"since_ms": ARRIVAL_MS + 2_000}, {"until_ms": ARRIVAL_MS + 2_000, "customer": "alice"},
    {"tenant": "nobody"},
]  # fmt: skip


def test_the_list_of_the_index_is_that_of_the_topic(log: Log, run: Settings) -> None:
    for offset in range(4):
        arrival = rfc3339(ARRIVAL_MS + 1_000 * (offset % 3))
        log.reject(dead_letter(event(), offset, reason="too_late" if offset % 2 else "invalid_json"), arrival=arrival)
        log.reject(partial(event(), offset, meter="calls"), customer_id="bob", arrival=arrival)
    log.reject(dead_letter(event(), 9), arrival=None)
    with Sender(run.kafka) as sender:
        sender.send(run.names.dlq, b"of another program", partition=0)
    unreadable: list[Position] = []
    rejected = list(read_dead_letters(run, unreadable))
    assert unreadable == [Position(0, 9)]
    for limit in (0, 3, 100):
        for wanted in SELECTIONS if limit else SELECTIONS[:1]:
            read = survey(rejected, limit, **wanted)
            assert listed(run, limit, **wanted) == (read, unreadable), (limit, wanted)
    # A replay has no ledger.
    replay = run.with_changes({"run_id": run.names.replay("r"), "topics.events": run.topics.events})
    topics.apply(replay)
    assert listed(replay, 5) == (survey([], 5), [])
