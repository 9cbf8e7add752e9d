"""Leaderboard: the top customers of each tenant and meter in the latest complete hour, from Postgres into Redis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from tidemark.core import redis
from tidemark.core.postgres import Database
from tidemark.core.service import Service, logger
from tidemark.core.settings import Settings
from tidemark.live.board import (
    LIFE,
    SCRIPT,
    WINDOW,
    Board,
    Entry,
    Pair,
    Top,
    Version,
    arguments,
    changed,
    choose,
    read,
)
from tidemark_client.keys import leaderboard_keys, leaderboard_marker_key, switch_key
from tidemark_client.switch import version_of

log = logger("leaderboard")

# Rows committed this long after they were stamped are still seen, and windows whose last rows came this late.
OVERLAP = timedelta(seconds=60)

# The newest two windows of each pair among those written since: the newest may not be complete yet.
_WRITTEN = """
SELECT tenant_id, meter, window_end
FROM (
    SELECT tenant_id, meter, window_end,
           row_number() OVER (PARTITION BY tenant_id, meter ORDER BY window_end DESC) AS age
    FROM {schema}.usage_sliding_customer
    WHERE window_s = %(window_s)s AND updated_at >= %(since)s
    GROUP BY tenant_id, meter, window_end
) AS written
WHERE age <= 2
"""
# Windows are named as well as joined, so that chunks and pages of all others are left out.
_TOP = """
WITH wanted AS (
    SELECT *
    FROM unnest(%(tenants)s::text[], %(meters)s::text[], %(ends)s::timestamptz[]) AS a (tenant_id, meter, window_end)
), ranked AS (
    SELECT tenant_id, meter, window_end, customer_id, total,
           row_number() OVER (board ORDER BY total DESC, customer_id COLLATE "C") AS place,
           sum(n) OVER board AS n,
           max(updated_at) OVER board AS stored_at
    FROM {schema}.usage_sliding_customer
    JOIN wanted USING (tenant_id, meter, window_end)
    WHERE window_s = %(window_s)s AND window_end = ANY(%(ends)s)
    WINDOW board AS (PARTITION BY tenant_id, meter, window_end)
)
SELECT r.tenant_id, r.meter, r.window_end, r.customer_id, r.total, r.n::bigint, t.n, r.stored_at
FROM ranked r
LEFT JOIN {schema}.usage_sliding t
    ON t.tenant_id = r.tenant_id AND t.meter = r.meter AND t.window_end = r.window_end
    AND t.window_s = %(window_s)s AND t.window_end = ANY(%(ends)s)
