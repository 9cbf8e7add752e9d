"""The client at the call: what it refuses, what it returns, and what it says of itself."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from jobs.flink.rest import wait_until
from tests.unit.sdk.recorder_parts import Answers
from tests.unit.sdk.test_web import events
from tidemark_client import Client
from tidemark_client.events import forks
from tidemark_client.events.errors import ClosedError, NotDurableError, QueueFullError, SpoolError
from tidemark_client.events.kafka import KafkaTransport
from tidemark_client.events.outcome import Delivered, Later, Rejection


def client(folder: Path, *answers: Any, **options: Any) -> Client:
    return Client(Answers(*answers), **{"tenant": "acme", "spool": folder, "exit_timeout_s": 0.1} | options)


def test_the_event_is_that_of_the_call(tmp_path: Path) -> None:
    with client(tmp_path, source="checkout") as made:
        tags = ["a"]
        recorded = made.record("tokens", customer="c-7", quantity=Decimal("1.5"), tags=tags, properties={"at": "x"})
        tags.append("b")
        own = made.record(
            "tokens", customer="c-7", at=datetime(2024, 3, 5, tzinfo=UTC), event_id="call-17", voids="e-1"
        )
        first, second = events(made)
    assert first["event_id"] == recorded.id
    assert first["properties"] == {"tags": ["a"], "at": "x"}
    assert (first["tenant_id"], first["customer_id"], first["source"]) == ("acme", "c-7", "checkout")
    assert (own.id, second["event_id"], second["voids"]) == ("call-17", "call-17", "e-1")
    assert second["timestamp"] == "2024-03-05T00:00:00.000000Z"


class Double(float):
    """A float that is written otherwise, as numpy's is."""

    def __repr__(self) -> str:
        return f"np.float64({float(self)})"


def test_a_float_of_a_class_of_its_own_is_a_quantity(tmp_path: Path) -> None:
    with client(tmp_path) as made:
        made.record("call", customer="c", quantity=Double(0.5))
        assert events(made)[0]["quantity"] == "0.5"


@pytest.mark.parametrize(
    ("argument", "value"),
    [("customer", ""), ("customer", None), ("customer", "a\nb"), ("quantity", "x"), ("quantity", 10**18),
     ("quantity", "0." + "1" * 70_000), ("quantity", Decimal("0." + "1" * 300)),
     ("at", datetime(2024, 1, 1)), ("event_id", ""), ("voids", ""), ("price", object())],  # noqa: DTZ001
)  # fmt: skip
def test_what_is_not_valid_is_refused_at_the_call(tmp_path: Path, argument: str, value: Any) -> None:
    with client(tmp_path) as made:
        arguments: dict[str, Any] = {"customer": "c", argument: value}
        with pytest.raises(ValueError, match=r" (is|has|are) "):
            made.record("call", **arguments)
        assert events(made) == []


@pytest.mark.parametrize(
    "options",
    [{"tenant": ""}, {"source": "a\nb"}, {"batch_events": 0}, {"batch_events": 1_001}, {"linger_s": 0},
     {"queue_events": 0}, {"on_full": "drop"}, {"spool_bytes": -1}, {"exit_timeout_s": 0}],
)  # fmt: skip
def test_a_setting_that_is_not_valid_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r" (is|has) "):
        client(tmp_path, **options)


def test_a_url_needs_a_scheme_and_a_key(tmp_path: Path) -> None:
    for url, key in (("http://127.0.0.1:1", None), ("127.0.0.1:1", "k")):
        with pytest.raises(ValueError, match=r"(api_key|url) is"):
            Client(url, tenant="acme", spool=tmp_path, api_key=key)


