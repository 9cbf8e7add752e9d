"""What asking for a limit costs a service, beside a bare GET of the same client.

One caller, 10 000 customers under a hard cap. Checks and GETs in turn (A B A B), in one process, blocking and asyncio.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

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
