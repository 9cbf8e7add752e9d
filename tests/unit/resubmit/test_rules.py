"""A job that Flink has forgotten is not one that should not run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tidemark.core.audit import Entry
from tidemark.resubmit.rules import BOUNDED, NEVER_SUBMITTED, STOPPED, Left, Lost, Outcome, known, outcome

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def entry(action: str, **detail: Any) -> Entry:
    return Entry(1, AT, "tidemark_ops", "", "somebody", "", action, "meter", detail)


@pytest.mark.parametrize("states", [("RUNNING",), ("RESTARTING",), ("FAILED",), ("CANCELED", "FINISHED")])
def test_a_job_that_flink_knows_is_left_alone_whatever_its_state_is(states: tuple[str, ...]) -> None:
    assert known(states) == Left(f"Flink knows it: {', '.join(states)}")


def test_of_many_attempts_each_state_is_said_once() -> None:
    assert known(["RUNNING", "FAILED", "FAILED"]) == Left("Flink knows it: RUNNING, FAILED")
    assert known([]) is None


@pytest.mark.parametrize(
    ("newest", "stopped_at", "expected"),
    [
        (None, None, NEVER_SUBMITTED),
        (entry("job.submit"), None, Lost()),
        (entry("job.submit", start="", end=""), None, Lost()),
        (entry("job.submit", end="latest"), None, BOUNDED),
        (entry("job.stop", job_id="a"), None, STOPPED),
        # From that savepoint it was submitted, and was lost before its first checkpoint.
        (entry("job.submit"), AT.timestamp() - 5, Lost()),
        # Stopped while Postgres was away.
        (entry("job.submit"), AT.timestamp() + 5, STOPPED),
    ],
)
def test_what_somebody_wanted_last_decides(newest: Entry | None, stopped_at: float | None, expected: Outcome) -> None:
    assert outcome(newest, stopped_at) == expected