def test_a_transport_is_of_the_tenant_of_its_client(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'globex', the client of 'acme'"):
        Client(KafkaTransport("127.0.0.1:1", "globex"), tenant="acme", spool=tmp_path)


def test_a_child_whose_spool_fails_keeps_its_events_and_tries_again(tmp_path: Path) -> None:
    made = client(tmp_path)
    assert made.close()
    # What a fork leaves: no engine, an empty queue.
    made._begin()
    made._closed, made._size = False, 100
    folder, away = made._plan.folder, tmp_path / "away"
    folder.rename(away)
    folder.touch()
    made.record("call", customer="c")
    with pytest.raises(NotDurableError, match="cannot be made"):
        made.record("call", customer="c", durable=True)
    folder.unlink()
    away.rename(folder)
    made.record("call", customer="c", durable=True)
    assert len(events(made)) == 3
    made.close(0.1)


def test_a_spool_that_cannot_be_used_is_no_client(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError):
        client(tmp_path / "file")


def test_a_closed_client_records_nothing(tmp_path: Path) -> None:
    made = client(tmp_path)
    assert made.close()
    assert made.close()
    with pytest.raises(ClosedError):
        made.record("call", customer="c")


def test_memory_and_disk_are_bounded_and_the_policy_says_what_then(tmp_path: Path) -> None:
    made = client(tmp_path, *[Later("gone", 60.0)] * 50, on_full="raise", queue_events=5, spool_bytes=500)
    recorded: list[str] = []

    def record_all() -> None:
        while len(recorded) < 10_000:
            recorded.append(made.record("call", customer="c").id)

    with pytest.raises(QueueFullError, match="5 events wait in memory"):
        record_all()
    wait_until(lambda: made.stats().queued + made.stats().spooled == len(recorded), 20, "the writer to rest")
    assert made.stats().queued <= 5
    made.close(0.1)


@pytest.mark.parametrize("on_full", ["block", "raise"])
def test_closing_puts_what_is_in_memory_on_disk_also_above_the_bound_of_the_spool(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, on_full: Any
) -> None:
    made = client(tmp_path, Later("gone", 60.0), on_full=on_full, block_s=0.2, queue_events=5, spool_bytes=500)
    recorded: list[str] = []
    while made.stats().spooled_bytes < 500:
        recorded.append(made.record("call", customer="c").id)
        made.sync(20)
    recorded += [made.record("call", customer="c").id for _ in range(5)]
    with pytest.raises(QueueFullError):
        made.record("call", customer="c")
    assert not made.close(0.1)
    assert "lost" not in caplog.text
    with client(tmp_path, Later("gone", 60.0)) as again:
        assert [event["event_id"] for event in events(again)] == recorded
        again.close(0.1)


def test_whoever_waits_for_room_while_the_client_closes_is_refused(tmp_path: Path) -> None:
    made = client(tmp_path, Later("gone", 60.0), block_s=30.0, queue_events=5, spool_bytes=500)
    outcomes: list[str | None] = []

    def record_on() -> None:
        try:
            while True:
                outcomes.append(made.record("call", customer="c").id)
        except ClosedError:
            outcomes.append(None)

    thread = threading.Thread(target=record_on)
    thread.start()
    wait_until(lambda: made.stats().queued >= 5, 20, "memory to be full")
    made.close(0.1)
    thread.join(20)
    assert outcomes[-1] is None
    with client(tmp_path, Later("gone", 60.0)) as again:
        assert [event["event_id"] for event in events(again)] == outcomes[:-1]
        again.close(0.1)


def test_the_oldest_are_dropped_and_counted_where_the_policy_says_so(tmp_path: Path) -> None:
    made = client(tmp_path, *[Later("gone", 60.0)] * 50, on_full="drop_oldest", queue_events=50, spool_bytes=2_000)
    ids = [made.record("call", customer="c").id for _ in range(200)]
    made.sync()
    stats = made.stats()
    assert stats.spooled_bytes <= 2_000
    assert stats.dropped + stats.spooled == 200
    assert [event["event_id"] for event in events(made)] == ids[-stats.spooled :]
    made.close(0.1)


def test_what_became_of_events_is_counted(tmp_path: Path) -> None:
    with client(tmp_path, Delivered([0], [Rejection(1, "wrong_type", "no")]), Later("gone", 60.0)) as made:
        made.record("call", customer="c")
        made.record("call", customer="c", durable=True)
        assert made.flush(20)
        made.record("call", customer="c", durable=True)
        assert not made.flush(0.1)
        stats = made.stats()
        assert (stats.accepted, stats.rejected, stats.kept_rejected, stats.spooled) == (1, 1, 1, 1)
        assert stats.error == "gone"
        made.close(0.1)


def test_a_disk_that_hangs_keeps_nobody_longer_than_asked(tmp_path: Path) -> None:
    made = client(tmp_path, block_s=0.3)
    spool, free = made._running().spool, threading.Event()
    hung = threading.Event()

    def hang() -> None:
        with spool._reading():
            hung.set()
            free.wait(30)

    disk = threading.Thread(target=hang)
    disk.start()
    assert hung.wait(20)
    begin = time.monotonic()
    with pytest.raises(NotDurableError, match="the disk is slow"):
        made.record("call", customer="c", durable=True)
    with pytest.raises(NotDurableError, match="the disk is slow"):
        made.sync(0.3)
    assert made.stats().kept_rejected == 0
    assert time.monotonic() - begin < 15
    free.set()
    disk.join()
    assert made.close()


def test_a_disk_that_fails_is_named_by_the_stats(tmp_path: Path) -> None:
    made = client(tmp_path, Delivered((), [Rejection(0, "wrong_type", "no")]), block_s=5.0)
    made.record("call", customer="c")
    assert made.flush(20)
    made._running().spool.close()
    (file,) = made._plan.folder.glob("events-0.db")
    file.write_text("no database, but long enough to be one" * 50)
    with pytest.raises(NotDurableError, match="cannot be used"):
        made.record("call", customer="c", durable=True)
    stats = made.stats()
    assert stats.kept_rejected == 1
    assert "cannot be used" in stats.error
    made.close(0.1)


def test_closing_waits_once_for_a_server_that_does_not_answer(tmp_path: Path) -> None:
    answer, asked = threading.Event(), threading.Event()

    def silent(_: Any) -> Later:
        asked.set()
        answer.wait(60)
        return Later("late", 60.0)

    made = client(tmp_path, silent)
    made.record("call", customer="c", durable=True)
    begin = time.monotonic()
    assert not made.close(2.0)
    # For the answer, and a second for the thread. With the full time again for the thread it would be five.
    assert 2.0 <= time.monotonic() - begin < 5.0
    assert asked.is_set()
    answer.set()


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Clients that forks know of: those of the test alone."""
    own: list[Any] = []
    monkeypatch.setattr(forks, "_live", own)
    return own


def test_a_client_that_another_thread_closes_during_a_fork_is_let_go(tmp_path: Path, live: list[Any]) -> None:
    made = client(tmp_path)
    made.record("call", customer="c", durable=True)
    closed: list[bool] = []
    thread = threading.Thread(target=lambda: closed.append(made.close(20.0)))
    forks._before()
    thread.start()
    wait_until(lambda: made._closed, 20, "the client to be closed")
    forks.remove(made)
    forks._after()
    thread.join(60)
    assert (closed, live) == ([True], [])


def test_a_client_that_another_thread_makes_during_a_fork_begins_after_it(tmp_path: Path, live: list[Any]) -> None:
    first, made = client(tmp_path / "a"), []
    thread = threading.Thread(target=lambda: made.append(client(tmp_path / "b")))
    forks._before()
    thread.start()
    thread.join(0.2)
    assert (live, made) == ([first], [])
    forks._after()
    thread.join(60)
    for one in (first, *made):
        one.record("call", customer="c", durable=True)
        assert one.close(20.0)
    assert (len(made), live) == (1, [])


def test_a_client_that_begins_with_its_first_event_during_a_fork_keeps_no_other_locked(
    tmp_path: Path, live: list[Any]
) -> None:
    first, child = client(tmp_path / "a"), client(tmp_path / "b")
    assert child.close()
    # What a fork leaves, which begins with its first event.
    child._begin()
    child._closed, child._size = False, 100
    live.append(child)
    forks._before()
    child.record("call", customer="c")
    forks._after()
    for one in (first, child):
        one.record("call", customer="c", durable=True)
        assert one.close(20.0)


def test_a_child_leaves_to_its_parent_also_what_another_thread_closes_during_the_fork(live: list[Any]) -> None:
    class Noted:
        children = 0

        def before_fork(self) -> Callable[[], None]:
            return lambda: None

        def in_child(self) -> None:
            self.children += 1

        def at_exit(self) -> None:
            """Nothing is in memory."""

    stays, closed = Noted(), Noted()
    forks.add(stays)
    forks.add(closed)
    forks._before()
    forks.remove(closed)
    forks._child()
    assert (stays.children, closed.children, live) == (1, 1, [stays])


IMPORTS = """
import sys
import threading
import time
from tidemark_client.events.http import HttpTransport
from tidemark_client.events.spool import Pending
transport = HttpTransport("http://127.0.0.1:1", "key")
before = set(sys.modules)
print(type(transport.send([Pending(1, "e-1", "c", b"{}")])).__name__, sorted(set(sys.modules) - before))
"""


def test_the_first_request_imports_nothing_since_the_process_may_fork_meanwhile() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "Later []\n", done.stderr
