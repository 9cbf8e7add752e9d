"""Sync of the live counters: stored totals into Redis, so that nothing the hot path dropped stays wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql

from tidemark.core import redis
from tidemark.core.errors import UnavailableError
from tidemark.core.postgres import STATEMENT_TIMEOUT_MS, Database
from tidemark.core.service import Service, logger
from tidemark.core.settings import Settings
from tidemark.live import active_version
from tidemark_client.keys import marker_key
from udfs.limits.cache import LimitCache
from udfs.limits.store import PostgresLimitSource
from udfs.limits.timeline import stretch_at
from udfs.live.counters import REFUSED, WRITTEN, LiveTotal, limit_status_of, queue

log = logger("live")

# Rows committed this long after they were stamped are still seen; `rollup` commits a batch within seconds.
OVERLAP = timedelta(seconds=60)
PIPELINE_ROWS = 1_000

# Over all dims, the latest period of each counter that was touched; all of them when `since` is null. A unique meter is
# the number of its values, of which each is a part; other parts than the plain one have no live counter.
_TOTALS = """
WITH touched AS (
    SELECT DISTINCT tenant_id, customer_id, meter
    FROM {schema}.usage_period
    WHERE %(since)s::timestamptz IS NULL OR updated_at >= %(since)s
), periods AS (
    SELECT p.*,
           rank() OVER (PARTITION BY tenant_id, customer_id, meter ORDER BY period_start DESC) AS age
    FROM {schema}.usage_period p
    JOIN touched USING (tenant_id, customer_id, meter)
    WHERE part = '' OR part LIKE 'u%%'
)
SELECT tenant_id, customer_id, meter,
       (extract(epoch FROM period_start) * 1000)::bigint, (extract(epoch FROM min(period_end)) * 1000)::bigint,
       coalesce(sum(n) FILTER (WHERE part = ''), count(DISTINCT part))::bigint,
       coalesce(sum(samples) FILTER (WHERE part = ''), count(DISTINCT part))::bigint,
       coalesce(sum(total) FILTER (WHERE part = ''), count(DISTINCT part)),
       min(lo) FILTER (WHERE part = ''), max(hi) FILTER (WHERE part = ''), max(latest COLLATE "C")
FROM periods
WHERE age = 1
GROUP BY tenant_id, customer_id, meter, period_start
"""

Key = tuple[str, str, str]
Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Refresh:
    """What one refresh did; `read` counters were compared, `refused` ones were already as new in Redis.

    `switched`: another version became active for readers.
    """

    full: bool
    read: int
    written: int
    refused: int
    failed: int
    switched: bool = False


@dataclass(slots=True)
class Progress:
    """State of the sync between refreshes.

    Parameters
    ----------
    cursor:
        Clock of the database before the last refresh that succeeded; None before the first.
    pushed:
        Versions (period start, n, revision of the limits) written by that refresh, to leave out of the next one, whose
        range overlaps.

    """

    cursor: datetime | None = None
    pushed: Mapping[Key, Version] = field(default_factory=dict)


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
    """Refreshes Redis from `usage_period`; one Postgres and one Redis connection, made again after each failure."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._progress = Progress()
        self._redis = redis.client(settings.redis)
        self._database = Database(settings.postgres, "live")
        self._marker = marker_key(settings.names.redis_prefix)
        source = PostgresLimitSource(settings.postgres.url, STATEMENT_TIMEOUT_MS, settings.catalog.schema_name)
        self._limit_source = source
        self._limits = LimitCache(source, source, refresh_s=0, cache_size=10_000_000)
        self._totals = sql.SQL(_TOTALS).format(schema=sql.Identifier(settings.names.usage_schema))

    def refresh(self) -> Refresh:
        """Write what was touched since the last refresh; everything, the first time and after Redis lost its data.

        Each total is written with its limit status, so that a cap is known again without waiting for the job.

        Raises
        ------
        UnavailableError
            Redis or Postgres is unreachable; the next refresh starts where this one did.
        TidemarkError
            Redis refuses a command, or the database has no tables.

        """
        # Step 1: which Redis is this, and does it still have what was written?
        run_id, marker = self._in_redis(self._identity)
        written_since = since(self._progress, redis_has_data=marker == run_id)
        full = written_since is None
        if full and marker is not None:
            # An old snapshot still has the marker of a whole one: readers must not trust it meanwhile.
            self._in_redis(lambda: self._redis.delete(self._marker))
        # The active version, before the marker says that all is there: readers must not mix versions.
        switched = self._database.run(self._sync_active_version)
        # Step 2: totals, and the clock they are later than.
        cursor, totals = self._database.run(lambda connection: self._read(connection, written_since))
        with_status = self._with_status(totals)
        rows, versions = plan(with_status, {} if full else self._progress.pushed)
        # Step 3: write; the marker last, so that an interrupted full refresh is repeated in full.
        results = self._in_redis(lambda: self._push(rows))
        failed = [result for result in results if result not in {WRITTEN, REFUSED}]
        if full and any(total.limit_status is None for total in with_status):
            raise UnavailableError("limits cannot be read: counters are back without them.", "see the log of Postgres.")
        if full:
            self._in_redis(lambda: self._redis.set(self._marker, run_id))
        # Step 4: only now is it done.
        self._progress = Progress(cursor, versions)
        return Refresh(full, len(totals), results.count(WRITTEN), results.count(REFUSED), len(failed), switched)

    def close(self) -> None:
        """Give both connections back."""
        self._redis.close()
        self._limit_source.close()
        self._database.close()

    def _identity(self) -> tuple[str, str | None]:
        # The run id changes with every start: a Redis that came back with an old snapshot still has a marker, of the
        # process that wrote it.
        run_id: Any = self._redis.info("server")
        marker: Any = self._redis.get(self._marker)
        return str(run_id["run_id"]), marker

    def _sync_active_version(self, connection: psycopg.Connection) -> bool:
        switched: bool = self._in_redis(lambda: active_version.sync(connection, self._redis, self._settings.names))
        return switched

    def _read(self, connection: psycopg.Connection, written_since: datetime | None) -> tuple[datetime, list[LiveTotal]]:
        with connection.transaction():
            cursor: datetime = connection.execute("SELECT now()").fetchall()[0][0]
            rows = connection.execute(self._totals, {"since": written_since}).fetchall()
        return cursor, [live_total(row) for row in rows]

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
    """One full refresh."""
    with closing(CounterSync(settings)) as counter_sync:
        return counter_sync.refresh()


def service(settings: Settings) -> Service[CounterSync, Refresh]:
    """Refreshes every `live.refresh_s`."""
    every_s = settings.live.refresh_s
    return Service("counters", every_s, lambda: CounterSync(settings), CounterSync.refresh, log, _report)


def _report(done: Refresh, failing: bool) -> None:
    if failing or done.full or done.written or done.failed or done.switched:
        figures = {"read": done.read, "written": done.written, "failed": done.failed}
        log("refreshed", full=done.full, **figures, switched=done.switched)


def live_total(row: Sequence[Any]) -> LiveTotal:
    """A row of the stored totals as a live one."""
    tenant, customer, meter, start_ms, end_ms, n, samples, total, lo, hi, latest = row
    figures = (plain(total), plain(lo), plain(hi), latest or "")
    return LiveTotal(tenant, customer, meter, start_ms, end_ms, n, samples, *figures)


def plain(value: Decimal | None) -> str:
    """Decimal as text without an exponent, all digits kept; empty for None."""
    return "" if value is None else format(value, "f")
