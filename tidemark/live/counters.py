"""Sync of the live counters: stored totals into Redis, so that nothing the hot path dropped stays wrong."""

from __future__ import annotations

import time
from collections import ChainMap, Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg

from tidemark.core import redis
from tidemark.core.errors import UnavailableError
from tidemark.core.postgres import STATEMENT_TIMEOUT_MS, Database
from tidemark.core.service import Service, logger
from tidemark.core.settings import Settings
from tidemark.live import active_version
from tidemark.live.stored_totals import FIRST, PAGE_KEYS, Key, StoredTotals
from tidemark_client.keys import marker_key, rebuilding_key
from udfs.limits.cache import LimitCache
from udfs.limits.store import PostgresLimitSource
from udfs.limits.timeline import stretch_at
from udfs.live.counters import REFUSED, WRITTEN, LiveTotal, limit_status_of, queue
from udfs.values import EPOCH

log = logger("live")

# Rows committed this long after they were stamped are still seen; `rollup` commits a batch within seconds.
OVERLAP = timedelta(seconds=60)
PIPELINE_ROWS = 1_000
# A refresh gives way after this long, so that a stop waits for none; more is done at once.
STEP_S = 5.0
# Versions that are remembered from one pass to the next.
KEPT_VERSIONS = 100_000

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Refresh:
    """What a refresh did; `read` counters were compared, `refused` ones were already as new in Redis.

    `switched`: another version became active for readers. `more`: it took long, and the next one goes on with it.
    """

    full: bool
    read: int
    written: int
    refused: int
    failed: int
    switched: bool = False
    more: bool = False


@dataclass(slots=True)
class Pass:
    """A refresh of all that there is to write, and how far it has come.

    Parameters
    ----------
    full:
        Whether all counters are written, in the order of their keys; otherwise those that were written to since the
        last pass, in the order of time.
    run_id:
        Process of Redis that it writes to.
    until:
        Clock of the database when it began; what is written later is the next one's.
    after, since:
        What is behind it: keys up to this one, and instants.
    versions:
        What it has written, at most KEPT_VERSIONS.
    """

    full: bool
    run_id: str
    until: datetime
    after: Key = FIRST
    since: datetime = EPOCH
    versions: dict[Key, Version] = field(default_factory=dict)


@dataclass(slots=True)
class Progress:
    """State of the sync between refreshes.

    Parameters
    ----------
    cursor:
        Clock of the database at the begin of the last pass that ended; None before the first.
    pushed:
        Versions (period start, n, revision of the limits) written by that pass, to leave out of the next one, whose
        range overlaps.
    current:
        The pass that has begun and not ended.

    """

    cursor: datetime | None = None
    pushed: Mapping[Key, Version] = field(default_factory=dict)
    current: Pass | None = None


def since(progress: Progress, *, redis_has_data: bool) -> datetime | None:
    """From when on touched rows must be read; None for all of them: at the start, and when Redis lost its data."""
    if progress.cursor is None or not redis_has_data:
        return None
    return progress.cursor - OVERLAP


def plan(totals: Sequence[LiveTotal], pushed: Mapping[Key, Version]) -> tuple[list[LiveTotal], dict[Key, Version]]:
    """Totals that were not written before as they are now, and the versions to keep for the next refresh."""
    versions = {key_of(total): (total.period_start_ms, total.n, total.revision) for total in totals}
    return [total for total in totals if pushed.get(key_of(total)) != versions[key_of(total)]], versions


def chunks(totals: Sequence[LiveTotal], size: int = PIPELINE_ROWS) -> Iterator[Sequence[LiveTotal]]:
    """Parts of at most `size`."""
    return (totals[start : start + size] for start in range(0, len(totals), size))


def key_of(total: LiveTotal) -> Key:
    """Name the counter of a total."""
    return total.tenant, total.customer, total.meter


