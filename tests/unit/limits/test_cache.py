"""Limits in memory: unknown is not none, a source that is away is left alone for a while, changes are taken over."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping, Sequence

import pytest

from jobs.flink.rest import wait_until
from tests.unit.limits.limit_parts import CUSTOMER, METER, PAIR, TENANT, Clock, Limits, limit
from udfs.catalog.model import Pair
from udfs.limits.cache import RETRY_S, LimitCache
from udfs.limits.rule import Limit
from udfs.limits.source import SharedLimits
from udfs.limits.store import PostgresLimitSource
from udfs.limits.timeline import CustomerRules, PlanVersion
from udfs.meters.meter import FOREVER_MS


def held(book: LimitCache, pair: Pair = PAIR, meter: str = METER) -> list[Limit | None] | None:
    """Limits of all time; None while unknown."""
    stretches = book.stretches(*pair, meter)
    return None if stretches is None else [one.limit for one in stretches]


def test_before_anything_was_read_limits_are_unknown() -> None:
    source = Limits([limit()], away=True)
    book = source.book()
    assert (book.refresh(), book.revision, held(book), book.failures) == (False, -1, None, 1)
    book.prefetch([PAIR])
    assert source.asked == []
    assert (book.defaults(0), book.next_change(0)) == ({}, FOREVER_MS)


def test_a_customer_not_looked_up_is_unknown_and_one_without_limits_has_none() -> None:
    source = Limits([limit(scope="plan")])
    book = source.book()
    assert book.refresh()
    assert held(book) is None
    book.prefetch([PAIR, (TENANT, "AA")])
    assert (held(book), held(book, (TENANT, "AA"))) == ([None], [None])
    assert held(book, meter="other") == [None]


def test_customers_of_a_tenant_without_limits_are_never_looked_up() -> None:
    source = Limits([limit()])
    book = source.book()
    book.refresh()
    book.prefetch([("JFK", "UA")])
    assert (source.asked, held(book, ("JFK", "UA"))) == ([], [])


def test_a_customer_is_looked_up_once_with_all_new_ones_of_its_batch() -> None:
    source = Limits([limit()])
    book = source.book()
    book.refresh()
    book.prefetch([PAIR, (TENANT, "AA"), PAIR])
    book.prefetch([PAIR, (TENANT, "DL")])
    assert source.asked == [(PAIR, (TENANT, "AA")), ((TENANT, "DL"),)]


def test_a_source_that_fails_is_asked_again_after_a_pause() -> None:
    source, clock = Limits([limit()]), Clock()
    book = source.book(clock)
    book.refresh()
    source.away = True
    for _ in range(10):
        book.prefetch([PAIR])
    assert (len(source.asked), book.failures, held(book)) == (1, 1, None)
    source.away = False
    clock.now += RETRY_S - 0.001
    book.prefetch([PAIR])
    assert held(book) is None
    clock.now += 0.001
    book.prefetch([PAIR])
    assert held(book) == [limit()]


def test_what_is_known_stays_known_while_the_source_is_away() -> None:
    source = Limits([limit()])
    book = source.book()
    book.refresh()
    book.prefetch([PAIR])
    source.away = True
    assert not book.refresh()
    book.prefetch([PAIR, (TENANT, "AA")])
    assert (held(book), held(book, (TENANT, "AA"))) == ([limit()], None)


def test_a_change_is_taken_over_whole_and_customers_are_looked_up_again() -> None:
    source = Limits([limit(100)])
    book = source.book()
    book.refresh()
    book.prefetch([PAIR])
    source.state(7, "customer", limit(500))
    assert held(book) == [limit(100)]
    assert (book.refresh(), book.revision, held(book)) == (True, 2, None)
    book.prefetch([PAIR])
    assert held(book) == [limit(100, valid_to_ms=7), limit(500, valid_from_ms=7)]
    assert not book.refresh()


def test_more_customers_than_are_kept_make_room_for_the_newest() -> None:
    pairs = [(TENANT, str(n)) for n in range(5)]
    source = Limits([limit(scope="tenant")])
    book = source.book(cache_size=4)
    book.refresh()
    book.prefetch(pairs[:4])
    # The one that was used last stays, although it came first.
    book.prefetch([pairs[0]])
    book.prefetch([pairs[4]])
    assert [held(book, pair) is None for pair in pairs] == [False, True, False, False, False]
    assert source.asked == [tuple(pairs[:4]), (pairs[4],)]


def test_a_batch_larger_than_what_is_kept_is_known_whole() -> None:
    pairs = [(TENANT, str(n)) for n in range(5)]
    book = Limits([limit(scope="tenant")]).book(cache_size=2)
    book.refresh()
    book.prefetch(pairs)
    assert all(held(book, pair) is not None for pair in pairs)
    book.prefetch(pairs[:1])
    book.prefetch([(TENANT, "new")])
    assert [held(book, pair) is None for pair in pairs] == [False, True, True, True, True]


def test_meters_and_defaults_are_those_that_limits_name() -> None:
    source = Limits([
        limit(1, scope="tenant"), limit(2, scope="tenant", meter="old", valid_to_ms=10),
        limit(3, scope="plan", meter="paid"), limit(4, meter="own"),
    ])  # fmt: skip
    book = source.book()
    book.refresh()
    book.prefetch([PAIR])
    assert book.meters(TENANT, CUSTOMER) == ["miles", "old", "own", "paid"]
    assert [[one.meter for one in book.defaults(at)[TENANT]] for at in (9, 10)] == [["miles", "old"], ["miles"]]


def test_a_tenant_whose_limits_are_all_of_customers_has_empty_defaults() -> None:
    book = Limits([limit()]).book()
    book.refresh()
    assert book.defaults(0) == {TENANT: []}


def test_the_next_change_is_the_next_begin_or_end_of_any_version() -> None:
    #  tenant  |--------------20
    #  own          10--15
    #  plans         12---------------30
    source = Limits([limit(1, scope="tenant", valid_to_ms=20), limit(2, valid_from_ms=10, valid_to_ms=15)])
    source.plans = [PlanVersion("gold", 12, 30)]
    book = source.book()
    book.refresh()
    book.prefetch([PAIR])
    assert [book.next_change(at) for at in (0, 10, 12, 15, 20, 30)] == [10, 12, 15, 20, 30, FOREVER_MS]


class Slow(Limits):
    """Answers when a test says so."""

    def __init__(self) -> None:
        super().__init__([limit(scope="tenant")])
        self.go = threading.Event()
        self.calls = 0

    def shared(self, known_revision: int) -> SharedLimits | None:
        self.calls += 1
        if self.calls > 1:
            self.go.wait(10)
        return super().shared(known_revision)


def until(check: Callable[[], bool]) -> None:
    wait_until(check, 10, "the thread", every_s=0.01)


def test_a_thread_looks_for_changes_and_nobody_waits_for_it() -> None:
    source = Slow()
    book = LimitCache(source, source, refresh_s=0.01)
    assert (book.refresh(), book.revision) == (True, 1)
    source.revision = 2
    until(lambda: source.calls > 1)
    # The thread hangs in its look; answers go on from what is known.
    assert (book.refresh(), book.revision) == (False, 1)
    source.go.set()
    until(book.refresh)
    assert book.revision == 2
    book.close()


def test_a_thread_outlives_failures() -> None:
    source = Limits([limit(scope="tenant")], away=True)
    book = LimitCache(source, source, refresh_s=0.01)
    until(lambda: book.failures > 2)
    source.away = False
    until(book.refresh)
    assert book.revision == 1
    book.close()


class SlowCustomers(Limits):
    """Looks customers up when a test says so."""

    def __init__(self, *limits: Limit) -> None:
        super().__init__([*limits])
        self.go = threading.Event()

    def customers(self, pairs: Sequence[Pair]) -> Mapping[Pair, CustomerRules]:
        self.go.wait(60)
        return super().customers(pairs)


def ends(step: Callable[[], object]) -> None:
    """Take a step in a thread that a test does not wait for in vain."""
    thread = threading.Thread(target=step, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive(), "it still waits"


def test_a_look_up_that_hangs_is_waited_for_once_and_taken_over_when_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, clock = SlowCustomers(limit()), Clock()
    book = LimitCache(source, source, refresh_s=60, clock=clock)
    waits: list[float] = []
    waiting = book._lookups.wait
    monkeypatch.setattr(book._lookups, "wait", lambda timeout_s: waits.append(timeout_s) or waiting(0.01))
    book.refresh()
    # Given a database that says nothing, when batches come, then one of them waits, and for a moment.
    for _ in range(100):
        ends(lambda: book.prefetch([PAIR]))
        clock.now += RETRY_S / 101
    assert waits == [0.5]
    assert held(book) is None
    clock.now += RETRY_S
    ends(lambda: book.prefetch([PAIR]))
    assert waits == [0.5, 0.5]
    # When it answers after all, then the limits are known without another question.
    source.go.set()
    until(lambda: book.prefetch([]) or held(book) == [limit()])
    assert len(source.asked) == 1
    book.close()


def test_a_database_that_accepts_and_says_nothing_holds_up_no_batch() -> None:
    with socket.create_server(("127.0.0.1", 0)) as black_hole:
        shared = Limits([limit()])
        url = f"postgresql://x@127.0.0.1:{black_hole.getsockname()[1]}/x"
        book = LimitCache(shared, PostgresLimitSource(url, 500), refresh_s=60)
        book.refresh()
        book.prefetch([PAIR])
        # The look-up hangs in its connection, for longer than a batch waits.
        assert book._lookups._at_work
        assert held(book) is None
        book.close()


def test_a_change_of_the_catalog_forgets_nobody_before_the_new_limits_are_there() -> None:
    source = SlowCustomers(limit(100))
    source.go.set()
    book = LimitCache(source, source, refresh_s=0.01)
    book.refresh()
    book.prefetch([PAIR])
    assert (held(book), book.revision_of(*PAIR)) == ([limit(100)], 1)
    # Given a change, and a database that says nothing from then on ...
    source.go.clear()
    source.state(7, "customer", limit(500))
    until(book.refresh)
    ends(lambda: book.prefetch([PAIR]))
    # ... then what was known holds, and says by which revision.
    assert (held(book), book.revision, book.revision_of(*PAIR)) == ([limit(100)], 2, 1)
    source.go.set()
    until(lambda: book.prefetch([PAIR]) or book.revision_of(*PAIR) == 2)
    assert held(book) == [limit(100, valid_to_ms=7), limit(500, valid_from_ms=7)]
    book.close()


def test_whatever_a_source_raises_is_taken_as_unavailable() -> None:
    class Broken(Limits):
        def customers(self, pairs: Sequence[Pair]) -> dict[Pair, object]:  # type: ignore[override]
            raise ZeroDivisionError(pairs)

    book = Broken([limit()]).book()
    book.refresh()
    book.prefetch([PAIR])
    assert (held(book), book.failures) == (None, 1)
