"""Recorder benchmark: what `record()` costs the thread that calls it, and how fast events reach the server.

    .venv/bin/python -m tests.bench.recorder --calls 50000

A server of its own on this machine, one caller. Calls come in groups with pauses, as requests do, so that threads of
the SDK work in between; the rate is that of a backlog, until all of it is acknowledged.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.integration.sdk.event_server import KEY, event_server
from tidemark_client import Client

GROUP, PAUSE_S = 50, 0.005


def costs_us(client: Client, calls: int) -> list[float]:
    """Cost of each call, in order of size."""
    clock, result = time.perf_counter_ns, []
    for number in range(calls):
        begin = clock()
        client.record("tokens", customer="c-7", quantity=1520, model="large")
        result.append((clock() - begin) / 1_000)
        if number % GROUP == 0:
            time.sleep(PAUSE_S)
    return sorted(result)


def drained_per_s(client: Client, calls: int) -> float:
    """Events a second from the first call to the last acknowledgement."""
    begin = time.perf_counter()
    for _ in range(calls):
        client.record("tokens", customer="c-7", quantity=1520, model="large")
    if not client.flush(300):
        raise SystemExit("the events were not acknowledged within 300 s.")
    return calls / (time.perf_counter() - begin)


def main(argv: Sequence[str]) -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=50_000)
    calls = parser.parse_args(argv).calls
    with tempfile.TemporaryDirectory() as folder, event_server() as server:
        options = {"api_key": KEY, "tenant": "acme", "spool": Path(folder), "queue_events": 10 * calls}
        with Client(server.url, **options) as client:
            costs = costs_us(client, calls)
            client.flush(300)
            rate = drained_per_s(client, calls)
        if sum(server.ids().values()) != 2 * calls:
            raise SystemExit("events were lost.")
    result = {
        "calls": calls,
        "median_us": round(statistics.median(costs), 2),
        "p99_us": round(costs[int(calls * 0.99)], 2),
        "events_per_s": round(rate),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
