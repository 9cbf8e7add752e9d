"""The end of the hot path: what an unreachable Redis costs, and that it delays neither counting nor an alert."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest

from tests.ports import free_port
from tests.unit.limits.limit_parts import FEB, JAN, NOW_MS, Clock, Limits, Reported, limit
from udfs.alerts.event import Alert
from udfs.limits.watch import LimitWatch
from udfs.live.counters import WRITTEN, LiveTotal
from udfs.live.publisher import (
    FIRES_AGAIN_S,
    HEARTBEAT,
    Change,
    LivePublisher,
    LiveSettings,
    Outcome,
    unpack_change,
)
from udfs.wire import LIVE_CHANGE, LiveChange, Number

LOST, BACK, EXCEEDED = ("pipeline.live_counters", "firing"), ("pipeline.live_counters", "resolved"), "limit.exceeded"


def change(n: int, *, customer: str = "UA", value: int = 1, added: int = 1, at_ms: int = JAN + 1) -> Change:
    row = LiveTotal("EWR", customer, "miles", JAN, FEB, n, n, str(value), "1", "1")
    return Change(row, Decimal(added), at_ms, "")


def beat(at_ms: int) -> Change:
    return Change(LiveTotal("", "", HEARTBEAT, 0, FEB, 0, 0, "0"), Decimal(0), at_ms, "")


@contextmanager
def mute_server() -> Iterator[int]:
    """A server that takes connections and never says a word, like a stopped process."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        yield int(server.getsockname()[1])


def publisher(port: int, clock: Clock, limits: Limits | None = None) -> LivePublisher:
    at = LiveSettings(f"redis://127.0.0.1:{port}/0", "usage:", grace_ms=0, timeout_ms=100, retry_ms=1_000)
    watch = LimitWatch(limits.book(clock), lambda: NOW_MS) if limits else None
    return LivePublisher(at, watch, clock=clock, wall_clock=lambda: 1_357_035_420.0)


def kinds(found: Any) -> list[tuple[str, str]]:
    return [(one.type, one.status) for one in found]


def of_redis(outcome: Outcome) -> list[Alert]:
    return [one for row in outcome.alerts for one in row if one.type == LOST[0]]


def test_a_lost_redis_fires_once_and_rows_are_dropped_and_counted() -> None:
    clock = Clock()
    live = publisher(free_port(), clock)
    first = live.publish([change(1), change(2), change(1, customer="AA")])
    assert (first.dropped, [kinds(row) for row in first.alerts]) == (2, [[LOST], [], []])
    (alert,) = of_redis(first)
    assert (alert.evidence["dropped"], alert.at_ms, alert.id) == (2, 1_357_035_420_000, "")
    clock.now += 2
    again = live.publish([change(3)])
    assert (again.dropped, of_redis(again)) == (1, [])


def test_a_subtask_that_has_not_recovered_fires_again_after_another_one_ended_the_condition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, reported = Clock(), Reported()
    lost, recovering = publisher(free_port(), clock), publisher(free_port(), clock)
    news = [kinds(reported.take(of_redis(one.publish([change(1)])))) for one in (lost, recovering)]
    monkeypatch.setattr(recovering, "_attempt", lambda rows, _: ["sha", *(WRITTEN for _ in rows)])
    clock.now += 2
    news.append(kinds(reported.take(of_redis(recovering.publish([change(2)])))))
    for _ in range(12):
        clock.now += 5
        news.append(kinds(reported.take(of_redis(lost.publish([change(2)])))))
    assert [one for one in news if one] == [[LOST], [BACK], [LOST]]
    # All of it took no longer than the interval at which a lost one says so again.
    assert news.index([LOST], 3) <= 3 + FIRES_AGAIN_S / 5


def test_nothing_is_tried_until_the_pause_is_over() -> None:
    clock = Clock()
    with mute_server() as port:
        live = publisher(port, clock)
        live.publish([change(1)])
        outcomes = [live.publish([change(n)]) for n in range(2, 102)]
    assert {(outcome.dropped, outcome.detail) for outcome in outcomes} == {(1, "waiting before the next attempt")}


def test_a_redis_that_never_answers_costs_one_attempt_whatever_the_batch() -> None:
    with mute_server() as port:
        outcome = publisher(port, Clock()).publish([change(n, customer=str(n)) for n in range(500)])
    assert outcome.dropped == 500
    assert "imeout" in outcome.detail


@pytest.mark.parametrize("mute", [False, True])
def test_an_unreachable_redis_delays_no_alert_of_a_limit(mute: bool) -> None:
    limits = Limits([limit(100)])
    with mute_server() as port:
        live = publisher(port if mute else free_port(), Clock(), limits)
        first = live.publish([change(1, value=99, added=99), change(2, value=100)])
        # In the pause after the failure too: the void, and the next crossing.
        second = live.publish([change(3, value=90, added=-10), change(4, value=120, added=30)])
    assert [kinds(row) for row in first.alerts] == [[LOST], [(EXCEEDED, "firing")]]
    assert [kinds(row) for row in second.alerts] == [[("limit.resolved", "resolved")], [(EXCEEDED, "firing")]]
    assert (first.dropped, second.dropped, second.detail) == (1, 1, "waiting before the next attempt")


