"""Alerts of a stream: each is sent once, also one that is committed after one that was received later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tidemark.api.alert_cursor import AlertCursor, Received

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)


def alert(name: str, second: float) -> Received:
    return Received(BEGAN + timedelta(seconds=second), name, "s", {"id": name})


def names(rows: list[Received]) -> list[str]:
    return [row.alert_id for row in rows]


def test_alerts_from_before_the_stream_are_not_sent():
    cursor = AlertCursor(BEGAN)
    assert cursor.since == BEGAN - timedelta(seconds=10)
    assert names(cursor.new([alert("old", -5), alert("now", 0), alert("a", 1)])) == ["a"]


def test_an_alert_that_is_committed_late_is_sent_once():
    cursor = AlertCursor(BEGAN)
    assert cursor.new([]) == []
    assert names(cursor.new([alert("b", 3)])) == ["b"]
    assert names(cursor.new([alert("a", 2), alert("b", 3)])) == ["a"]
    # Late, and from before the stream began: better sent than lost.
    assert names(cursor.new([alert("late", -1), alert("a", 2), alert("b", 3)])) == ["late"]
    assert cursor.new([alert("late", -1), alert("a", 2), alert("b", 3)]) == []
    assert cursor.since == BEGAN - timedelta(seconds=7)
    assert names(cursor.new([alert("b", 3), alert("c", 9)])) == ["c"]
