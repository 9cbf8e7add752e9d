"""Keeper of limits: what changes without an event (a limit, a plan) reaches Redis and the alerts all the same."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg
import redis
from psycopg import sql

from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.kafka import Sender
from tidemark.core.service import logger, repeat
from tidemark.core.settings import Settings
from tidemark_client.keys import counter_key, limits_key
from udfs.calendars.calendar import CalendarError, NoPeriodError
from udfs.catalog.cache import Catalog, CatalogUnavailable
from udfs.catalog.index import CalendarMissingError
from udfs.catalog.model import Pair
from udfs.catalog.store import PostgresCatalogSource
from udfs.limits.cache import LimitCache
from udfs.limits.rule import Limit
from udfs.limits.store import PostgresLimitSource
from udfs.limits.timeline import stretch_at
from udfs.live.counters import LiveTotal, client, limit_status_of, queue
from udfs.live.publisher import HEARTBEAT
from udfs.postgres import connect, deadline, first_line
from udfs.values import plain

log = logger("limits")

TIMEOUT_MS = 15_000
REDIS_TIMEOUT_S = 5.0
CHUNK = 1_000
# A difference that nobody announced (a worker that could not look a customer up) is found this late at most.
LOOK_AGAIN_S = 60.0
SEND_STALL_S = 10.0
# The heartbeat's period: it never ends.
_FOR_EVER_MS = 4_102_444_800_000
_OPEN = """
SELECT DISTINCT ON (tenant_id, customer_id, meter)
       tenant_id, customer_id, meter,
       (extract(epoch FROM period_start) * 1000)::bigint, (extract(epoch FROM period_end) * 1000)::bigint
FROM {schema}.usage_period
WHERE period_end > now() AND period_start <= now() AND (part = '' OR part LIKE 'u%%')
ORDER BY tenant_id, customer_id, meter, period_start DESC, period_end
"""
# Customers with limits of their own or of a plan: they have a counter before they use anything.
_NAMED = """
SELECT tenant_id, scope_id FROM {catalog}.usage_limit
WHERE scope = 'customer' AND valid_from <= now() AND valid_to > now()
UNION
SELECT c.tenant_id, c.customer_id
FROM {catalog}.customer c
JOIN {catalog}.usage_limit l ON l.tenant_id = c.tenant_id AND l.scope = 'plan' AND l.scope_id = c.plan
WHERE c.valid_from <= now() AND c.valid_to > now() AND l.valid_from <= now() AND l.valid_to > now()
"""


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter of the running period; `used` tells one that has usage from one that has none yet."""

    tenant: str
    customer: str
    meter: str
    start_ms: int
    end_ms: int
    used: bool


@dataclass(frozen=True, slots=True)
class Look:
    """What one look did: counters nudged, counters without usage written, and whether all were looked at."""

    nudged: int
    seeded: int
    full: bool