class CounterSync:
    """Refreshes Redis from `usage_period`; one Postgres and one Redis connection, made again after each failure.

    Parameters
    ----------
    settings:
        Services and run.
    clock:
        Seconds that only grow.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._progress = Progress()
        self._redis = redis.client(settings.redis)
        self._database = Database(settings.postgres.ops, "live")
        self._marker = marker_key(settings.names.redis_prefix)
        self._rebuilding = rebuilding_key(settings.names.redis_prefix)
        source = PostgresLimitSource(settings.postgres.ops.url, STATEMENT_TIMEOUT_MS, settings.catalog.schema_name)
        self._limit_source = source
        self._limits = LimitCache(source, source, refresh_s=0, cache_size=PAGE_KEYS)
        self._totals = StoredTotals(settings.names.usage_schema)

    def refresh(self) -> Refresh:
        """Write what was touched since the last refresh; everything, the first time and after Redis lost its data.

        It ends after STEP_S, and the next one goes on where it was, also after a failure. Each total is written with
        its limit status, so that a cap is known again without waiting for the job.

        Raises
        ------
        UnavailableError
            Redis or Postgres is unreachable; the next refresh goes on where this one was.
        TidemarkError
            Redis refuses a command, or the database has no tables.

        """
        # Step 1: which Redis is this, and does it still have what was written?
        current = self._progress.current = self._going_on()
        # The active version, before the marker says that all is there: readers must not mix versions.
        switched = self._database.run(self._sync_active_version)
        # Step 2: part after part; each is done when it is written.
        read, counts, more = 0, Counter[Any](), True
        until = self._clock() + STEP_S
        while more:
            more, totals, results = self._advance()
            read += len(totals)
            counts.update(results)
            if self._clock() >= until:
                break
        # Step 3: behind the last one the pass is done.
        if not more:
            self._finish(current)
        written, refused = counts[WRITTEN], counts[REFUSED]
        return Refresh(current.full, read, written, refused, counts.total() - written - refused, switched, more)

    def close(self) -> None:
        """Give both connections back."""
        self._redis.close()
        self._limit_source.close()
        self._database.close()

    def _going_on(self) -> Pass:
        """The pass that has begun, or another one where there is none, or Redis has lost what was written."""
        run_id, marker, rebuilding = self._in_redis(self._identity)
        current = self._progress.current
        if current is not None and current.run_id == run_id == (rebuilding if current.full else marker):
            return current
        begun: datetime = self._database.run(lambda connection: connection.execute("SELECT now()").fetchall()[0][0])
        written_since = since(self._progress, redis_has_data=marker == run_id)
        if written_since is not None:
            return Pass(False, run_id, begun, since=written_since)

        def begin() -> None:
            # An old snapshot still has the marker of a whole one: readers must not trust it meanwhile.
            self._redis.delete(self._marker)
            self._redis.set(self._rebuilding, run_id)

        self._in_redis(begin)
        return Pass(True, run_id, begun)

    def _identity(self) -> tuple[str, str | None, str | None]:
        # The run id changes with every start: a Redis that came back with an old snapshot still has a marker, of the
        # process that wrote it.
        info: Any = self._redis.info("server")
        marks: Any = self._redis.mget(self._marker, self._rebuilding)
        return str(info["run_id"]), *marks

    def _advance(self) -> tuple[bool, list[LiveTotal], list[Any]]:
        """Write the next part of the pass: whether there is more, its totals, and the results of those written."""
        current = self._progress.current
        if current is None:
            raise RuntimeError("no pass has begun")
        more, totals, behind = self._database.run(lambda connection: self._part(connection, current))
        rows = self._to_write(current, totals)
        results: list[Any] = self._in_redis(lambda: self._push(rows))
        self._progress.current = behind
        return more, totals, results

    def _part(self, connection: psycopg.Connection, current: Pass) -> tuple[bool, list[LiveTotal], Pass]:
        """Whether there is more, the totals of the next part of a pass, and the pass behind it."""
        if current.full:
            last, totals = self._totals.page(connection, current.after)
            return last is not None, totals, current if last is None else replace(current, after=last)
        end, totals = self._totals.written(connection, current.since, current.until)
        return end < current.until, totals, replace(current, since=end)

    def _to_write(self, current: Pass, totals: Sequence[LiveTotal]) -> list[LiveTotal]:
        with_status = self._with_status(totals)
        if current.full and any(total.limit_status is None for total in with_status):
            raise UnavailableError("limits cannot be read: counters are back without them.", "see the log of Postgres.")
        before = ChainMap(current.versions, {} if current.full else dict(self._progress.pushed))
        rows, versions = plan(with_status, before)
        if len(current.versions) + len(versions) <= KEPT_VERSIONS:
            current.versions.update(versions)
        return rows

    def _finish(self, current: Pass) -> None:
        if current.full:
            # The marker last, so that an interrupted pass over all is never taken for a whole one.
            self._in_redis(lambda: self._redis.set(self._marker, current.run_id))
            self._in_redis(lambda: self._redis.delete(self._rebuilding))
        self._progress = Progress(current.until, current.versions)

    def _sync_active_version(self, connection: psycopg.Connection) -> bool:
        switched: bool = self._in_redis(lambda: active_version.sync(connection, self._redis, self._settings.names))
        return switched

    def _with_status(self, totals: Sequence[LiveTotal]) -> list[LiveTotal]:
        now_ms = int(datetime.now(UTC).timestamp() * 1_000)
        self._limits.refresh()
        self._limits.prefetch({(total.tenant, total.customer) for total in totals})
        return [self._status_of(total, now_ms) for total in totals]

    def _status_of(self, total: LiveTotal, now_ms: int) -> LiveTotal:
        stretches = self._limits.stretches(total.tenant, total.customer, total.meter)
        if stretches is None:
            return total
        # Of a period that has ended, the limit at its end.
        at_ms = min(now_ms, total.period_end_ms - 1)
        limit = stretch_at(stretches, at_ms).limit if stretches else None
        status = limit_status_of(limit, Decimal(total.total), (total.period_start_ms, total.period_end_ms), at_ms)
        return replace(total, limit_status=status, revision=self._limits.revision)

    def _push(self, rows: Sequence[LiveTotal]) -> list[Any]:
        results: list[Any] = []
        for part in chunks(rows):
            pipeline = self._redis.pipeline(transaction=False)
            now_ms = int(datetime.now(UTC).timestamp() * 1_000)
            grace_ms = self._settings.events.grace_s * 1_000
            queue(pipeline, self._settings.names.redis_prefix, part, now_ms=now_ms, grace_ms=grace_ms, strict=True)
            results += pipeline.execute()[1:]
        return results

    def _in_redis(self, operation: Callable[[], Any]) -> Any:
        with redis.translated(self._settings.redis, self._redis):
            return operation()


def refresh(settings: Settings) -> Refresh:
    """One full refresh, to its end."""
    with closing(CounterSync(settings)) as counter_sync:
        parts = [counter_sync.refresh()]
        while parts[-1].more:
            parts.append(counter_sync.refresh())
    return Refresh(
        parts[0].full,
        read=sum(part.read for part in parts),
        written=sum(part.written for part in parts),
        refused=sum(part.refused for part in parts),
        failed=sum(part.failed for part in parts),
        switched=any(part.switched for part in parts),
    )


def service(settings: Settings) -> Service[CounterSync, Refresh]:
    """Refreshes every `live.refresh_s`."""
    every_s = settings.live.refresh_s
    return Service("counters", every_s, lambda: CounterSync(settings), CounterSync.refresh, log, _report,
                   again=lambda done: done.more)  # fmt: skip


def _report(done: Refresh, failing: bool) -> None:
    if failing or done.full or done.written or done.failed or done.switched:
        figures = {"read": done.read, "written": done.written, "failed": done.failed}
        log("refreshed", full=done.full, **figures, switched=done.switched)
