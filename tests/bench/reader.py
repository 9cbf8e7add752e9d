"""Reader benchmark: what asking for a limit costs a service, beside a bare GET of the same client.

    .venv/bin/python -m tests.bench.reader --calls 5000 --rounds 4

A Redis of its own on this machine, one caller, 10 000 customers under a hard cap. Checks and GETs in turn (A B A B), in
one process, synchronous and asynchronous; a ratio is of figures of one run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import redis
import redis.asyncio

from tests.integration.storage import OwnRedis
from tidemark_client import AsyncLimitReader, Decision, LimitReader
from tidemark_client.layout import keys_of

CUSTOMERS = 10_000
# Longer than any pause of the machine: a time-out would be a fast answer.
TIMEOUT_S = 10.0
DAY_MS = 86_400_000
WARM_UP = 500


def fill(server: OwnRedis) -> None:
    """Counters of all customers, and the marks of a pipeline that moves."""
    now_ms = int(time.time() * 1_000)
    fields = {
        "period_start": now_ms - DAY_MS, "period_end": now_ms + 30 * DAY_MS, "n": 12, "samples": 12,
        "total": "123456.789", "lo": "1", "hi": "99999", "latest": "", "updated_at": now_ms, "limit": "1000000",
        "mode": "hard", "on_unknown": "fail_closed", "rule": "plan/pro@0", "used": "123456.789",
        "remaining": "876543.211", "denied": "0", "projected_exhaustion_at": now_ms + DAY_MS, "revision": "1",
    }  # fmt: skip
    pipeline = server.client.pipeline(transaction=False)
    for index in range(CUSTOMERS):
        pipeline.hset(keys_of("usage:", "acme", f"c-{index}", "calls").counter, mapping=fields)
    pipeline.mset({"usage:marker": "run", "usage:heartbeat": now_ms})
    pipeline.execute()


def expect_known(decision: Decision) -> None:
    """A check that was answered by the policy is no measurement."""
    if decision.reason != "within_limit":
        raise RuntimeError(f"the check was answered {decision.reason}: {decision.detail}")


def timed(call: Callable[[str], object], calls: int) -> list[float]:
    """Microseconds of each call."""
    taken = []
    for index in range(calls):
        customer = f"c-{index * 7 % CUSTOMERS}"
        begin = time.perf_counter_ns()
        call(customer)
        taken.append((time.perf_counter_ns() - begin) / 1_000)
    return taken


async def timed_async(call: Callable[[str], Awaitable[object]], calls: int) -> list[float]:
    """`timed`, awaited one after the other."""
    taken = []
    for index in range(calls):
        customer = f"c-{index * 7 % CUSTOMERS}"
        begin = time.perf_counter_ns()
        await call(customer)
        taken.append((time.perf_counter_ns() - begin) / 1_000)
    return taken


def measure(url: str, calls: int, rounds: int) -> dict[str, list[float]]:
    """The synchronous reader and client, in turn."""
    found: dict[str, list[float]] = {"check": [], "get": []}
    client = redis.Redis.from_url(url, socket_timeout=TIMEOUT_S, decode_responses=True)
    with LimitReader(url, max_age_s=None, timeout_s=TIMEOUT_S) as reader:
        ways: dict[str, Callable[[str], object]] = {
            "check": lambda customer: expect_known(reader.check("acme", customer, "calls")),
            "get": lambda _: client.get("usage:heartbeat"),
        }
        for way in ways.values():
            timed(way, WARM_UP)
        for _ in range(rounds):
            for name, way in ways.items():
                found[name] += timed(way, calls)
    client.close()
    return found


async def measure_async(url: str, calls: int, rounds: int) -> dict[str, list[float]]:
    """The asynchronous reader and client, in turn."""
    found: dict[str, list[float]] = {"check": [], "get": []}
    async with (
        redis.asyncio.Redis.from_url(url, decode_responses=True) as client,
        AsyncLimitReader(url, max_age_s=None, timeout_s=TIMEOUT_S) as reader,
    ):

        async def check(customer: str) -> None:
            expect_known(await reader.check("acme", customer, "calls"))

        async def get(_: str) -> None:
            await client.get("usage:heartbeat")

        for way in (check, get):
            await timed_async(way, WARM_UP)
        for _ in range(rounds):
            found["check"] += await timed_async(check, calls)
            found["get"] += await timed_async(get, calls)
    return found


def report(kind: str, found: dict[str, list[float]]) -> None:
    """One JSON line."""
    figures: dict[str, float] = {}
    for name, taken in found.items():
        cuts = statistics.quantiles(taken, n=100)
        figures |= {f"{name}_p50_us": round(cuts[49], 1), f"{name}_p99_us": round(cuts[98], 1)}
    ratios = {f"ratio_{cut}": round(figures[f"check_{cut}_us"] / figures[f"get_{cut}_us"], 2) for cut in ("p50", "p99")}
    sys.stdout.write(json.dumps({"reader": kind, "calls": len(found["check"]), **figures, **ratios}) + "\n")


def main(argv: Sequence[str] | None = None) -> None:
    """Print a JSON line for the synchronous and one for the asynchronous reader."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--calls", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        server = OwnRedis(Path(folder))
        server.start()
        try:
            fill(server)
            report("sync", measure(server.url, arguments.calls, arguments.rounds))
            report("async", asyncio.run(measure_async(server.url, arguments.calls, arguments.rounds)))
        finally:
            server.kill()


if __name__ == "__main__":
    main()
