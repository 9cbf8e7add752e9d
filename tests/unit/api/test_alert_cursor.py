"""Alerts of a stream: each is sent once, also one that is committed after one that was received later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tidemark.api.alert_cursor import PAGE, AlertCursor, Received

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


def read(table: list[Received], cursor: AlertCursor) -> list[str]:
    """What is sent after one reading of a page, as the statement has it."""
    rows = sorted((row for row in table if row.at >= cursor.since), key=lambda row: row.at)
    return names(cursor.new(rows[:PAGE]))


def test_a_burst_of_more_than_a_page_is_sent_whole_and_what_comes_later_too():
    table = [alert(f"a{place}", 0.002 * place) for place in range(3 * PAGE + 500)]
    # One transaction of the intake: its alerts have one instant.
    table += [alert(f"b{place}", 7.5) for place in range(500)]
    cursor = AlertCursor(BEGAN - timedelta(seconds=1))
    sent = [one for _ in range(20) for one in read(table, cursor)]
    table += [alert(f"later{place}", 60 * place) for place in range(1, 60)]
    sent += [one for _ in range(20) for one in read(table, cursor)]
    assert sorted(sent) == sorted(names(table))


def test_of_a_burst_before_the_stream_began_nothing_is_sent():
    table = [alert(f"a{place}", -0.002 * place) for place in range(2 * PAGE + 500)]
    cursor = AlertCursor(BEGAN)
    assert [one for _ in range(6) for one in read(table, cursor)] == []
    table.append(alert("new", 1))
    assert [one for _ in range(6) for one in read(table, cursor)] == ["new"]
