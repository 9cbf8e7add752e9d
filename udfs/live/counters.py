"""Live counters: running totals in Redis, guarded so that they never go back, with the status of their limit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import redis

from tidemark_client.keys import counter_key
from tidemark_client.tls import tls_of
from udfs.limits.rule import Limit
from udfs.limits.status import exhaustion_ms, is_denied, remaining
from udfs.live.lua import script
from udfs.values import plain
from udfs.wire import COUNTER_WRITE, LIMIT_STATUS

WRITTEN, REFUSED, NOT_A_COUNTER = 1, 0, -1
UNKNOWN_REVISION = -1
# Fields of a counter that only one with a limit has.
LIMIT_FIELDS = (*LIMIT_STATUS.names, "used")

SCRIPT = script(
    "udfs.live",
    "write_counter",
    figures=", ".join(COUNTER_WRITE.names),
    figures_pattern=COUNTER_WRITE.lua_pattern,
    status=", ".join(LIMIT_STATUS.names),
    status_names=", ".join(f"'{name}'" for name in LIMIT_STATUS.names),
    status_pairs=", ".join(f"'{name}', {name}" for name in LIMIT_STATUS.names),
    status_pattern=LIMIT_STATUS.lua_pattern,
)


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
        As `udfs.wire.LATEST`; empty for all meters but `latest`.
    limit_status:
        As `udfs.wire.LIMIT_STATUS`; empty for no limit, None while limits are unknown.
    revision:
        Of the catalog that the limit status rests on; UNKNOWN_REVISION while it is unknown.

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
    limit_status: str | None = None
    revision: int = UNKNOWN_REVISION

    def with_limit(self, status: str, revision: int) -> LiveTotal:
        """The same total with a limit status; `dataclasses.replace` takes twice as long, for each row."""
        return LiveTotal(
            self.tenant, self.customer, self.meter, self.period_start_ms, self.period_end_ms, self.n, self.samples,
            self.total, self.lo, self.hi, self.latest, status, revision,
        )  # fmt: skip


def limit_status_of(limit: Limit | None, total: Decimal, period_ms: tuple[int, int], at_ms: int) -> str:
    """The status of the limit of a total at an event time, as the script takes it; empty for no limit."""
    if limit is None:
        return ""
    reached_ms = exhaustion_ms(limit, total, period_ms, at_ms)
    return LIMIT_STATUS.pack(
        limit=plain(limit.cap),
        mode=limit.mode,
        on_unknown=limit.on_unknown,
        rule=limit.version,
        remaining=plain(remaining(limit, total)),
        denied="1" if is_denied(limit, total) else "0",
        projected_exhaustion_at="" if reached_ms is None else str(reached_ms),
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
    pipeline.script_load(SCRIPT.text)
    flag = "1" if strict else "0"
    for row in rows:
        start, end = row.period_start_ms, row.period_end_ms
        figures = COUNTER_WRITE.pack(
            period_start=start, period_end=end, n=row.n, samples=row.samples, total=row.total, lo=row.lo, hi=row.hi,
            now_ms=now_ms, ttl_ms=end - start + grace_ms, strict=flag, revision=row.revision,
        )  # fmt: skip
        key = counter_key(prefix, row.tenant, row.customer, row.meter)
        status = "?" if row.limit_status is None else row.limit_status
        pipeline.execute_command("EVALSHA", SCRIPT.sha, 1, key, figures, row.latest, status)


def client(redis_url: str, password: str | None, *, timeout_s: float) -> redis.Redis:
    """Redis client with a bound on every wait and no retries of its own; with TLS it verifies who answers."""
    return redis.Redis.from_url(
        redis_url,
        password=password,
        **tls_of(redis_url),
        socket_connect_timeout=timeout_s,
        socket_timeout=timeout_s,
        retry_on_timeout=False,
        decode_responses=True,
    )
