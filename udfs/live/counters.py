"""Live counters: running totals in Redis, guarded so that they never turn back, with their standing under a limit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import redis

from tidemark_client.keys import counter_key
from udfs.calendars.calendar import SEPARATOR
from udfs.limits.rule import Limit
from udfs.limits.status import exhaustion_ms, is_denied, remaining
from udfs.values import plain

WRITTEN, REFUSED, NOT_A_COUNTER = 1, 0, -1
UNKNOWN_REVISION = -1
# Fields of a counter that say how it stands under its limit; none of them is there without one.
LIMIT_FIELDS = (
    "limit", "mode", "on_unknown", "rule", "used", "remaining", "denied", "projected_exhaustion_at",
)  # fmt: skip

# Atomic in Redis, so that two writers cannot interleave between the look and the write. n and period_start stay below
# 2^53 (9 007 199 254 740 992), the largest range in which Lua's doubles are exact. The values come as one argument:
# most of the cost of a counter is the client putting arguments together (43 us a counter with nine, 26 with one).
# Of two equal totals the one with newer limits is news; ARGV[3] is `?` where limits are unknown: they stay as they are.
# A counter that only shows a limit (n = 0) yields to usage of any period: readers take an ended one as zero.
# `watched` is the limit that the job has held the total against: what copies totals (strict) must not claim it has.
SCRIPT = """
local stored = redis.pcall('HMGET', KEYS[1], 'period_start', 'n', 'revision')
if stored.err then return -1 end
local start, finish, n, samples, total, lo, hi, now, ttl, strict, revision = string.match(
  ARGV[1], '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S*) (%S*) (%S+) (%S+) (%S+) (%S+)$')
local old_start, old_n = tonumber(stored[1] or ''), tonumber(stored[2] or '')
if old_start and old_n then
  local new_start, new_n = tonumber(start), tonumber(n)
  if new_start < old_start and old_n > 0 then return 0 end
  if new_start == old_start then
    if new_n < old_n then return 0 end
    local old_revision, new_revision = tonumber(stored[3] or '-1'), tonumber(revision)
    if new_n == old_n and (new_revision < old_revision or (new_revision == old_revision and strict == '1')) then
      return 0
    end
  end
end
redis.call('HSET', KEYS[1], 'period_start', start, 'period_end', finish, 'n', n, 'samples', samples,
  'total', total, 'lo', lo, 'hi', hi, 'latest', ARGV[2], 'updated_at', now)
if ARGV[3] ~= '?' then
  local cap, mode, unknown, rule, left, denied, projected = string.match(
    ARGV[3], '^([^\\31]*)\\31([^\\31]*)\\31([^\\31]*)\\31([^\\31]*)\\31([^\\31]*)\\31([^\\31]*)\\31([^\\31]*)$')
  if cap then
    redis.call('HSET', KEYS[1], 'limit', cap, 'mode', mode, 'on_unknown', unknown, 'rule', rule, 'used', total,
      'remaining', left, 'denied', denied, 'projected_exhaustion_at', projected, 'revision', revision)
    if strict == '0' then redis.call('HSET', KEYS[1], 'watched', rule) end
  else
    redis.call('HSET', KEYS[1], 'revision', revision)
    if stored[3] then
      redis.call('HDEL', KEYS[1], 'limit', 'mode', 'on_unknown', 'rule', 'used', 'remaining', 'denied',
        'projected_exhaustion_at')
      if strict == '0' then redis.call('HDEL', KEYS[1], 'watched') end
    end
  end
end
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
        Measurements applied: the version of the total. Below 2^53; 0 for a counter without usage.
    samples:
        Measurements, less those taken back by voids: what an average divides by.
    total, lo, hi:
        Plain decimal text; lo and hi are empty where there is none.
    latest:
        Event time (21 digits of ns), source, event id and value of the latest event, with SEPARATOR between them; empty
        for all meters but `latest`.
    standing:
        How it stands under its limit, see `standing_of`; empty for no limit, None while limits are unknown.
    revision:
        Of the catalog that the standing rests on; UNKNOWN_REVISION while it is unknown.

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
    standing: str | None = None
    revision: int = UNKNOWN_REVISION


def standing_of(limit: Limit | None, total: Decimal, period_ms: tuple[int, int], at_ms: int) -> str:
    """How a total stands under its limit at an event time, as the script takes it; empty for no limit."""
    if limit is None:
        return ""
    reached_ms = exhaustion_ms(limit, total, period_ms, at_ms)
    return SEPARATOR.join(
        (
            plain(limit.cap),
            limit.mode,
            limit.on_unknown,
            limit.version,
            plain(remaining(limit, total)),
            "1" if is_denied(limit, total) else "0",
            "" if reached_ms is None else str(reached_ms),
        )
    )


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
    """Put the guarded writes of `rows` into a Redis pipeline; `strict` refuses an equal n too, unless limits are newer.

    The first command loads the script: it costs less than a row, and a Redis that has forgotten its scripts needs no
    second round trip. The counter lives for the period and the grace from this write on.
    """
    pipeline.script_load(SCRIPT)
    flag = "1" if strict else "0"
    for row in rows:
        start, end = row.period_start_ms, row.period_end_ms
        figures = f"{row.n} {row.samples} {row.total} {row.lo} {row.hi}"
        values = f"{start} {end} {figures} {now_ms} {end - start + grace_ms} {flag} {row.revision}"
        key = counter_key(prefix, row.tenant, row.customer, row.meter)
        standing = "?" if row.standing is None else row.standing
        pipeline.execute_command("EVALSHA", SCRIPT_SHA, 1, key, values, row.latest, standing)


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