def test_alerts_come_row_by_row_also_of_rows_that_redis_is_spared() -> None:
    live = publisher(free_port(), Clock(), Limits([limit(10, "every 2")]))
    outcome = live.publish([change(n, value=n) for n in range(1, 11)])
    assert outcome.dropped == 1
    assert [[one.threshold for one in row if one.type != LOST[0]] for row in outcome.alerts] == [
        [], ["2"], [], ["4"], [], ["6"], [], ["8"], [], ["10", "10"],
    ]  # fmt: skip


def test_limits_that_are_unknown_are_counted_and_stop_nothing() -> None:
    clock, limits = Clock(), Limits([limit(100)], away=True)
    live = publisher(free_port(), clock, limits)
    outcome = live.publish([change(1, value=120, added=120), change(1, customer="AA"), beat(JAN)])
    assert (outcome.unknown, outcome.dropped, kinds(outcome.alerts[0])) == (2, 2, [LOST])
    limits.away = False
    clock.now += 60
    known = live.publish([change(2, value=121)])
    assert (known.unknown, kinds(known.alerts[0])) == (0, [(EXCEEDED, "firing"), LOST])


def test_without_a_watch_limits_are_left_alone_and_nothing_is_unknown_to_it() -> None:
    outcome = publisher(free_port(), Clock()).publish([change(1, value=10**6)])
    assert kinds(outcome.alerts[0]) == [LOST]


def test_garbage_instead_of_a_reply_is_a_failure_not_an_exception() -> None:
    def garbage() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=garbage)
        thread.start()
        outcome = publisher(int(server.getsockname()[1]), Clock()).publish([change(1)])
        thread.join(5)
    assert (outcome.dropped, kinds(of_redis(outcome))) == (1, [LOST])


def test_an_empty_batch_asks_nobody() -> None:
    assert publisher(free_port(), Clock()).publish([]) == Outcome(alerts=[])


def test_a_heartbeat_that_finds_no_redis_drops_no_counter() -> None:
    outcome = publisher(free_port(), Clock()).publish([beat(JAN)])
    assert (outcome.dropped, kinds(outcome.alerts[0])) == (0, [LOST])


NEWEST = "000001357035420000000\x1fs\x1fe 1\x1f42.5"
ROW = LiveChange("EWR", "UA", "miles", JAN, FEB, 3, 2, Number("-5"), Number("-7.5"), JAN + 1, '{"a":1}', latest=NEWEST)


def packed(row: LiveChange) -> str:
    return LIVE_CHANGE.pack(*row)


def test_a_packed_change_is_unpacked_and_keeps_the_separators_of_its_latest_event() -> None:
    found = unpack_change(packed(ROW))
    total = LiveTotal("EWR", "UA", "miles", JAN, FEB, 3, 2, "-5", latest=NEWEST)
    assert found == Change(total, Decimal("-7.5"), JAN + 1, '{"a":1}')
    without = unpack_change(packed(ROW._replace(latest="")))
    assert without is not None
    assert without.total.latest == ""


def forged(field: str) -> str:
    """A row in which an id holds the rest of another row, as none that was checked can."""
    return packed(ROW._replace(latest="", **{field: "\x1f".join(packed(ROW._replace(latest="")).split("\x1f")[1:])}))


@pytest.mark.parametrize(
    "text",
    [
        "", "x", packed(ROW).replace("miles\x1f", ""), forged("tenant_id"), forged("customer_id"), forged("meter"),
        *(packed(ROW._replace(customer_id="UA" + "\x1fx" * count)) for count in range(1, 8)),
        packed(ROW._replace(latest="1\x1f2")), packed(ROW._replace(n=2**53)), packed(ROW._replace(n=-1)),
        packed(ROW._replace(at_ms=9 * 10**18)), packed(ROW._replace(period_end_ms=JAN)),
        packed(ROW._replace(period_end_ms=9 * 10**18)), packed(ROW._replace(period_start_ms=-(10**18))),
        *(packed(ROW._replace(total=Number(text))) for text in ("", "x", "NaN", "1 ", "-inf")),
        packed(ROW._replace(added=Number(""))), packed(ROW._replace(added=Number("Infinity"))),
        packed(ROW._replace(lo=Number("1 2"))), packed(ROW._replace(hi=Number("sNaN"))),
    ],
)  # fmt: skip
def test_a_row_that_is_not_valid_is_no_change(text: str) -> None:
    assert unpack_change(text) is None


def test_rows_that_are_not_valid_are_skipped_and_counted() -> None:
    outcome = publisher(free_port(), Clock(), Limits([limit(100)])).publish(
        [None, change(1, value=120, added=120), None]
    )
    assert (outcome.invalid, outcome.dropped) == (2, 1)
    assert [EXCEEDED in [alert.type for alert in row] for row in outcome.alerts] == [False, True, False]


def test_38_digits_of_a_total_reach_the_watch() -> None:
    cap = "99999999999999999999999999999.999999999"
    live = publisher(free_port(), Clock(), Limits([limit(cap)]))
    row = LiveTotal("EWR", "UA", "miles", JAN, FEB, 2, 2, cap)
    outcome = live.publish([Change(row, Decimal("0.000000001"), JAN + 1, "")])
    (alert,) = [one for one in outcome.alerts[0] if one.type == EXCEEDED]
    assert (alert.value, alert.evidence["why"]) == (cap, "usage")
    below = LiveTotal("EWR", "UA", "miles", JAN, FEB, 3, 3, cap[:-1] + "8")
    (back,) = live.publish([Change(below, Decimal("-0.000000001"), JAN + 1, "")]).alerts[0]
    assert (back.status, back.value) == ("resolved", below.total)
