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
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg

from tidemark.core import redis
from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.kafka import Sender
from tidemark.core.postgres import STATEMENT_TIMEOUT_MS, Database, translated, unavailable
from tidemark.core.service import Service, logger
from tidemark.core.settings import Settings
from tidemark.live.open_counters import PAGE_ROWS, Counter, OpenCounters, Place
from tidemark.live.stored_totals import Key
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
_BEFORE_ALL: Pair = ("", "")
# A pass gives way after this long, so that a stop waits for none; it goes on at once.
STEP_S = 5.0


@dataclass(frozen=True, slots=True)
class PollResult:
    """What was done: re-evaluations requested, counters without usage written, and whether any were compared.

    `more`: the pass over all of them took long, and goes on.
    """

    requested: int
    seeded: int
    full: bool
    more: bool = False


@dataclass(slots=True)
class Pass:
    """A comparison of all counters, and how far it has come.

    Parameters
    ----------
    began, revision:
        Clock of the database, and revision of the limits, at its beginning.
    next_change_ms:
        First begin or end of a version after it, of all that were compared.
    after:
        What is behind it: counters of running periods up to here; None before the first.
    named:
        Customers up to this one, once the counters are done.
    differing:
        How many differed.
    """

    began: datetime
    revision: int
    next_change_ms: int
    after: Place | None = None
    named: Pair | None = None
    differing: int = 0


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
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.abandon()


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
    clock:
        Seconds that only grow.
    """

    def __init__(
        self, settings: Settings, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._clock_ms = clock_ms
        self._clock = clock
        source = PostgresLimitSource(settings.postgres.ops.url, STATEMENT_TIMEOUT_MS, settings.catalog.schema_name)
        self.limits = LimitCache(source, source, refresh_s=0, cache_size=PAGE_ROWS)
        self._source = source
        self._catalog_source = PostgresCatalogSource(settings.postgres.ops.url, settings.catalog.schema_name)
        self._catalog = Catalog(self._catalog_source, 1, PAGE_ROWS)
        self._redis = redis.client(settings.redis)
        self._database = Database(settings.postgres.ops, "limits")
        self._open = OpenCounters(settings.names.usage_schema, settings.catalog.schema_name)
        self._requests = Requests(settings)
        self._pass: Pass | None = None
        self._due_ms = 0

    def run_once(self) -> PollResult:
        """When limits may have changed, write defaults and unused counters, and send requests for the others.

        It ends after STEP_S, and the next one goes on where it was, also after a failure.

        Raises
        ------
        UnavailableError
            A service is unreachable.

        """
        with redis.translated(self._settings.redis, self._redis), self._translated():
            changed = self.limits.refresh()
            if self.limits.revision < 0:
                # The cache logs why; a pass without limits would compare nothing, and look like a success.
                raise UnavailableError(
                    "the limits of the catalog could not be read from Postgres yet.",
                    "check postgres.url and the database; the next pass tries again.",
                )
            if changed:
                self._due_ms = 0
            if self._pass is None and self._clock_ms() < self._due_ms:
                return PollResult(0, 0, full=False)
            self._pass = current = self._pass or self._begun()
            requested, seeded, more, until = 0, 0, True, self._clock() + STEP_S
            while more and self._clock() < until:
                differing, more = self._part(current)
                requested += sum(counter.used for counter in differing)
                seeded += sum(not counter.used for counter in differing)
            if not more:
                self._finish(current)
        return PollResult(requested, seeded, full=True, more=more)

    def close(self) -> None:
        """Give all connections back."""
        self._drop()
        self._redis.close()
        self._requests.close()

    def _begun(self) -> Pass:
        now_ms = self._clock_ms()
        self._write_defaults(now_ms)
        began: datetime = self._database.run(lambda connection: connection.execute("SELECT now()").fetchall()[0][0])
        return Pass(began, self.limits.revision, self.limits.next_change(now_ms))

    def _finish(self, current: Pass) -> None:
        self._pass = None
        # What differs now is compared again at once, and so is a change meanwhile; else at the start of the next
        # version, or after a while.
        now_ms = self._clock_ms()
        at_once = current.differing or current.revision != self.limits.revision
        self._due_ms = now_ms if at_once else min(now_ms + int(COMPARE_AGAIN_S * 1_000), current.next_change_ms)

    def _part(self, current: Pass) -> tuple[list[Counter], bool]:
        """What differs in the next part of a pass, and whether there is more; requests are sent, seeds written."""
        now_ms = self._clock_ms()
        counters, after, named = self._next(current, now_ms)
        differing = self._differing(counters, now_ms)
        self._seed([counter for counter in differing if not counter.used], now_ms)
        self._requests.send([_request(counter, now_ms) for counter in differing if counter.used])
        current.next_change_ms = min(current.next_change_ms, self.limits.next_change(now_ms))
        current.differing += len(differing)
        # Only now is it done.
        more = after is not None or (named is not None and named != current.named)
        current.after, current.named = after, named
        return differing, more

    def _next(self, current: Pass, now_ms: int) -> tuple[list[Counter], Place | None, Pair | None]:
        """Counters of the next part, whose limits are looked up, and what is behind it then."""
        if current.named is None:
            after, counters = self._database.run(lambda db: self._open.page(db, current.began, current.after))
            self.limits.prefetch({(counter.tenant, counter.customer) for counter in counters})
            return counters, after, None if after else _BEFORE_ALL
        behind = current.named
        pairs = self._database.run(lambda db: self._open.named(db, behind))
        self.limits.prefetch(pairs)
        self._catalog.refresh()
        self._catalog.prefetch(pairs)
        used = self._database.run(lambda db: self._open.used(db, pairs))
        return [*self._unused(used, pairs, now_ms)], None, pairs[-1] if len(pairs) == PAGE_ROWS else behind

    def _differing(self, counters: Sequence[Counter], now_ms: int) -> list[Counter]:
        """Counters that the job has not compared with the limit that holds now: `watched` in Redis is another."""
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

    def _unused(self, known: set[Key], named: Iterable[Pair], now_ms: int) -> Iterator[Counter]:
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
            raise translated(self._settings.postgres.ops, error) from error
        except CatalogUnavailable as error:
            self._drop()
            raise unavailable(self._settings.postgres.ops, error) from error

    def _drop(self) -> None:
        self._source.close()
        self._catalog_source.close()
        self._database.close()


def services(settings: Settings) -> list[Service[Any, Any]]:
    """The sync, which compares every `live.refresh_s`, and the heartbeat, sent as often."""
    every_s = settings.live.refresh_s
    return [
        Service(
            "limits", every_s, lambda: LimitSync(settings), LimitSync.run_once, log, _report,
            again=lambda result: result.more,
        ),
        Service("heartbeat", every_s, lambda: Heartbeat(settings), Heartbeat.send, heartbeat_log, _report_heartbeat),
    ]  # fmt: skip


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
