"""Sync of limits: what changes without an event (a limit, a plan) reaches Redis and the alerts all the same.

The heartbeat by which readers see that Redis is kept up to date is a service of its own: it needs Kafka alone, and no
other database that is down or slow may hold it up.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql

from tidemark.core import redis
from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.kafka import Sender
from tidemark.core.postgres import STATEMENT_TIMEOUT_MS, Database, translated, unavailable
from tidemark.core.service import Service, logger
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
from udfs.live.counters import LiveTotal, limit_status_of, queue
from udfs.live.publisher import HEARTBEAT
from udfs.values import plain

log = logger("limits")
heartbeat_log = logger("heartbeat")

CHUNK = 1_000
# A difference that nobody announced (a worker that could not look a customer up) is found this late at most.
COMPARE_AGAIN_S = 60.0
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
    """A counter of the running period; `used`: it has usage already."""

    tenant: str
    customer: str
    meter: str
    start_ms: int
    end_ms: int
    used: bool


@dataclass(frozen=True, slots=True)
class PollResult:
    """What one pass did: re-evaluations requested, counters without usage written, and whether all were compared."""

    requested: int
    seeded: int
    full: bool


class Requests:
    """Sends requests to `meter` that a counter is evaluated again; one producer, made again after each failure."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sender: Sender | None = None

    def send(self, requests: Sequence[dict[str, Any]]) -> None:
        """Send them, and wait until the brokers have them.

        Raises
        ------
        UnavailableError
            Kafka did not take them.
        """
        if not requests:
            return
        try:
            if self._sender is None:
                self._sender = Sender(self._settings.kafka, SEND_STALL_S)
            for request in requests:
                self._sender.send(self._settings.names.reevaluations, json.dumps(request).encode())
            self._sender.flush()
        except TidemarkError:
            self.close()
            raise

    def close(self) -> None:
        """Give the producer back without waiting."""
        if self._sender is not None:
            self._sender.abandon()
            self._sender = None


