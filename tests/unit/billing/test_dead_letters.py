"""Which dead letters keep a period open: whole and partial ones, until they were redriven and counted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.unit.dead_letters.test_redrive import (
    EVENT_MS,
    REDRIVE,
    TOPIC,
    dead_letter,
    event,
    only,
    partial,
    plan,
    redriven,
    sent_again,
)
from tidemark.billing import refusals
from tidemark.billing.lines import PeriodKey
from tidemark.billing.refusals import DeadLetterCounts, count_dead_letters
from tidemark.core.settings import Settings
from tidemark.dead_letters.log import RedriveLog, Source
from tidemark.dead_letters.records import DeadLetter, Position

MARCH = PeriodKey("acme", "alice", datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC))
OWNER = {"tenant_id": "acme", "customer_id": "alice"}
SETTINGS = Settings(topics={"events": TOPIC})


def counted(monkeypatch: pytest.MonkeyPatch, dead_letters: list[DeadLetter], *records: Any) -> DeadLetterCounts:
    log = RedriveLog(REDRIVE)

    def read_log(_: Settings, rejected: set[Position]) -> RedriveLog:
        log.rejected = rejected
        for record in records:
            log.add(record)
        return log

    monkeypatch.setattr(refusals, "read_dead_letters", lambda _: iter([record | OWNER for record in dead_letters]))
    monkeypatch.setattr(refusals, "read_log", read_log)
    return count_dead_letters(SETTINGS, [MARCH])


def test_every_meter_that_is_missing_an_event_counts_until_it_was_redriven(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MARCH.start.timestamp() * 1_000 < EVENT_MS < MARCH.end.timestamp() * 1_000
    dead_letters = [partial(event(), 1, meter=meter) for meter in ("calls", "seconds")]
    assert counted(monkeypatch, dead_letters).open == {MARCH: 2}
    sent = sent_again(only(plan(dead_letters[:1])), 5, Source(TOPIC, 0, 1))
    assert counted(monkeypatch, dead_letters, sent).open == {MARCH: 1}
    # An event that was rejected again is still missing, and counts as one dead letter.
    again = dead_letter(sent.value, 5, topic=REDRIVE, meter="calls")
    assert counted(monkeypatch, [*dead_letters, again], sent).open == {MARCH: 2}


def test_a_redriven_event_that_a_meter_refuses_is_missing_there(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, again = dead_letter(event(), 1), partial(event(), 5, topic=REDRIVE)
    record = redriven(_value(), 5, Source(TOPIC, 0, 1))
    assert counted(monkeypatch, [whole], record).open == {}
    assert counted(monkeypatch, [whole, again], record).open == {MARCH: 1}


def _value() -> bytes:
    return only(plan([dead_letter(event(), 1)])).value
