"""When a batch is of a backlog: many old events, or what is left over soon after them."""

from __future__ import annotations

import pytest

from udfs.decode.backlog import FEWEST_EVENTS, LINGER_MS, Backlog

NOW_MS = 1_700_000_000_000
AFTER_MS = 3_000


class Clock:
    """Milliseconds that pass when a test says so."""

    now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize(
    ("events", "age_ms", "expected"),
    [
        (FEWEST_EVENTS, AFTER_MS + 1, True),
        (FEWEST_EVENTS, AFTER_MS, False),
        (FEWEST_EVENTS - 1, AFTER_MS + 1, False),
        (5_000, 0, False),
        # Clocks of brokers run ahead at times.
        (5_000, -60_000, False),
    ],
    ids=["many, old", "many, not old yet", "few, old", "a burst of fresh events", "from the future"],
)
def test_many_old_events_are_a_backlog(clock: Clock, events: int, age_ms: int, expected: bool) -> None:
    assert Backlog(AFTER_MS, clock).holds(events, NOW_MS - age_ms) is expected


def test_what_is_left_over_belongs_to_the_backlog_for_a_while(clock: Clock) -> None:
    backlog = Backlog(AFTER_MS, clock)
    assert backlog.holds(2_000, NOW_MS - 3_600_000)

    clock.now_ms += LINGER_MS - 1
    assert backlog.holds(1, NOW_MS - 3_600_000)

    clock.now_ms += 1
    assert not backlog.holds(1, NOW_MS - 3_600_000)


def test_a_fresh_batch_right_after_a_backlog_is_live(clock: Clock) -> None:
    backlog = Backlog(AFTER_MS, clock)
    assert backlog.holds(2_000, NOW_MS - 3_600_000)
    assert not backlog.holds(2_000, NOW_MS - 100)


def test_a_run_without_such_a_rule_has_no_backlog(clock: Clock) -> None:
    assert not Backlog(None, clock).holds(1_000_000, 0)