class Heartbeat:
    """Tells readers that the path from Kafka through `meter` to Redis works, whatever else is down.

    Parameters
    ----------
    settings:
        Kafka, and the run.
    clock_ms:
        Epoch milliseconds.
    """

    def __init__(self, settings: Settings, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._requests = Requests(settings)
        self._clock_ms = clock_ms

    def send(self) -> None:
        """Send one heartbeat; raises UnavailableError when Kafka does not take it."""
        self._requests.send([_request(Counter("", "", HEARTBEAT, 0, _FOR_EVER_MS, used=True), self._clock_ms())])

    def close(self) -> None:
        """Give the producer back."""
        self._requests.close()


class LimitSync:
    """Compares the limits that hold with those in Redis, and has every counter that differs evaluated again.

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
        source = PostgresLimitSource(settings.postgres.url, STATEMENT_TIMEOUT_MS, settings.catalog.schema_name)
        self.limits = LimitCache(source, source, refresh_s=0, cache_size=10_000_000)
        self._source = source
        self._catalog_source = PostgresCatalogSource(settings.postgres.url, settings.catalog.schema_name)
        self._catalog = Catalog(self._catalog_source, 1, 10_000_000)
        self._redis = redis.client(settings.redis)
        self._database = Database(settings.postgres, "limits")
        self._requests = Requests(settings)
        self._due_ms = 0

    def run_once(self) -> PollResult:
        """When limits may have changed, write defaults and unused counters, and send requests for the others.

        Raises
        ------
        UnavailableError
            A service is unreachable; the next pass starts anew.

        """
        with redis.translated(self._settings.redis, self._redis), self._translated():
            changed = self.limits.refresh()
            if self.limits.revision < 0:
                # The cache logs why; a pass without limits would compare nothing, and look like a success.
                raise UnavailableError(
                    "the limits of the catalog could not be read from Postgres yet.",
                    "check postgres.url and the database; the next pass tries again.",
                )
            now_ms = self._clock_ms()
            due = changed or now_ms >= self._due_ms
            differing: list[Counter] = self._differing(now_ms) if due else []
            requests = [_request(counter, now_ms) for counter in differing if counter.used]
            seeds = [counter for counter in differing if not counter.used]
            self._seed(seeds, now_ms)
            self._requests.send(requests)
        if due:
            # What differs now is compared again at once; else at the start of the next version, or after a while.
            self._due_ms = (
                now_ms if differing else min(now_ms + int(COMPARE_AGAIN_S * 1_000), self.limits.next_change(now_ms))
            )
        return PollResult(len(requests), len(seeds), due)

    def close(self) -> None:
        """Give all connections back."""
        self._drop()
        self._redis.close()
        self._requests.close()

    def _differing(self, now_ms: int) -> list[Counter]:
        """Counters that the job has not compared with the limit that holds now: `watched` in Redis is another."""
        used, named = self._read()
        pairs = {(counter.tenant, counter.customer) for counter in used} | set(named)
        self.limits.prefetch(pairs)
        self._catalog.refresh()
        self._catalog.prefetch(named)
        counters = [*used, *self._unused(used, named, now_ms)]
        self._write_defaults(now_ms)
        differing: list[Counter] = []
        for part in _chunks(counters):
            pipeline = self._redis.pipeline(transaction=False)
            for counter in part:
                pipeline.hget(self._key(counter), "watched")
            for counter, watched in zip(part, pipeline.execute(), strict=True):
                if self.limits.stretches(counter.tenant, counter.customer, counter.meter) is None:
                    # Unknown now, which is no difference.
                    continue
                limit = self._limit(counter, now_ms)
                # A counter of an ended period stays: readers take it as zero under the limit that it names.
                if (limit.version if limit else None) != watched:
                    differing.append(counter)
        return differing

    def _read(self) -> tuple[list[Counter], list[Pair]]:
        schema = sql.Identifier(self._settings.names.usage_schema)
        catalog = sql.Identifier(self._settings.catalog.schema_name)
        statements = sql.SQL(_OPEN).format(schema=schema), sql.SQL(_NAMED).format(catalog=catalog)
        rows, named = self._database.run(
            lambda connection: [connection.execute(statement).fetchall() for statement in statements]
        )
        return [Counter(row[0], row[1], row[2], row[3], row[4], used=True) for row in rows], [
            (row[0], row[1]) for row in named
        ]

    def _unused(self, used: Iterable[Counter], named: Iterable[Pair], now_ms: int) -> Iterator[Counter]:
        known = {(counter.tenant, counter.customer, counter.meter) for counter in used}
        for tenant, customer in named:
            for meter in self.limits.meters(tenant, customer):
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
            rows = [self._empty(counter, now_ms) for counter in part]
            queue(pipeline, self._settings.names.redis_prefix, rows, now_ms=now_ms, grace_ms=grace_ms, strict=False)
            pipeline.execute()

    def _empty(self, counter: Counter, now_ms: int) -> LiveTotal:
        period_ms = (counter.start_ms, counter.end_ms)
        status = limit_status_of(self._limit(counter, now_ms), Decimal(0), period_ms, now_ms)
        key = counter.tenant, counter.customer, counter.meter, counter.start_ms, counter.end_ms
        return LiveTotal(*key, 0, 0, "0", limit_status=status, revision=self.limits.revision)

    def _write_defaults(self, now_ms: int) -> None:
        """The limits of tenants, for customers that are not known yet."""
        prefix = self._settings.names.redis_prefix
        pipeline = self._redis.pipeline()
        for tenant, limits in self.limits.defaults(now_ms).items():
            key = limits_key(prefix, tenant)
            pipeline.delete(key)
            fields = {limit.meter: _default(limit) for limit in limits}
            if fields:
                pipeline.hset(key, mapping=fields)
        pipeline.execute()

    def _limit(self, counter: Counter, now_ms: int) -> Limit | None:
        stretches = self.limits.stretches(counter.tenant, counter.customer, counter.meter)
        return stretch_at(stretches, now_ms).limit if stretches else None

    def _key(self, counter: Counter) -> str:
        return counter_key(self._settings.names.redis_prefix, counter.tenant, counter.customer, counter.meter)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """What the sources of limits and of the catalog raise, which have connections of their own."""
        try:
            yield
        except psycopg.Error as error:
            self._drop()
            raise translated(self._settings.postgres, error) from error
        except CatalogUnavailable as error:
            self._drop()
            raise unavailable(self._settings.postgres, error) from error

    def _drop(self) -> None:
        self._source.close()
        self._catalog_source.close()
        self._database.close()


def services(settings: Settings) -> list[Service[Any, Any]]:
    """The sync, which compares every `live.refresh_s`, and the heartbeat, sent as often."""
    every_s = settings.live.refresh_s
    return [
        Service("limits", every_s, lambda: LimitSync(settings), LimitSync.run_once, log, _report),
        Service("heartbeat", every_s, lambda: Heartbeat(settings), Heartbeat.send, heartbeat_log, _report_heartbeat),
    ]


def _report(result: PollResult, failing: bool) -> None:
    if failing or result.requested or result.seeded:
        log("synced", requested=result.requested, seeded=result.seeded, full=result.full)


def _report_heartbeat(_: None, failing: bool) -> None:
    if failing:
        heartbeat_log("recovered")


def _request(counter: Counter, now_ms: int) -> dict[str, Any]:
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
    return (counters[start : start + CHUNK] for start in range(0, len(counters), CHUNK))
