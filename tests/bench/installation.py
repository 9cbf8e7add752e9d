"""A large installation: what the roles `close`, `live` and `quotas` take for a pass, and `dlq list` for its answer.

    .venv/bin/python -m tests.bench.installation --customers 1000000 --dead-letters 1000000

A stack of its own, without jobs. Every customer has two counters of the running month and a closed month before it, so
that nothing is due. Prints a JSON line for each measurement; no statement or step may grow with the installation.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.bench.stack import bench_stack
from tests.integration.storage import OwnRedis
from tidemark.archive.source import reading
from tidemark.billing import close as billing_close
from tidemark.billing.dead_letter_list import listed
from tidemark.core import migrate, postgres, topics
from tidemark.core.errors import UnavailableError
from tidemark.core.settings import Settings, load
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


def report(what: str, **figures: float) -> None:
    """One JSON line."""
    line = {name: round(value, 2) for name, value in figures.items()}
    sys.stdout.write(json.dumps({"measured": what, **line}) + "\n")
    sys.stdout.flush()


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a call takes, and its result."""
    begin = time.perf_counter()
    result = call()
    return time.perf_counter() - begin, result


def measure_close(settings: Settings) -> None:
    """The first poll, which makes the index, the second, which finds that nothing is due, and those after it."""
    for what in ("close, first poll: index made", "close, second poll"):
        seconds, _ = timed(lambda: billing_close.close(settings, "bench"))
        report(what, seconds=seconds)
    took = [timed(lambda: billing_close.close(settings, "bench"))[0] for _ in range(POLLS)]
    report("close, nothing due", least_s=min(took), most_s=max(took))


def measure_list(settings: Settings) -> None:
    """What `dlq list` asks, of all and of one customer."""
    report("dlq list", seconds=timed(lambda: listed(settings, 0))[0])
    one = {"tenant": "bench", "customer": "customer-0000001"}
    report("dlq list of a customer", seconds=timed(lambda: listed(settings, 0, **one))[0])


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


def measure_passes(settings: Settings) -> None:
    """Whole passes of the roles, by steps; the refresh of Redis loses its session to Postgres on the way."""
    with closing(CounterSync(settings)) as sync:
        taken, read, cut = [], 0, False
        for seconds, result in steps(sync.refresh):
            taken.append(seconds)
            read += 0 if result is None else result.read
            if not cut and read:
                cut = end_sessions(settings, "live")
        report("live, all counters", seconds=sum(taken), steps=len(taken), longest_s=max(taken), counters=read,
               failed_steps=taken.count(0.0))  # fmt: skip
    with closing(LimitSync(settings)) as limits:
        took = [seconds for seconds, _ in steps(limits.run_once)]
        report("live, limits of open counters", seconds=sum(took), steps=len(took), longest_s=max(took))
    with closing(QuotaMonitor(settings)) as quotas:
        took = [seconds for seconds, _ in steps(quotas.run_once)]
        report("quotas, first look", seconds=sum(took), steps=len(took), longest_s=max(took))


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


def main(argv: Sequence[str] | None = None) -> None:
    """Fill an installation and print what each pass over it takes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--dead-letters", type=int, default=1_000_000)
    arguments = parser.parse_args(argv)
    with bench_stack(), own_redis() as server:
        settings = load().with_changes({"redis.url": server.url, "redis.password": None})
        topics.apply(settings)
        migrate.migrate(settings)
        seconds, _ = timed(lambda: fill(settings, arguments.customers, arguments.dead_letters))
        report("filled", seconds=seconds, customers=arguments.customers, dead_letters=arguments.dead_letters)
        measure_close(settings)
        measure_list(settings)
        measure_passes(settings)


if __name__ == "__main__":
    main()
