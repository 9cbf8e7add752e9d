"""Keeper of the live counters: stored totals into Redis, so that nothing the hot path dropped stays wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import redis
from psycopg import sql

from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.service import logger, repeat
from tidemark.core.settings import Settings
from tidemark.live import active_version
from tidemark_client.keys import marker_key
from udfs.limits.cache import LimitCache
from udfs.limits.store import PostgresLimitSource
from udfs.limits.timeline import stretch_at
from udfs.live.counters import REFUSED, WRITTEN, LiveTotal, client, limit_status_of, queue
from udfs.postgres import connect, deadline, first_line

log = logger("live")

# Rows committed this long after they were stamped are still seen; `rollup` commits a batch within seconds.
OVERLAP = timedelta(seconds=60)
PIPELINE_ROWS = 1_000
STATEMENT_TIMEOUT_MS = 15_000
REDIS_TIMEOUT_S = 5.0

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
    """What one refresh did; `read` counters were looked at, `refused` ones were already as new in Redis.

    `switched`: readers were sent to the counters of another version.
    """

    full: bool
    read: int
    written: int
    refused: int
    failed: int
    switched: bool = False


@dataclass(slots=True)
class Progress:
    """What the keeper knows between refreshes.

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
    """Totals that were not written before as they are now, and the versions to remember for the next refresh."""
    versions = {key_of(total): (total.period_start_ms, total.n, total.revision) for total in totals}
    return [total for total in totals if pushed.get(key_of(total)) != versions[key_of(total)]], versions


def chunks(totals: Sequence[LiveTotal], size: int = PIPELINE_ROWS) -> Iterator[Sequence[LiveTotal]]:
    """Parts of at most `size`."""
    return (totals[begin : begin + size] for begin in range(0, len(totals), size))


def key_of(total: LiveTotal) -> Key:
    """Name the counter of a total."""
    return total.tenant, total.customer, total.meter


