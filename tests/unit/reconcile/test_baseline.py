"""From where on the log adds up after retention: nothing before may be needed, and all behind it must be there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tidemark.reconcile.baseline import MARGIN, Offsets, Recorded, start

DAY = timedelta(days=1)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
COPIES = 4 * DAY
SOURCE, WRITTEN = ("events", "redrive"), ("deltas", "dlq")


def run(day: int) -> Recorded:
    """A run on a day: a hundred records of each partition a day."""
    at = 100 * day
    offsets = {"events": {0: at, 1: at}, "redrive": {0: 0}, "deltas": {0: at}, "dlq": {0: day}}
    return Recorded(BEGIN + day * DAY, offsets)


RUNS = [run(day) for day in range(1, 31)]


def from_day(earliest: Offsets) -> int | None:
    """The day from which on the log adds up; 0 for its beginning."""
    found = start(RUNS, earliest, SOURCE, WRITTEN, COPIES)
    return None if found is None else found["events"][0] // 100 if found else 0


@pytest.mark.parametrize(
    ("earliest", "day"),
    [
        ({"events": {0: 0}, "deltas": {0: 0}}, 0),
        # Sources: the run that had seen what is gone, and the days in which copies of it may come.
        ({"events": {0: 1}}, 5), ({"events": {0: 200, 1: 0}}, 6), ({"events": {0: 201, 1: 100}}, 7),
        # What was written: a margin alone, which is the next run.
        ({"deltas": {0: 250}}, 4), ({"dlq": {0: 3}}, 4),
        ({"events": {0: 1}, "deltas": {0: 900}}, 10),
        # A partition that no run has seen so far; and no run that is late enough.
        ({"events": {7: 1}}, None), ({"events": {0: 2_700}}, None), ({"deltas": {0: 3_000}}, None),
    ],
)  # fmt: skip
def test_the_start_is_the_first_run_behind_which_all_is_there(earliest: Offsets, day: int | None) -> None:
    assert from_day(earliest) == day


def test_without_a_run_there_is_no_start_but_the_beginning() -> None:
    assert start([], {"events": {0: 1}}, SOURCE, WRITTEN, COPIES) is None
    assert start([], {"events": {0: 0}}, SOURCE, WRITTEN, COPIES) == {}
    assert MARGIN < DAY
