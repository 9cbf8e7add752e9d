"""Services that record, killed again and again, while the API or the broker is slow, refuses or is gone: in is out."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobs.flink.rest import wait_until
from tests.api_keys import key_of
from tests.chaos.test_crashes import kill_broker
from tests.integration.sdk.recording import transport
from tests.integration.serve.test_serve import WITHIN_S, Serving, serving
from tests.integration.storage import own_run
from tests.ports import free_port
from tidemark.core import topics
from tidemark.core.kafka import dump
from tidemark.core.settings import Settings
from tidemark.demo.report import recompute
from tidemark_client import Client
from tidemark_client.events.kafka import KafkaTransport

ROOT = Path(__file__).parents[2]
TENANT = "acme"
CATALOG = {"tenants": {TENANT: {"meters": {"calls": {"event_types": "call", "aggregation": "count"}}}}}
RECORDERS, DRILL_S, DRAINED_WITHIN_S = 3, 60.0, 180.0


class Fleet:
    """Services on one spool, killed at random; what they said is in files, which survive them."""

    def __init__(self, options: dict[str, Any], folder: Path, seed: int) -> None:
        self._options, self._folder, self._random = options, folder, random.Random(seed)
        self._running: list[subprocess.Popen[bytes]] = []
        self.started = 0

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.integration.sdk.recording", json.dumps(self._options)]
        self.started += 1
        with (self._folder / f"said-{self.started}").open("wb") as said:
            self._running.append(subprocess.Popen(command, cwd=ROOT, stdout=said))

    def kill_one(self) -> None:
        victim = self._running.pop(self._random.randrange(len(self._running)))
        victim.kill()
        assert victim.wait(WITHIN_S) == -signal.SIGKILL, "a service ended by itself"

    def kill_all(self) -> None:
        while self._running:
            self.kill_one()

    def said(self, word: str) -> list[str]:
        """Ids after a word; a line that the kill cut off was not said."""
        lines = [
            json.loads(line)
            for file in self._folder.glob("said-*")
            for line in file.read_text().splitlines(keepends=True)
            if line.endswith("\n")
        ]
        return [one for line in lines if line[0] == word for one in line[1:]]


@pytest.fixture
def run(stack: Any) -> Iterator[Settings]:
    with own_run(stack.settings) as settings:
        # So few that the API refuses from time to time.
        bounds = {"api.tenant_events_per_s": 2_000, "api.tenant_burst_events": 2_000}
        made = settings.with_changes({"topics.events": f"test.{settings.run_id}", **bounds})
        topics.apply(made)
        yield made


class Door:
    """The API on one port, to be killed, frozen and started again."""

    def __init__(self, run: Settings, folder: Path) -> None:
        self._address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self._address}"
        self._run = run.with_changes({"api.listen": self._address, "serve.listen": "off"})
        self._folder, self._open, self._starts = folder, ExitStack(), 0
        self.served: Serving

    def start(self) -> None:
        self._starts += 1
        log = self._folder / f"api-{self._starts}.log"
        served = self.served = self._open.enter_context(serving(self._run, "api", log))
        wait_until(lambda: bool(served.lines("listening", "api")), WITHIN_S, "the API")

    def kill(self) -> None:
        self._open.close()

    def freeze(self, seconds: float) -> None:
        self.served.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.served.process.send_signal(signal.SIGCONT)

    def key(self) -> str:
        return key_of(self._run, TENANT, "ingest")


@contextmanager
def door(run: Settings, folder: Path) -> Iterator[Door]:
    made = Door(run, folder)
    made.start()
    try:
        yield made
    finally:
        made.kill()


def disturb(fleet: Fleet, troubles: list[Any], seed: int) -> None:
    """Kill services all the time, and let one trouble after the other happen, until the time is up."""
    chance = random.Random(seed)
    for _ in range(RECORDERS):
        fleet.start()
    end = time.monotonic() + DRILL_S
    next_trouble = time.monotonic() + 5
    while time.monotonic() < end:
        time.sleep(chance.uniform(0.5, 2.5))
        fleet.kill_one()
        fleet.start()
        if troubles and time.monotonic() > next_trouble:
            troubles.pop(0)()
            next_trouble = time.monotonic() + 5
    for trouble in troubles:
        trouble()
    fleet.kill_all()


def waiting(spool: Path) -> int:
    """Events on disk, in whichever file."""
    total = 0
    for file in spool.rglob("events-*.db"):
        with sqlite3.connect(file) as connection:
            total += connection.execute("SELECT count(*) FROM event").fetchone()[0]
        connection.close()
    return total


def drain(options: dict[str, Any], spool: Path) -> None:
    """Have one more service, which nobody kills, send what the others left."""
    with Client(transport(options, TENANT), tenant=TENANT, spool=spool) as client:
        wait_until(lambda: waiting(spool) == 0, DRAINED_WITHIN_S, "the spool to be sent")
        assert client.rejected() == []


def assert_counted_once(run: Settings, fleet: Fleet) -> dict[str, int]:
    """All that was on disk is counted, nothing is that nobody recorded, and every copy of an event is the same."""
    attempted, done = fleet.said("try"), fleet.said("done")
    bodies: dict[str, set[bytes]] = defaultdict(set)
    copies: Counter[str] = Counter()
    for record in dump(run.kafka, run.topics.events):
        event = json.loads(record.value or b"")
        bodies[event["event_id"]].add(record.value or b"")
        copies[event["event_id"]] += 1
    assert len(set(attempted)) == len(attempted)
    assert set(done) <= bodies.keys() <= set(attempted)
    assert all(len(one) == 1 for one in bodies.values())
    with recompute(run, CATALOG) as oracle:
        counts = oracle.counts()
    assert (counts.counted, counts.duplicates) == (len(bodies), copies.total() - len(bodies))
    assert (counts.rejected, counts.partial) == ({}, {})
    figures = {"services": fleet.started, "attempted": len(attempted), "on disk": len(done), "counted": counts.counted,
               "duplicates": counts.duplicates}  # fmt: skip
    print(figures)  # noqa: T201  what the drill was worth
    return figures


@pytest.mark.drill
def test_what_was_on_disk_is_counted_once_through_a_troubled_api(run: Settings, stack: Any, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    with door(run, tmp_path) as api:
        options = {"do": "record_until_killed", "url": api.url, "key": api.key(), "tenant": TENANT, "spool": str(spool),
                   "threads": 3, "pause_s": 0.2, "timeout_s": 2.0}  # fmt: skip
        fleet = Fleet(options, tmp_path, seed=1)

        def gone() -> None:
            api.kill()
            for _ in range(3):
                fleet.kill_one()
                fleet.start()
                time.sleep(1)
            api.start()

        try:
            disturb(fleet, [lambda: api.freeze(4), gone, lambda: kill_broker(stack), gone], seed=2)
        finally:
            fleet.kill_all()
        drain(options, spool)
        figures = assert_counted_once(run, fleet)
    assert figures["on disk"] > 1_000
    assert figures["services"] > 3 * RECORDERS


@pytest.mark.drill
def test_what_was_on_disk_is_counted_once_through_a_killed_broker(run: Settings, stack: Any, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    options = {"do": "record_until_killed", "bootstrap": run.kafka.bootstrap, "topic": run.topics.events,
               "tenant": TENANT, "spool": str(spool), "threads": 3, "pause_s": 0.2}  # fmt: skip
    fleet = Fleet(options, tmp_path, seed=3)
    try:
        disturb(fleet, [lambda: kill_broker(stack)] * 2, seed=4)
    finally:
        fleet.kill_all()
    drain(options, spool)
    figures = assert_counted_once(run, fleet)
    assert figures["on disk"] > 1_000
    assert figures["services"] > 3 * RECORDERS


@pytest.mark.drill
def test_a_broker_that_is_frozen_leaves_neither_an_exception_nor_a_thread(
    run: Settings, stack: Any, tmp_path: Path
) -> None:
    # Records are under way for longer than a batch is waited for: a producer cannot be closed meanwhile.
    transport = KafkaTransport(
        run.kafka.bootstrap, TENANT, run.topics.events, timeout_s=1.0, delivery_timeout_ms=60_000
    )
    with Client(transport, tenant=TENANT, spool=tmp_path, linger_s=0.05) as recorder:
        ids = {recorder.record("call", customer="c").id}
        assert recorder.flush(WITHIN_S)
        threads = threading.active_count()
        broker = stack.local.supervisor.state("kafka")["pid"]
        os.kill(broker, signal.SIGSTOP)
        try:
            ids.add(recorder.record("call", customer="c", durable=True).id)
            wait_until(lambda: recorder.stats().requests >= 4, DRAINED_WITHIN_S, "three tries")
            assert recorder.stats().error.startswith("Kafka: ")
            wait_until(lambda: threading.active_count() <= threads, WITHIN_S, "the threads of the tries to end")
        finally:
            os.kill(broker, signal.SIGCONT)
        assert recorder.flush(DRAINED_WITHIN_S)
    assert {json.loads(record.value or b"")["event_id"] for record in dump(run.kafka, run.topics.events)} == ids
