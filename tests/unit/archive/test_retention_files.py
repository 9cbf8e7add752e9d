"""Which files of the archive go: none that may hold an event of a period that is open."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from unittest.mock import Mock

import pytest

from tidemark.archive.index import File
from tidemark.archive.retention import files
from tidemark.core.settings import Settings

PERIOD = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = Settings(retention={"archive_days": 30, "events_days": 20}, archive={"dir": "/archive"})


@pytest.mark.parametrize(("early_s", "goes"), [(60, 0), (SETTINGS.events.future_tolerance_s, 0), (301, 1)])
def test_what_arrived_shortly_before_an_open_period_may_be_of_it(
    monkeypatch: pytest.MonkeyPatch, early_s: int, goes: int
) -> None:
    last = PERIOD - timedelta(seconds=early_s)
    file = File(SETTINGS.topics.events, 0, date(2025, 12, 31), 0, 9, 10, 1, "x", last - timedelta(hours=1), last, "p")
    index = Mock(topics=lambda: [SETTINGS.topics.events], files=lambda _: [file])
    monkeypatch.setattr(files, "open_period", lambda *_: (PERIOD, "the period is not closed"))
    monkeypatch.setattr(files, "retention_ms", lambda *_: 86_400_000)
    (step,) = files.steps(Mock(), SETTINGS, Mock(), index, PERIOD + timedelta(days=130))
    assert (step.count, bool(step.limited)) == (goes, not goes)
