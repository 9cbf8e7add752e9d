"""Live counters: running totals in Redis, guarded so that they never turn back, and never waited for."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import redis

from udfs import alerts
from udfs.calendars.calendar import SEPARATOR

WRITTEN, REFUSED, NOT_A_COUNTER = 1, 0, -1

# Atomic in Redis, so that two writers cannot interleave between the look and the write. n and period_start stay below
# 2^53 (9 007 199 254 740 992), the largest range in which Lua's doubles are exact. The values come as one argument:
# most of the cost of a counter is the client putting arguments together (43 us a counter with nine, 26 with one).
SCRIPT = """
local stored = redis.pcall('HMGET', KEYS[1], 'period_start', 'n')
if stored.err then return -1 end
local start, finish, n, samples, total, lo, hi, now, ttl, strict = string.match(
  ARGV[1], '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S*) (%S*) (%S+) (%S+) (%S+)$')
local old_start, old_n = tonumber(stored[1] or ''), tonumber(stored[2] or '')
if old_start and old_n then
  local new_start, new_n = tonumber(start), tonumber(n)
  if new_start < old_start then return 0 end
  if new_start == old_start and (new_n < old_n or (new_n == old_n and strict == '1')) then return 0 end
end
redis.call('HSET', KEYS[1], 'period_start', start, 'period_end', finish, 'n', n, 'samples', samples,
  'total', total, 'lo', lo, 'hi', hi, 'latest', ARGV[2], 'updated_at', now)
redis.call('PEXPIRE', KEYS[1], ttl)
return 1
"""
SCRIPT_SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class LiveTotal:
    """Running total of one customer, meter and billing period, over all dimensions.

    Parameters
    ----------
    period_start_ms, period_end_ms:
        Half-open billing period, UTC epoch milliseconds.
    n:
        Measurements applied: the version of the total. Below 2^53.
    samples:
        Measurements, less those taken back by voids: what an average divides by.
    total, lo, hi:
        Plain decimal text; lo and hi are empty where there is none.
    latest:
        Event time (15 digits of ms), event id and value of the latest event, with SEPARATOR between them; empty for all
        meters but `latest`.

    """

    tenant: str
    customer: str
    meter: str
    period_start_ms: int
    period_end_ms: int
    n: int
    samples: int
    total: str
    lo: str = ""
    hi: str = ""
    latest: str = ""


def unpack_total(text: str) -> LiveTotal:
    """A total from its fields in their order, with SEPARATOR between them (`jobs/sql/meter/insert_alerts.sql`)."""
    # The latest event is last, because it holds separators of its own.
    tenant, customer, meter, start, end, n, samples, total, lo, hi, latest = text.split(SEPARATOR, 10)
    return LiveTotal(tenant, customer, meter, int(start), int(end), int(n), int(samples), total, lo, hi, latest)


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """How the hot path reaches Redis; picklable, and without the password.

    Parameters
    ----------
    redis_url:
        Redis without a password.
    prefix:
        First part of every key, with its colon.
    grace_ms:
        Added to the length of the period for the life of a counter.
    timeout_ms:
        Longest wait for a connection, and for an answer.
    retry_ms:
        After a failure nothing is tried for this long: counting loses at most one attempt per pause.

    """

    redis_url: str
    prefix: str
    grace_ms: int
    timeout_ms: int
    retry_ms: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the counters of one batch, and whether Redis was lost or came back with it.

    Parameters
    ----------
    written, refused, dropped:
        Counters (not rows): written, refused by the guard because newer ones are stored, or given up. The keeper
        writes dropped ones from the stored totals.
    state_changed:
        `firing` with the batch that lost Redis, `resolved` with the first that reached it again, otherwise None.
    alert:
        The alert to send (CloudEvents JSON), exactly when `state_changed` is not None.
    detail:
        Why counters were dropped; empty when none were.

    """

    written: int = 0
    refused: int = 0
    dropped: int = 0
    state_changed: alerts.Status | None = None
    alert: str | None = None
    detail: str = ""


@lru_cache(maxsize=65_536)
def redis_key(prefix: str, tenant: str, customer: str, meter: str) -> str:
    """Key of one counter, ids percent-encoded; the braces keep the counters of a customer on one node."""
    return f"{prefix}{{{quote(tenant, safe='')}/{quote(customer, safe='')}}}:{quote(meter, safe='')}"


def latest(rows: Iterable[LiveTotal]) -> list[LiveTotal]:
    """Keep the newest row of each counter, by period, then by n: one batch repeats a counter many times."""
    newest: dict[tuple[str, str, str], LiveTotal] = {}
    for row in rows:
        key = (row.tenant, row.customer, row.meter)
        seen = newest.get(key)
        if seen is None or (row.period_start_ms, row.n) >= (seen.period_start_ms, seen.n):
            newest[key] = row
    return list(newest.values())


