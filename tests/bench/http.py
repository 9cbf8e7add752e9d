"""HTTP benchmark: from the instant a batch was due to be sent to the brokers' acknowledgement, and what a core takes.

    .venv/bin/python -m tests.bench.http --rate 2000 --seconds 30

Open loop: batches of 100 are due at fixed instants, whatever became of those before, and the time counts from then.
After it batches are sent as fast as they are answered; the CPU time of the process of the API says what one core takes.
Everything runs on this machine; the broker and the client share it with the API.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests

from jobs.flink.rest import wait_until
from tests.bench import world
from tidemark.api import key_store
from tidemark.core import migrate, postgres, topics
from tidemark.core.settings import Settings, load

BATCH = 100
THREADS = 32
TENANT = "bench"
WARM_UP_S = 3.0
COMMAND = "from tidemark.cli.main import main; main()"
_TICK = os.sysconf("SC_CLK_TCK")


def batch(number: int) -> bytes:
    """Events of about 250 bytes each, as a client of one tenant sends them."""
    at = datetime.now(UTC).isoformat()
    return json.dumps(
        [
            {
                "event_id": f"bench-{number:08d}-{place:03d}", "customer_id": f"customer-{place:06d}",
                "event_type": "api_call", "timestamp": at, "quantity": "1.5",
                "properties": {"model": "large", "region": "eu-west-1", "tier": "pro", "host": f"h-{place % 7}"},
            }
            for place in range(BATCH)
        ]
    ).encode()  # fmt: skip


class Sender:
    """Sends batches, each thread with a connection of its own; `took_s` and `refused` are what came of them."""

    def __init__(self, url: str, key: str, *, compressed: bool) -> None:
        self._url = f"{url}/v1/events"
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._compressed = compressed
        if compressed:
            self._headers["Content-Encoding"] = "gzip"
        self._local = threading.local()
        self.took_s: list[float] = []
        self.refused: list[int] = []

    def send(self, number: int, due: float) -> None:
        """Send one batch; its time counts from when it was due."""
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        body = batch(number)
        sent = gzip.compress(body, 1) if self._compressed else body
        answer = self._local.session.post(self._url, data=sent, headers=self._headers, timeout=60)
        took_s = time.monotonic() - due
        if answer.status_code == 202 and answer.json()["accepted"] == BATCH:
            self.took_s.append(took_s)
        else:
            self.refused.append(answer.status_code)


def open_loop(sender: Sender, rate: float, seconds: float, pool: ThreadPoolExecutor, first: int) -> int:
    """Send batches at fixed instants; how many."""
    count, begin = int(rate / BATCH * seconds), time.monotonic()
    waiting = []
    for number in range(count):
        due = begin + number * BATCH / rate
        time.sleep(max(0.0, due - time.monotonic()))
        waiting.append(pool.submit(sender.send, first + number, due))
    for one in waiting:
        one.result()
    return count


def as_fast_as_answered(sender: Sender, seconds: float, threads: int, first: int) -> None:
    """Send from some threads, each the next batch once the one before was answered."""
    until = time.monotonic() + seconds

    def run(thread: int) -> None:
        number = first + thread * 1_000_000
        while time.monotonic() < until:
            sender.send(number, time.monotonic())
            number += 1

    with ThreadPoolExecutor(threads) as pool:
        for one in [pool.submit(run, thread) for thread in range(threads)]:
            one.result()


def cpu_s(pid: int) -> float:
    """CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which a share of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextmanager
def running(settings: Settings, folder: Path) -> Iterator[tuple[str, int]]:
    """A process of the role `api`: its URL and its id."""
    log = folder / "api.log"
    environment = {**os.environ, **settings.environment()}
    with log.open("wb") as stderr:
        command = [sys.executable, "-c", COMMAND, "serve", "--roles", "api"]
        process = subprocess.Popen(command, env=environment, stderr=stderr)
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


def prepared() -> tuple[Settings, str]:
    """Settings with room for the load, tables and topics, and a key."""
    changes = {"api.listen": "127.0.0.1:0", "serve.listen": "off", "api.tenant_events_per_s": 1_000_000,
               "api.tenant_burst_events": 1_000_000}  # fmt: skip
    settings = load().with_changes(changes)
    migrate.migrate(settings)
    topics.apply(settings)
    with postgres.connect(settings.postgres) as connection:
        postgres.use_schema(connection, key_store.SCHEMA)
        return settings, key_store.create(connection, TENANT, ["ingest"], "bench", "bench").text


def main() -> None:
    """Print one JSON line for each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=2_000, help="events a second")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--gzip", action="store_true")
    options = parser.parse_args()
    with world.running(quick=True), TemporaryDirectory() as folder:
        settings, key = prepared()
        with running(settings, Path(folder)) as (url, pid), ThreadPoolExecutor(THREADS) as pool:
            warm = Sender(url, key, compressed=options.gzip)
            open_loop(warm, options.rate, WARM_UP_S, pool, 0)
            sender = Sender(url, key, compressed=options.gzip)
            begun_s = cpu_s(pid)
            open_loop(sender, options.rate, options.seconds, pool, 10_000_000)
            used_s = cpu_s(pid) - begun_s
            report("open loop", sender, options.seconds, used_s, rate=options.rate)
            sender = Sender(url, key, compressed=options.gzip)
            begun_s, begin = cpu_s(pid), time.monotonic()
            as_fast_as_answered(sender, options.seconds / 2, 8, 20_000_000)
            report("as fast as answered", sender, time.monotonic() - begin, cpu_s(pid) - begun_s)


def report(what: str, sender: Sender, seconds: float, used_s: float, **more: Any) -> None:
    """Print what came of a part."""
    events = len(sender.took_s) * BATCH
    times = {name: round(quantile(sender.took_s, share) * 1_000, 1)
             for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99), ("max_ms", 1.0))}  # fmt: skip
    figures = {"events_per_s": round(events / seconds), "cpu_s": round(used_s, 2),
               "events_per_cpu_s": round(events / used_s), "refused": len(sender.refused)}  # fmt: skip
    sys.stdout.write(json.dumps({"what": what, **more, **times, **figures}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