class LimitKeeper:
    """Compares the limits that hold with those in Redis, and has every counter that differs looked at again.

    Parameters
    ----------
    settings:
        Services and run.
    clock_ms:
        Epoch milliseconds.
    """

    def __init__(self, settings: Settings, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._settings = settings
        self._clock_ms = clock_ms
        source = PostgresLimitSource(settings.postgres.url, TIMEOUT_MS, settings.catalog.schema_name)
        self.book = LimitCache(source, source, refresh_s=0, cache_size=10_000_000)
        self._source = source
        self._catalog_source = PostgresCatalogSource(settings.postgres.url, settings.catalog.schema_name)
        self._catalog = Catalog(self._catalog_source, 1, 10_000_000)
        password = settings.redis.secret
        self._redis = client(settings.redis.url, password, timeout_s=REDIS_TIMEOUT_S)
        self._postgres: psycopg.Connection | None = None
        self._sender: Sender | None = None
        self._due_ms = 0

    def look(self) -> Look:
        """Send a heartbeat; when limits may have changed, write defaults and unused counters, and nudge the others.

        Raises
        ------
        UnavailableError
            A service is away; the next look begins anew.

        """
        try:
            changed = self.book.refresh()
            now_ms = self._clock_ms()
            nudges = [_nudge(Counter("", "", HEARTBEAT, 0, _FOR_EVER_MS, used=True), now_ms)]
            due = changed or now_ms >= self._due_ms
            found: list[Counter] = self._differing(now_ms) if due and self.book.revision >= 0 else []
            nudges += [_nudge(counter, now_ms) for counter in found if counter.used]
            seeds = [counter for counter in found if not counter.used]
            self._seed(seeds, now_ms)
            self._send(nudges)
        except (psycopg.Error, CatalogUnavailable) as error:
            self._drop()
            raise _away("Postgres", self._settings.postgres.url, error) from error
        except (redis.RedisError, OSError) as error:
            self._redis.connection_pool.disconnect()
            raise _away("Redis", self._settings.redis.url, error) from error
        if due:
            # What differs now is looked at again at once; else at the next begin of a version, or after a while.
            self._due_ms = now_ms if found else min(now_ms + int(LOOK_AGAIN_S * 1_000), self.book.next_change(now_ms))
        return Look(len(nudges) - 1, len(seeds), due)

    def close(self) -> None:
        """Give all connections back."""
        self._drop()
        self._redis.close()
        self._close_sender()

    def _differing(self, now_ms: int) -> list[Counter]:
        """Counters that the job has not held against the limit that holds now: `watched` in Redis is another."""
        used, named = self._read()
        pairs = {(one.tenant, one.customer) for one in used} | set(named)
        self.book.prefetch(pairs)
        self._catalog.refresh()
        self._catalog.prefetch(named)
        counters = [*used, *self._unused(used, named, now_ms)]
        self._write_defaults(now_ms)
        found: list[Counter] = []
        for part in _chunks(counters):
            pipeline = self._redis.pipeline(transaction=False)
            for one in part:
                pipeline.hget(self._key(one), "watched")
            for one, watched in zip(part, pipeline.execute(), strict=True):
                if self.book.stretches(one.tenant, one.customer, one.meter) is None:
                    # Unknown now, which is no difference.
                    continue
                limit = self._limit(one, now_ms)
                # A counter of an ended period stays: readers take it as zero under the limit that it names.
                if (limit.version if limit else None) != watched:
                    found.append(one)
        return found

    def _read(self) -> tuple[list[Counter], list[Pair]]:
        if self._postgres is None:
            self._postgres = connect(
                self._settings.postgres.url, statement_timeout_ms=TIMEOUT_MS, application_name="tidemark limits"
            )
        schema = sql.Identifier(self._settings.names.usage_schema)
        catalog = sql.Identifier(self._settings.catalog.schema_name)
        with deadline(self._postgres, TIMEOUT_MS):
            rows = self._postgres.execute(sql.SQL(_OPEN).format(schema=schema)).fetchall()
            named = self._postgres.execute(sql.SQL(_NAMED).format(catalog=catalog)).fetchall()
        return [Counter(row[0], row[1], row[2], row[3], row[4], used=True) for row in rows], [
            (row[0], row[1]) for row in named
        ]

    def _unused(self, used: Iterable[Counter], named: Iterable[Pair], now_ms: int) -> Iterator[Counter]:
        known = {(one.tenant, one.customer, one.meter) for one in used}
        for tenant, customer in named:
            for meter in self.book.meters(tenant, customer):
                if (tenant, customer, meter) in known:
                    continue
                try:
                    period = self._catalog.calendar_at((tenant, customer), now_ms).period_at(now_ms)
                except (CalendarMissingError, CalendarError, NoPeriodError):
                    continue
                counter = Counter(tenant, customer, meter, period.start_ms, period.end_ms, used=False)
                if self._limit(counter, now_ms):
                    yield counter

    def _seed(self, counters: Sequence[Counter], now_ms: int) -> None:
        grace_ms = self._settings.events.grace_s * 1_000
        for part in _chunks(counters):
            pipeline = self._redis.pipeline(transaction=False)
            rows = [self._empty(one, now_ms) for one in part]
            queue(pipeline, self._settings.names.redis_prefix, rows, now_ms=now_ms, grace_ms=grace_ms, strict=False)
            pipeline.execute()

    def _empty(self, one: Counter, now_ms: int) -> LiveTotal:
        limit_status = limit_status_of(self._limit(one, now_ms), Decimal(0), (one.start_ms, one.end_ms), now_ms)
        whose = one.tenant, one.customer, one.meter, one.start_ms, one.end_ms
        return LiveTotal(*whose, 0, 0, "0", limit_status=limit_status, revision=self.book.revision)

    def _write_defaults(self, now_ms: int) -> None:
        """The limits of tenants, for customers nobody has heard of."""
        prefix = self._settings.names.redis_prefix
        pipeline = self._redis.pipeline()
        for tenant, limits in self.book.defaults(now_ms).items():
            key = limits_key(prefix, tenant)
            pipeline.delete(key)
            fields = {limit.meter: _default(limit) for limit in limits}
            if fields:
                pipeline.hset(key, mapping=fields)
        pipeline.execute()

    def _limit(self, one: Counter, now_ms: int) -> Limit | None:
        stretches = self.book.stretches(one.tenant, one.customer, one.meter)
        return stretch_at(stretches, now_ms).limit if stretches else None

    def _key(self, one: Counter) -> str:
        return counter_key(self._settings.names.redis_prefix, one.tenant, one.customer, one.meter)

    def _send(self, nudges: Sequence[dict[str, Any]]) -> None:
        try:
            if self._sender is None:
                self._sender = Sender(self._settings.kafka, SEND_STALL_S)
            for nudge in nudges:
                self._sender.send(self._settings.names.reevaluations, json.dumps(nudge).encode())
            self._sender.flush()
        except TidemarkError:
            self._close_sender()
            raise

    def _close_sender(self) -> None:
        if self._sender is not None:
            self._sender.abandon()
            self._sender = None

    def _drop(self) -> None:
        self._source.close()
        self._catalog_source.close()
        if self._postgres is not None:
            self._postgres.close()
            self._postgres = None


def watch(settings: Settings, stop: threading.Event) -> None:
    """Look every `live.refresh_s` until `stop` is set; failures are logged and tried again, never raised."""
    log("started", every_s=settings.live.refresh_s, topic=settings.names.reevaluations)

    def report(done: Look, failing: bool) -> None:
        if failing or done.nudged or done.seeded:
            log("looked", nudged=done.nudged, seeded=done.seeded, full=done.full)

    with closing(LimitKeeper(settings)) as keeper:
        repeat(keeper.look, every_s=settings.live.refresh_s, stop=stop, log=log, report=report)


def _nudge(counter: Counter, now_ms: int) -> dict[str, Any]:
    return {
        "tenant_id": counter.tenant,
        "customer_id": counter.customer,
        "meter": counter.meter,
        "period_start_ms": counter.start_ms,
        "period_end_ms": counter.end_ms,
        "at_ms": now_ms,
    }


def _default(limit: Limit) -> str:
    shown = {"limit": plain(limit.cap), "mode": limit.mode, "on_unknown": limit.on_unknown, "rule": limit.version}
    return json.dumps(shown, separators=(",", ":"))


def _chunks(counters: Sequence[Counter]) -> Iterator[Sequence[Counter]]:
    return (counters[begin : begin + CHUNK] for begin in range(0, len(counters), CHUNK))


def _away(what: str, where: str, error: BaseException) -> UnavailableError:
    return UnavailableError(f"{what} at {where} cannot be used: {first_line(error)}", "start it: `tidemark up`.")
