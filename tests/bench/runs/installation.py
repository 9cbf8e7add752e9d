"""A large installation: what the roles `close`, `live` and `quotas` take for a pass, and `dlq list` for its answer.

Every customer has two counters of the running month and a closed month before it, so that nothing is due. No statement
or step may grow with the installation.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.addresses import redis_at
from tests.bench.report.results import Found
from tests.bench.world import NotFinished, World
from tests.integration.storage import OwnRedis
from tidemark.archive.source import reading
from tidemark.billing import close as billing_close
from tidemark.billing.dead_letter_list import listed
from tidemark.core import postgres
from tidemark.core.errors import UnavailableError
from tidemark.core.settings import Settings
from tidemark.live.counters import CounterSync
from tidemark.live.limits import LimitSync
from tidemark.quotas.daemon import QuotaMonitor

POLLS = 3
_CUSTOMER = "'customer-' || lpad(i::text, 7, '0')"
_PERIODS = f"""
INSERT INTO {{usage}}.usage_period
    (tenant_id, customer_id, meter, dims, period_start, period_end, n, samples, total, lo, hi)
SELECT 'bench', {_CUSTOMER}, meter, '', date_trunc('month', now()), date_trunc('month', now()) + interval '1 month',
       1, 1, 1, 1, 1
FROM generate_series(1, %s) i, unnest(ARRAY['calls', 'bytes']) meter
"""
_HOURS = f"""
INSERT INTO {{usage}}.usage_hour (tenant_id, customer_id, meter, dims, hour_start, n, samples, total, lo, hi)
SELECT 'bench', {_CUSTOMER}, 'calls', '', date_trunc('hour', now()) - (i %% 24) * interval '1 hour', 1, 1, 1, 1, 1
FROM generate_series(1, %s) i
"""
_CLOSED = f"""
INSERT INTO {{billing}}.period_close
    (tenant_id, customer_id, period_start, period_end, closed_by, run_id, catalog_revision, watermark, rests_on,
     dead_letters, lines, content_hash)
SELECT 'bench', {_CUSTOMER}, date_trunc('month', now()) - interval '1 month', date_trunc('month', now()), 'bench', '',
       0, now(), '{{{{}}}}', 0, 0, repeat('0', 64)
FROM generate_series(1, %s) i
"""
_DEAD_LETTERS = f"""
INSERT INTO {{billing}}.dead_letter
SELECT %s, i %% 4, i / 4, 'bench', {_CUSTOMER}, NULL, CASE i %% 3 WHEN 0 THEN 'too_late' ELSE 'invalid_json' END, false,
       now() - interval '40 days', now() - i * interval '1 second', 'usage.events', i %% 4, i, '', '', false
FROM generate_series(1, %s) i
"""
_READ_UP_TO = (
    "INSERT INTO {billing}.dead_letter_position (topic, topic_id, partition, next_offset) VALUES (%s, %s, %s, %s)"
)


def fill(settings: Settings, customers: int, dead_letters: int) -> None:
    """The installation, in the server; statistics as autovacuum would have them by then."""
    dlq = settings.names.dlq
    with postgres.connect(settings.postgres) as connection:
        run = _Statements(connection, settings)
        for statement in (_PERIODS, _HOURS, _CLOSED):
            run(statement, [customers])
        run(_DEAD_LETTERS, [dlq, dead_letters])
        for topic in (dlq, settings.topics.redrive):
            with reading(settings.kafka) as source:
                places = source.topic_id(topic), sorted(source.earliest_offsets(topic))
            for partition in places[1]:
                run(_READ_UP_TO, [topic, places[0], partition, 0])
        connection.execute("ANALYZE")


class _Statements:
    def __init__(self, connection: psycopg.Connection, settings: Settings) -> None:
        self._connection = connection
        names = settings.names
        self._schemas = {"usage": sql.Identifier(names.usage_schema), "billing": sql.Identifier(names.billing_schema)}

    def __call__(self, statement: str, values: Sequence[Any]) -> None:
        self._connection.execute(sql.SQL(statement).format(**self._schemas), values)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a call takes, and its result."""
    begin = time.perf_counter()
    result = call()
    return time.perf_counter() - begin, result


def measure_close(found: Found, settings: Settings) -> None:
    """The first poll, which makes the index, the second, which finds that nothing is due, and those after it."""
    for what in ("close, first poll: index made", "close, second poll"):
        seconds, _ = timed(lambda: billing_close.close(settings, "bench"))
        found.add(what, seconds=seconds)
    for _ in range(POLLS):
        found.add("close, nothing due", seconds=timed(lambda: billing_close.close(settings, "bench"))[0])


def measure_list(found: Found, settings: Settings) -> None:
    """What `dlq list` asks, of all and of one customer."""
    found.add("dlq list", seconds=timed(lambda: listed(settings, 0))[0])
    one = {"tenant": "bench", "customer": "customer-0000001"}
    found.add("dlq list of a customer", seconds=timed(lambda: listed(settings, 0, **one))[0])


def steps(take: Callable[[], Any]) -> Iterator[tuple[float, Any]]:
    """Seconds and result of each step of a pass, to its end; a step that fails is taken again."""
    more = True
    while more:
        try:
            seconds, result = timed(take)
        except UnavailableError:
            yield 0.0, None
            continue
        more = result.more
        yield seconds, result


def measure_passes(found: Found, settings: Settings) -> None:
    """Whole passes of the roles, by steps; the refresh of Redis loses its session to Postgres on the way."""
    with closing(CounterSync(settings)) as sync:
        taken, read, cut = [], 0, False
        for seconds, result in steps(sync.refresh):
            taken.append(seconds)
            read += 0 if result is None else result.read
            if not cut and read:
                cut = end_sessions(settings, "live")
        found.add("live, all counters", seconds=sum(taken), steps=len(taken), longest_s=max(taken))
        if not read:
            raise NotFinished("the refresh of Redis read no counter")
    with closing(LimitSync(settings)) as limits:
        took = [seconds for seconds, _ in steps(limits.run_once)]
        found.add("live, limits of open counters", seconds=sum(took), steps=len(took), longest_s=max(took))
    with closing(QuotaMonitor(settings)) as quotas:
        took = [seconds for seconds, _ in steps(quotas.run_once)]
        found.add("quotas, first look", seconds=sum(took), steps=len(took), longest_s=max(took))


def end_sessions(settings: Settings, part: str) -> bool:
    """End the sessions of a part of Tidemark."""
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
    with postgres.connect(settings.postgres) as connection:
        return bool(connection.execute(query, [f"tidemark {part}"]).fetchall())


@contextmanager
def own_redis() -> Iterator[OwnRedis]:
    """A Redis that writes no log."""
    with tempfile.TemporaryDirectory() as folder:
        server = OwnRedis(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()


def run(world: World, customers: int, dead_letters: int) -> Found:
    """Fill an installation, and time each pass over it; the refresh of Redis is cut off once on the way."""
    found = Found()
    with own_redis() as server:
        settings = world.settings("large", **redis_at(server.url))
        world.prepare(settings)
        seconds, _ = timed(lambda: fill(settings, customers, dead_letters))
        world.say(f"  {customers} customers filled in {seconds:.0f} s")
        measure_close(found, settings)
        measure_list(found, settings)
        measure_passes(found, settings)
    return found
