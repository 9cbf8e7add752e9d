"""How many events a second a tenant may send: a token bucket in Redis, and one of this process while Redis is down."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import redis
import redis.asyncio

from tidemark.api.problem import Problem
from tidemark.core.redis import async_client
from tidemark.core.service import logger
from tidemark.core.settings import Settings
from udfs.live.lua import script

log = logger("api")

SCRIPT = script("tidemark.api", "take_tokens")
# Tenants whose buckets a process keeps; a forgotten one is full again.
MOST_BUCKETS = 10_000


@dataclass(slots=True)
class Bucket:
    """Tokens of a tenant in this process.

    Parameters
    ----------
    rate_per_s, size:
        How fast it fills, and what it holds.
    tokens, at_s:
        How many there were at which time.
    """

    rate_per_s: float
    size: float
    tokens: float
    at_s: float

    def take(self, wanted: int, now_s: float) -> float:
        """Take tokens: 0, or seconds until there are enough, and then none is taken."""
        self.tokens = min(self.size, self.tokens + max(0.0, now_s - self.at_s) * self.rate_per_s)
        self.at_s = now_s
        if self.tokens >= wanted:
            self.tokens -= wanted
            return 0.0
        return (wanted - self.tokens) / self.rate_per_s


class RateLimit:
    """The limit of each tenant; for one event loop.

    While Redis is down each process lets as much through as all may together: sending goes on.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._size = settings.api.tenant_events_per_s, settings.api.tenant_burst_events
        self._prefix = f"{settings.names.redis_prefix}api:tokens:"
        self._server = settings.redis
        self._clock = clock
        self._redis: redis.asyncio.Redis | None = None
        self._down_until_s = 0.0
        self._buckets: dict[str, Bucket] = {}

    async def take(self, tenant: str, events: int) -> None:
        """Let so many events of a tenant pass; raises Problem with the time after which they may."""
        wait_s = await self._shared(tenant, events)
        if wait_s is None:
            wait_s = self._local(tenant, events)
        if wait_s > 0:
            detail = f"tenant {tenant} sends over {self._rate} events a second; send again later, as it is."
            raise Problem(429, "too_many_requests", detail, retry_after_s=math.ceil(wait_s))

    async def close(self) -> None:
        """Give the connections back."""
        if self._redis is not None:
            await self._redis.aclose()

    async def _shared(self, tenant: str, events: int) -> float | None:
        """Seconds to wait by the bucket in Redis; None while Redis is down."""
        if self._clock() < self._down_until_s:
            return None
        try:
            taken, wait_ms = await self._evaluate(f"{self._prefix}{tenant}", events)
        except (redis.RedisError, OSError) as error:
            self._down_until_s = self._clock() + self._server.retry_ms / 1_000
            log("rates are local", level="warning", error=str(error))
            return None
        return 0.0 if taken else max(wait_ms, 1) / 1_000

    async def _evaluate(self, key: str, events: int) -> tuple[int, int]:
        if self._redis is None:
            self._redis = async_client(self._server, timeout_s=self._server.timeout_ms / 1_000)
        arguments = (1, key, self._rate, self._size, events)
        try:
            taken, wait_ms = await self._redis.evalsha(SCRIPT.sha, *arguments)  # type: ignore[misc, arg-type]
        except redis.exceptions.NoScriptError:
            # EVAL is no right of the services' user.
            await self._redis.script_load(SCRIPT.text)
            taken, wait_ms = await self._redis.evalsha(SCRIPT.sha, *arguments)  # type: ignore[misc, arg-type]
        return int(taken), int(wait_ms)

    def _local(self, tenant: str, events: int) -> float:
        now_s = self._clock()
        if tenant not in self._buckets and len(self._buckets) >= MOST_BUCKETS:
            self._buckets.clear()
        bucket = self._buckets.setdefault(tenant, Bucket(self._rate, self._size, self._size, now_s))
        return bucket.take(events, now_s)
