"""Live counters: keys, what a batch is reduced to, the breaker around a Redis that is away, the keeper's planning."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import live as keeper
from udfs.live import LivePublisher, LiveSettings, LiveTotal, latest, redis_key, unpack_total

JAN, FEB, MAR = 1_356_998_400_000, 1_359_676_800_000, 1_362_096_000_000


def total(n: int, *, customer: str = "UA", start: int = JAN, end: int = FEB, value: str = "1") -> LiveTotal:
    return LiveTotal("EWR", customer, "miles", start, end, n, n, value, "1", "1")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def mute_server() -> Iterator[int]:
    """A server that takes connections and never says a word, like a stopped process."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        yield int(server.getsockname()[1])


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def publisher(port: int, clock: Clock) -> LivePublisher:
    settings = LiveSettings(f"redis://127.0.0.1:{port}/0", "usage:", grace_ms=0, timeout_ms=100, retry_ms=1_000)
    return LivePublisher(settings, clock=clock, wall_clock=lambda: 1_357_035_420.0)


@pytest.mark.parametrize(
    ("ids", "key"),
    [
        (("EWR", "UA", "miles"), "usage:{EWR/UA}:miles"),
        (("a/b", "c}d", "e:f"), "usage:{a%2Fb/c%7Dd}:e%3Af"),
        (("{x}", "ü %", "m"), "usage:{%7Bx%7D/%C3%BC%20%25}:m"),
    ],
)
def test_a_key_percent_encodes_each_id(ids: tuple[str, str, str], key: str) -> None:
    assert redis_key("usage:", *ids) == key


ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(st.tuples(ids, ids, ids), st.tuples(ids, ids, ids))
def test_different_ids_have_different_keys(left: tuple[str, str, str], right: tuple[str, str, str]) -> None:
    assert (redis_key("usage:", *left) == redis_key("usage:", *right)) == (left == right)


def test_a_batch_keeps_the_newest_row_of_each_counter() -> None:
    rows = [total(3), total(5), total(4), total(1, customer="AA")]
    assert latest(rows) == [total(5), total(1, customer="AA")]


def test_a_later_period_wins_over_a_larger_n() -> None:
    #  |---- January, n = 90 ----|---- February, n = 1 ----|
    assert latest([total(1, start=FEB, end=MAR), total(90)]) == [total(1, start=FEB, end=MAR)]


def test_of_two_rows_with_one_n_the_later_wins() -> None:
    assert latest([total(5, value="1"), total(5, value="2")]) == [total(5, value="2")]


def test_a_lost_redis_fires_once_and_rows_are_dropped_and_counted() -> None:
    clock = Clock()
    live = publisher(free_port(), clock)
    first = live.publish([total(1), total(2), total(1, customer="AA")])
    assert (first.dropped, first.state_changed) == (2, "firing")
    assert first.alert is not None
    assert json.loads(first.alert)["data"]["status"] == "firing"
    clock.now += 2
    again = live.publish([total(3)])
    assert (again.dropped, again.state_changed, again.alert) == (1, None, None)


def test_nothing_is_tried_until_the_pause_is_over() -> None:
    clock = Clock()
    with mute_server() as port:
        live = publisher(port, clock)
        live.publish([total(1)])
        began = time.perf_counter()
        outcomes = [live.publish([total(n)]) for n in range(2, 102)]
        assert time.perf_counter() - began < 0.1, "one attempt alone takes 0.1 s"
    assert {outcome.dropped for outcome in outcomes} == {1}


def test_a_redis_that_never_answers_costs_one_timeout() -> None:
    clock = Clock()
    with mute_server() as port:
        live = publisher(port, clock)
        began = time.perf_counter()
        outcome = live.publish([total(n, customer=str(n)) for n in range(500)])
        assert 0.09 < time.perf_counter() - began < 0.4
    assert outcome.dropped == 500
    assert "imeout" in outcome.detail


def test_garbage_instead_of_an_answer_is_a_failure_not_an_exception() -> None:
    def garbage() -> None:
        with socket.create_server(("127.0.0.1", port)) as server:
            ready.set()
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    port, ready = free_port(), threading.Event()
    thread = threading.Thread(target=garbage)
    thread.start()
    ready.wait(5)
    outcome = publisher(port, Clock()).publish([total(1)])
    thread.join(5)
    assert (outcome.dropped, outcome.state_changed) == (1, "firing")


def test_an_empty_batch_asks_nobody() -> None:
    assert publisher(free_port(), Clock()).publish([]).dropped == 0


NOW = datetime(2013, 1, 2, tzinfo=UTC)


def test_the_keeper_reads_everything_at_the_start() -> None:
    assert keeper.since(keeper.Progress(), redis_has_data=True) is None


def test_the_keeper_reads_everything_after_redis_lost_its_data() -> None:
    assert keeper.since(keeper.Progress(NOW), redis_has_data=False) is None


def test_the_keeper_goes_on_a_minute_before_its_last_success() -> None:
    #  ……|-- 60 s again --|cursor|-- new --|
    assert keeper.since(keeper.Progress(NOW), redis_has_data=True) == NOW - timedelta(seconds=60)


def test_the_keeper_leaves_out_what_it_wrote_before_as_it_is_now() -> None:
    rows, versions = keeper.plan([total(1), total(1, customer="AA")], {})
    assert len(rows) == 2
    rows, versions = keeper.plan([total(2), total(1, customer="AA")], versions)
    assert rows == [total(2)]
    assert versions == {("EWR", "UA", "miles"): (JAN, 2), ("EWR", "AA", "miles"): (JAN, 1)}


def test_the_keeper_forgets_what_it_no_longer_reads() -> None:
    _, versions = keeper.plan([total(1)], {("EWR", "AA", "miles"): (JAN, 9)})
    assert versions == {("EWR", "UA", "miles"): (JAN, 1)}


def test_chunks_cover_every_row_once() -> None:
    rows = [total(n) for n in range(1, 2_502)]
    parts = list(keeper.chunks(rows))
    assert [len(part) for part in parts] == [1_000, 1_000, 501]
    assert [row for part in parts for row in part] == rows


@pytest.mark.parametrize("text", ["0E-9", "1E+3", "123456789012345678901234567890.123456789", "-0.000000001"])
def test_a_stored_decimal_keeps_its_digits_and_has_no_exponent(text: str) -> None:
    assert Decimal(keeper.plain(Decimal(text))) == Decimal(text)
    assert "E" not in keeper.plain(Decimal(text))


def test_a_packed_total_is_taken_apart_and_keeps_the_separators_of_its_latest_event() -> None:
    newest = "000001357035420\x1fe 1\x1f42.5"
    fields = ["EWR", "UA", "miles", str(JAN), str(FEB), "3", "2", "-5", "", "", newest]
    assert unpack_total("\x1f".join(fields)) == LiveTotal("EWR", "UA", "miles", JAN, FEB, 3, 2, "-5", latest=newest)
    assert unpack_total("\x1f".join([*fields[:10], ""])).latest == ""