WHERE r.place <= %(size)s
ORDER BY r.tenant_id, r.meter, r.window_end, r.place
"""


class Leaderboard:
    """Writes boards as their windows are stored; one Postgres and one Redis connection, made again after a failure."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._cursor: datetime | None = None
        self._pushed: dict[Pair, Version] = {}
        self._redis = redis.client(settings.redis)
        self._database = Database(settings.postgres.ops, "top")
        self._marker = leaderboard_marker_key(settings.names.redis_prefix)
        schema = sql.Identifier(settings.names.usage_schema)
        self._written, self._top = (sql.SQL(text).format(schema=schema) for text in (_WRITTEN, _TOP))

    def refresh(self) -> int:
        """Write the boards that changed; all that still live, the first time and after Redis lost its data.

        Returns
        -------
        How many boards were written.

        Raises
        ------
        UnavailableError
            Redis or Postgres is unreachable; the next refresh starts where this one did.
        TidemarkError
            The database has no current tables.

        """
        # Step 1: which Redis is this, and does it still have what was written?
        run_id, marker = self._in_redis(self._identity)
        written_since = self._cursor if marker == run_id else None
        # Step 2: rows of the windows that were written since, and the clock they are later than.
        now, entries = self._database.run(lambda connection: self._read(connection, written_since))
        boards = choose(entries, self._settings.live.leaderboard_size)
        pushed = self._pushed if written_since else {}
        todo = changed(boards, pushed)
        # Step 3: write; the marker last, so that an interrupted refresh of all is repeated.
        written = self._in_redis(lambda: self._push(todo, now))
        if written_since is None:
            self._in_redis(lambda: self._redis.set(self._marker, run_id))
        # Step 4: only now is it done.
        self._cursor = now
        self._pushed = {**pushed, **{board.pair: board.version for board in todo}}
        return int(written)

    def close(self) -> None:
        """Give both connections back."""
        self._redis.close()
        self._database.close()

    def _identity(self) -> tuple[str, str | None]:
        # The run id changes with every start: an old snapshot still has the marker of the process that wrote it.
        run_id: Any = self._redis.info("server")
        marker: Any = self._redis.get(self._marker)
        return str(run_id["run_id"]), marker

    def _read(self, connection: psycopg.Connection, written_since: datetime | None) -> tuple[datetime, list[Entry]]:
        window_s, size = int(WINDOW.total_seconds()), self._settings.live.leaderboard_size
        with connection.transaction():
            now: datetime = connection.execute("SELECT now()").fetchall()[0][0]
            # What was stored longer ago would have expired.
            since = max(written_since - OVERLAP, now - LIFE) if written_since else now - LIFE
            windows = connection.execute(self._written, {"window_s": window_s, "since": since}).fetchall()
            if not windows:
                return now, []
            tenants, meters, ends = map(list, zip(*windows, strict=True))
            given = {"tenants": tenants, "meters": meters, "ends": ends, "window_s": window_s, "size": size}
            return now, [Entry(*row) for row in connection.execute(self._top, given).fetchall()]

    def _push(self, boards: Sequence[Board], now: datetime) -> int:
        prefix = self._settings.names.redis_prefix
        # Its command for scripts is not typed.
        pipeline: Any = self._redis.pipeline(transaction=False)
        pipeline.script_load(SCRIPT.text)
        for board in boards:
            pipeline.execute_command("EVALSHA", SCRIPT.sha, 2, *arguments(prefix, board, now))
        return sum(map(int, pipeline.execute()[1:]))

    def _in_redis(self, operation: Callable[[], Any]) -> Any:
        with redis.translated(self._settings.redis, self._redis):
            return operation()


def top(settings: Settings, tenant: str, meter: str) -> Top | None:
    """The board of a tenant and meter, of the active version; None where nobody had usage in the last two hours.

    Raises
    ------
    UnavailableError
        Redis does not answer.

    """
    with redis.translated(settings.redis), closing(redis.client(settings.redis)) as connection:
        # Typed for both the blocking and the asyncio client; this one blocks.
        own = settings.names.redis_prefix
        active = version_of(connection.get(switch_key(own)), tenant, own)
        fields: Any = connection.hgetall(leaderboard_keys(active, tenant, meter)[1])
    return read(fields) if fields else None


def why_none(settings: Settings) -> str:
    """Why there is no board of a tenant and meter that exist."""
    if not settings.rollup.customer_windows:
        return (
            "rollup.customer_windows is off, so `rollup` keeps no windows of customers; "
            "a `rollup` that has them is a new run (docs/operations.md, A setting shapes the state)."
        )
    hours = int(LIFE.total_seconds() // 3_600)
    return (
        f"nothing that a customer used in a complete hour was stored in the last {hours} hours; "
        "if events came, `rollup` or `tidemark serve --roles live` does not run."
    )


def service(settings: Settings) -> Service[Leaderboard, int]:
    """Refreshes every `live.refresh_s`."""
    every_s = settings.live.refresh_s
    return Service("leaderboard", every_s, lambda: Leaderboard(settings), Leaderboard.refresh, log, _report)


def _report(written: int, failing: bool) -> None:
    if failing or written:
        log("refreshed", boards=written)