class Keeper:
    """Refreshes Redis from `usage_period`; one Postgres and one Redis connection, made again after each failure."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._progress = Progress()
        password = settings.redis.secret
        self._redis = client(settings.redis.url, password, timeout_s=REDIS_TIMEOUT_S)
        self._postgres: psycopg.Connection | None = None
        self._marker = marker_key(settings.names.redis_prefix)
        source = PostgresLimitSource(settings.postgres.url, STATEMENT_TIMEOUT_MS, settings.catalog.schema_name)
        self._limit_source = source
        self._book = LimitCache(source, source, refresh_s=0, cache_size=10_000_000)
        self._totals = sql.SQL(_TOTALS).format(schema=sql.Identifier(settings.names.usage_schema))

    def refresh(self) -> Refresh:
        """Write what was touched since the last refresh; everything, the first time and after Redis lost its data.

        Each total is written with its standing, so that a cap is known again without waiting for the job.

        Raises
        ------
        UnavailableError
            Redis or Postgres is away; the next refresh begins where this one did.
        TidemarkError
            Redis refuses what it is asked, or the database has no tables.

        """
        # Step 1: which Redis is this, and does it still hold what was written?
        run_id, marker = self._ask_redis(self._identity)
        begin = since(self._progress, redis_has_data=marker == run_id)
        full = begin is None
        if full and marker is not None:
            # An old snapshot says of itself that it is whole: readers must not believe it meanwhile.
            self._ask_redis(lambda: self._redis.delete(self._marker))
        # The switch, before the marker says that all is there: readers must not take the counters of another version.
        switched = self._ask_postgres(self._follow)
        # Step 2: totals, and the clock they are later than.
        cursor, totals = self._ask_postgres(lambda connection: self._read(connection, begin))
        standing = self._standing(totals)
        rows, versions = plan(standing, {} if full else self._progress.pushed)
        # Step 3: write; the marker last, so that an interrupted full refresh is repeated in full.
        results = self._ask_redis(lambda: self._push(rows))
        failed = [result for result in results if result not in {WRITTEN, REFUSED}]
        if full and any(total.limit_status is None for total in standing):
            raise UnavailableError("limits cannot be read: counters are back without them.", "see the log of Postgres.")
        if full:
            self._ask_redis(lambda: self._redis.set(self._marker, run_id))
        # Step 4: only now is it done.
        self._progress = Progress(cursor, versions)
        return Refresh(full, len(totals), results.count(WRITTEN), results.count(REFUSED), len(failed), switched)

    def close(self) -> None:
        """Give both connections back."""
        self._redis.close()
        self._limit_source.close()
        self._drop_postgres()

    def _identity(self) -> tuple[str, str | None]:
        # The run id changes with every start: a Redis that came back with an old snapshot still has a marker, of the
        # process that wrote it.
        run_id: Any = self._redis.info("server")
        marker: Any = self._redis.get(self._marker)
        return str(run_id["run_id"]), marker

    def _follow(self, connection: psycopg.Connection) -> bool:
        switched: bool = self._ask_redis(lambda: active_version.level(connection, self._redis, self._settings.names))
        return switched

    def _read(self, connection: psycopg.Connection, begin: datetime | None) -> tuple[datetime, list[LiveTotal]]:
        with connection.transaction():
            cursor: datetime = connection.execute("SELECT now()").fetchall()[0][0]
            rows = connection.execute(self._totals, {"since": begin}).fetchall()
        return cursor, [live_total(row) for row in rows]

    def _standing(self, totals: Sequence[LiveTotal]) -> list[LiveTotal]:
        now_ms = int(datetime.now(UTC).timestamp() * 1_000)
        self._book.refresh()
        self._book.prefetch({(total.tenant, total.customer) for total in totals})
        return [self._stands(total, now_ms) for total in totals]

    def _stands(self, total: LiveTotal, now_ms: int) -> LiveTotal:
        stretches = self._book.stretches(total.tenant, total.customer, total.meter)
        if stretches is None:
            return total
        # Of a period that has ended, what held at its end.
        at_ms = min(now_ms, total.period_end_ms - 1)
        limit = stretch_at(stretches, at_ms).limit if stretches else None
        limit_status = limit_status_of(limit, Decimal(total.total), (total.period_start_ms, total.period_end_ms), at_ms)
        return replace(total, limit_status=limit_status, revision=self._book.revision)

    def _push(self, rows: Sequence[LiveTotal]) -> list[Any]:
        results: list[Any] = []
        for part in chunks(rows):
            pipeline = self._redis.pipeline(transaction=False)
            now_ms = int(datetime.now(UTC).timestamp() * 1_000)
            grace_ms = self._settings.events.grace_s * 1_000
            queue(pipeline, self._settings.names.redis_prefix, part, now_ms=now_ms, grace_ms=grace_ms, strict=True)
            results += pipeline.execute()[1:]
        return results

    def _ask_redis(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except (redis.RedisError, OSError) as error:
            self._redis.connection_pool.disconnect()
            raise UnavailableError(
                f"Redis at {self._settings.redis.url} cannot be written: {first_line(error)}",
                "start it (`tidemark up`) or correct redis.url and redis.password.",
            ) from error

    def _ask_postgres(self, question: Callable[[psycopg.Connection], Any]) -> Any:
        try:
            if self._postgres is None:
                self._postgres = connect(
                    self._settings.postgres.url,
                    statement_timeout_ms=STATEMENT_TIMEOUT_MS,
                    application_name="tidemark live",
                )
            with deadline(self._postgres, STATEMENT_TIMEOUT_MS):
                return question(self._postgres)
        except psycopg.errors.UndefinedTable as error:
            raise TidemarkError("the database has no current usage tables.", "run `tidemark db migrate`.") from error
        except psycopg.Error as error:
            self._drop_postgres()
            raise UnavailableError(
                f"Postgres at {self._settings.postgres.url} cannot be read: {first_line(error)}",
                "start it (`tidemark up`) or correct postgres.url and postgres.passfile.",
            ) from error

    def _drop_postgres(self) -> None:
        if self._postgres is not None:
            self._postgres.close()
            self._postgres = None


def refresh(settings: Settings) -> Refresh:
    """One full refresh."""
    with closing(Keeper(settings)) as keeper:
        return keeper.refresh()


def watch(settings: Settings, stop: threading.Event) -> None:
    """Refresh every `live.refresh_s` until `stop` is set; failures are logged and tried again, never raised."""
    log("started", every_s=settings.live.refresh_s, prefix=settings.names.redis_prefix)

    def report(done: Refresh, failing: bool) -> None:
        if failing or done.full or done.written or done.failed or done.switched:
            figures = {"read": done.read, "written": done.written, "failed": done.failed}
            log("refreshed", full=done.full, **figures, switched=done.switched)

    with closing(Keeper(settings)) as keeper:
        repeat(keeper.refresh, every_s=settings.live.refresh_s, stop=stop, log=log, report=report)


def live_total(row: Sequence[Any]) -> LiveTotal:
    """A row of the stored totals as a live one."""
    tenant, customer, meter, start_ms, end_ms, n, samples, total, lo, hi, latest = row
    figures = (plain(total), plain(lo), plain(hi), latest or "")
    return LiveTotal(tenant, customer, meter, start_ms, end_ms, n, samples, *figures)


def plain(value: Decimal | None) -> str:
    """Decimal as text without an exponent, all digits kept; empty for none."""
    return "" if value is None else format(value, "f")
