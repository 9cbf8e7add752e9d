"""Events over HTTP: from the instant a batch was due to be sent to the brokers' acknowledgement, and what a core takes.

Open loop: batches of 100 are due at fixed instants, whatever became of those before, and the time counts from then.
After it batches are sent as fast as they are answered. The CPU time of the process of the API says what one core takes.
Broker and client share the machine with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from jobs.flink.rest import wait_until
from tests.api_keys import key_of
from tests.bench.report.results import Found
from tests.bench.report.stats import percentile
from tests.bench.world import NotEqual, NotFinished, World
from tidemark.core.kafka import end_offsets
from tidemark.core.settings import Settings

BATCH = 100
RATE = 2_000
OPEN = "2 000/s in batches of 100"
FAST = "8 connections, as fast as answered"
THREADS, FAST_THREADS = 32, 8
TENANT = "bench"
WARM_UP_S = 3.0
COMMAND = "from tidemark.cli.main import main; main()"
_TICK = os.sysconf("SC_CLK_TCK")
# So that threads of a client never give an event the id of another's.
_APART = 1_000_000


def run(world: World, seconds: float, rounds: int) -> Found:
    """Both ways, in turn; every acknowledged event is in the topic, once."""
    found = Found()
    settings = world.settings("http", **{
        "topics.events": f"bench.http.{world.number}", "api.listen": "127.0.0.1:0", "serve.listen": "off",
        "api.tenant_events_per_s": 1_000_000, "api.tenant_burst_events": 1_000_000,
    })  # fmt: skip
    world.prepare(settings)
    key = key_of(settings, TENANT, "ingest")
    with served(settings, world.folder / "api.log") as (url, pid), ThreadPoolExecutor(THREADS) as pool:
        sender, batches = Sender(url, key), iter(range(0, 10**9, _APART))
        _open_loop(sender, WARM_UP_S, pool, next(batches))
        acknowledged = len(sender.took_s)
        for _ in range(rounds):
            ways = (
                (OPEN, lambda first: _open_loop(sender, seconds, pool, first)),
                (FAST, lambda first: _as_fast_as_answered(sender, seconds / 2, first, batches)),
            )
            for subject, way in ways:
                sender.took_s.clear()
                begin, begun_s = time.monotonic(), cpu_s(pid)
                way(next(batches))
                _add(found, subject, sender.took_s, time.monotonic() - begin, cpu_s(pid) - begun_s)
                acknowledged += len(sender.took_s)
                world.say(f"  {subject}: {len(sender.took_s)} batches")
        if sender.refused:
            raise NotFinished(f"{len(sender.refused)} batches were refused: {sorted(set(sender.refused))}")
    stored = sum(end_offsets(settings.kafka, settings.topics.events).values())
    if stored != acknowledged * BATCH:
        raise NotEqual(f"{acknowledged * BATCH} events were acknowledged, {stored} are in the topic.")
    return found


def _add(found: Found, subject: str, took_s: list[float], seconds: float, used_s: float) -> None:
    times = {f"{name}_ms": percentile(took_s, share) * 1_000 for name, share in (("p50", 0.5), ("p99", 0.99))}
    events = len(took_s) * BATCH
    found.add(subject, events_per_s=events / seconds, **times, max_ms=max(took_s) * 1_000,
              own_cpu_us=used_s / events * 1e6, core_events_per_s=events / used_s)  # fmt: skip


def batch(number: int) -> bytes:
    """Events of about 250 bytes each, as a client of one tenant sends them."""
    at = datetime.now(UTC).isoformat()
    return json.dumps(
        [
            {
                "event_id": f"bench-{number:010d}-{place:03d}", "customer_id": f"customer-{place:06d}",
                "event_type": "api_call", "timestamp": at, "quantity": "1.5",
                "properties": {"model": "large", "region": "eu-west-1", "tier": "pro", "host": f"h-{place % 7}"},
            }
            for place in range(BATCH)
        ]
    ).encode()  # fmt: skip


class Sender:
    """Sends batches, each thread with a connection of its own; `took_s` and `refused` are what came of them."""

    def __init__(self, url: str, key: str) -> None:
        self._url = f"{url}/v1/events"
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._local = threading.local()
        self.took_s: list[float] = []
        self.refused: list[int] = []

    def send(self, number: int, due: float) -> None:
        """Send one batch; its time counts from when it was due."""
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        answer = self._local.session.post(self._url, data=batch(number), headers=self._headers, timeout=60)
        took_s = time.monotonic() - due
        if answer.status_code == 202 and answer.json()["accepted"] == BATCH:
            self.took_s.append(took_s)
        else:
            self.refused.append(answer.status_code)


def _open_loop(sender: Sender, seconds: float, pool: ThreadPoolExecutor, first: int) -> None:
    """Send batches at fixed instants."""
    begin, waiting = time.monotonic(), []
    for place in range(int(RATE / BATCH * seconds)):
        due = begin + place * BATCH / RATE
        time.sleep(max(0.0, due - time.monotonic()))
        waiting.append(pool.submit(sender.send, first + place, due))
    for one in waiting:
        one.result()


def _as_fast_as_answered(sender: Sender, seconds: float, first: int, batches: Iterator[int]) -> None:
    """Send from some threads, each the next batch once the one before was answered."""
    until = time.monotonic() + seconds

    def send(number: int) -> None:
        while time.monotonic() < until:
            sender.send(number, time.monotonic())
            number += 1

    with ThreadPoolExecutor(FAST_THREADS) as pool:
        firsts = [first, *(next(batches) for _ in range(FAST_THREADS - 1))]
        for one in [pool.submit(send, number) for number in firsts]:
            one.result()


def cpu_s(pid: int) -> float:
    """CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


@contextmanager
def served(settings: Settings, log: Path) -> Iterator[tuple[str, int]]:
    """A process of the role `api`: its URL and its id."""
    with log.open("wb") as stderr:
        command = [sys.executable, "-c", COMMAND, "serve", "--roles", "api"]
        process = subprocess.Popen(command, env={**os.environ, **settings.environment()}, stderr=stderr)
    try:
        wait_until(_listening(log), 60, "the API")
        yield f"http://{_line(log)['address']}", process.pid
    finally:
        process.terminate()
        process.wait(20)


def _line(log: Path) -> dict[str, Any]:
    lines = map(json.loads, log.read_text().rpartition("\n")[0].splitlines())
    return next((one for one in lines if one["event"] == "listening"), {})


def _listening(log: Path) -> Callable[[], bool]:
    return lambda: bool(_line(log))