def queue(pipeline: Any, prefix: str, rows: Sequence[LiveTotal], *, now_ms: int, grace_ms: int, strict: bool) -> None:
    """Put the guarded writes of `rows` into a Redis pipeline; `strict` refuses an equal n too.

    The first command loads the script: it costs less than a row, and a Redis that has forgotten its scripts needs no
    second round trip. The counter lives for the period and the grace from this write on.
    """
    pipeline.script_load(SCRIPT)
    flag = "1" if strict else "0"
    for row in rows:
        start, end = row.period_start_ms, row.period_end_ms
        figures = f"{row.n} {row.samples} {row.total} {row.lo} {row.hi}"
        values = f"{start} {end} {figures} {now_ms} {end - start + grace_ms} {flag}"
        key = redis_key(prefix, row.tenant, row.customer, row.meter)
        pipeline.execute_command("EVALSHA", SCRIPT_SHA, 1, key, values, row.latest)


class LivePublisher:
    """Writes running totals from the hot path; a Redis that is down costs one short attempt per pause.

    Parameters
    ----------
    settings:
        Where and how long to try.
    password:
        Password of Redis, if it has one.
    clock, wall_clock:
        Seconds that only grow; seconds since the epoch.

    """

    def __init__(
        self,
        settings: LiveSettings,
        password: str | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._client = client(settings.redis_url, password, timeout_s=settings.timeout_ms / 1_000)
        self._clock = clock
        self._wall_clock = wall_clock
        self._down = False
        self._next_attempt_at = float("-inf")
        self._dropped_while_down = 0

    def publish(self, rows: Iterable[LiveTotal]) -> Outcome:
        """Write the newest row of each counter in one pipeline; never raises, never tries twice."""
        newest = latest(rows)
        if not newest:
            return Outcome()
        if self._clock() < self._next_attempt_at:
            self._dropped_while_down += len(newest)
            return Outcome(dropped=len(newest), detail="waiting before the next attempt")
        try:
            results = self._attempt(newest)
        except Exception as error:  # noqa: BLE001  whatever goes wrong here must not stop the counting
            return self._failed(Outcome(dropped=len(newest), detail=_describe(error)))
        return self._settled(results)

    def close(self) -> None:
        """Give the connection back."""
        self._client.close()

    def _attempt(self, rows: Sequence[LiveTotal]) -> list[Any]:
        settings = self._settings
        pipeline = self._client.pipeline(transaction=False)
        now_ms = int(self._wall_clock() * 1_000)
        queue(pipeline, settings.prefix, rows, now_ms=now_ms, grace_ms=settings.grace_ms, strict=False)
        results: list[Any] = pipeline.execute(raise_on_error=False)
        return results[1:]

    def _settled(self, results: Sequence[Any]) -> Outcome:
        written, refused = results.count(WRITTEN), results.count(REFUSED)
        errors = [result for result in results if isinstance(result, Exception)]
        dropped = len(results) - written - refused
        if errors:
            # An answer, but not a usable one: out of memory, still loading, a read-only replica.
            return self._failed(Outcome(written, refused, dropped, detail=_describe(errors[0])))
        outcome = Outcome(written, refused, dropped, detail="a key is not a counter" if dropped else "")
        return self._changed("resolved", outcome) if self._down else outcome

    def _failed(self, outcome: Outcome) -> Outcome:
        self._next_attempt_at = self._clock() + self._settings.retry_ms / 1_000
        # A connection that failed half-way may still hold answers of this batch.
        self._client.connection_pool.disconnect()
        self._dropped_while_down += outcome.dropped
        return outcome if self._down else self._changed("firing", outcome)

    def _changed(self, status: alerts.Status, outcome: Outcome) -> Outcome:
        evidence = {"detail": outcome.detail, "dropped": self._dropped_while_down}
        alert = alerts.live_counters(status, at_ms=int(self._wall_clock() * 1_000), evidence=evidence)
        self._down = status == "firing"
        if not self._down:
            self._dropped_while_down = 0
        return replace(outcome, state_changed=status, alert=alert)


def client(redis_url: str, password: str | None, *, timeout_s: float) -> redis.Redis:
    """Redis client with a bound on every wait and no retries of its own."""
    return redis.Redis.from_url(
        redis_url,
        password=password,
        socket_connect_timeout=timeout_s,
        socket_timeout=timeout_s,
        retry_on_timeout=False,
        decode_responses=True,
    )


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]
