"""From the topic to rows of minutes and periods in TimescaleDB: how it is timed and checked, and the two in Flink."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from infra.local.reap import marked
from jobs.flink import submit
from tests.bench.contestants import flink_sql
from tests.bench.cpu import OWN, Sampler
from tests.bench.report.results import Found
from tests.bench.runs.drain import first_consumed_s, task_times
from tests.bench.world import Backlog, NotEqual, NotFinished, World, connected, limit_s
from tidemark.core.settings import Settings

POLL_S = 0.5
# Longest time without a new row: a consumer group waits 45 s for members that were killed.
STALL_S = 90.0
_TABLES = """
CREATE SCHEMA {schema};
CREATE TABLE {schema}.minute (
    customer text, meter text, bucket timestamptz, n bigint NOT NULL, total numeric(38, 9) NOT NULL,
    PRIMARY KEY (customer, meter, bucket)
);
CREATE TABLE {schema}.period (LIKE {schema}.minute INCLUDING ALL);
GRANT USAGE ON SCHEMA {schema} TO tidemark_writer;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA {schema} TO tidemark_writer;
SELECT create_hypertable('{schema}.minute', by_range('bucket', INTERVAL '14 days'), create_default_indexes => false);
"""


@dataclass(frozen=True, slots=True)
class Target:
    """Where rows are: queries of (customer, meter, bucket, n, total) by grain."""

    queries: Mapping[str, str]

    @classmethod
    def of_contestant(cls, schema: str) -> Target:
        """Tables that the harness made."""
        return cls({grain: f"SELECT * FROM {schema}.{grain}" for grain in ("minute", "period")})

    @classmethod
    def of_ours(cls, settings: Settings) -> Target:
        """The tables of `rollup`."""
        schema = settings.names.usage_schema
        return cls(
            {
                "minute": f"SELECT customer_id, meter, minute_start, n, total FROM {schema}.usage_minute",
                "period": f"SELECT customer_id, meter, period_start, n, total FROM {schema}.usage_period",
            }
        )

    def counted(self, connection: psycopg.Connection) -> int:
        """Events in the rows of the grain that has fewest of them."""
        sums = [
            connection.execute(f"SELECT coalesce(sum(n), 0) FROM ({query}) AS rows".encode()).fetchall()[0][0]
            for query in self.queries.values()
        ]
        return int(min(sums))

    def check(self, world: World, connection: psycopg.Connection, backlog: Backlog) -> None:
        """Compare all rows with the oracle; raises NotEqual."""
        for grain, query in self.queries.items():
            file = world.folder / f"{grain}.csv"
            with (
                connection.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT csv)".encode()) as copy,
                file.open("wb") as out,
            ):
                for block in copy:
                    out.write(block)
            difference = backlog.truth.of_rows(grain, file).difference
            if difference:
                raise NotEqual(difference)


@dataclass(frozen=True, slots=True)
class Rows:
    """One run that equalled the oracle: epoch seconds, CPU seconds by program, WAL bytes.

    `written_s` is when our tables say that the last row was written; `end_s` when it was seen, as for everyone else.
    `settings` are those of a run of ours, whose tables and topics stay.
    """

    begin_s: float
    end_s: float
    events: int
    processes: dict[str, float]
    wal_bytes: int
    stored_rows: int = 0
    written_s: float = 0.0
    settings: Settings | None = None

    @property
    def events_per_s(self) -> float:
        """Rate from the first record consumed to the last row seen."""
        return self.events / (self.end_s - self.begin_s)

    @property
    def own_cpu_us(self) -> float:
        """CPU of its own processes."""
        return sum(spent for name, spent in self.processes.items() if name in OWN) / self.events * 1e6

    def add_to(self, found: Found, subject: str) -> None:
        """Its figures."""
        found.add(subject, events_per_s=self.events_per_s, own_cpu_us=self.own_cpu_us,
                  all_cpu_us=sum(self.processes.values()) / self.events * 1e6)  # fmt: skip


def wal_position(connection: psycopg.Connection) -> int:
    """Bytes of WAL since the database began."""
    return int(connection.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchall()[0][0])


def wait_stored(world: World, target: Target, backlog: Backlog, alive: Callable[[], bool]) -> float:
    """Wait until all is stored, and compare; when that was, epoch seconds.

    Raises
    ------
    NotEqual, NotFinished
        Too much was stored, or not enough within `limit_s`, or who stores it has ended.
    """
    deadline = time.monotonic() + limit_s(backlog.events)
    wanted, before, moved = backlog.truth.counted, 0, time.monotonic()
    with connected() as connection:
        while True:
            ended = not alive() or time.monotonic() - moved > STALL_S
            counted, now = target.counted(connection), time.time()
            if counted != before:
                before, moved = counted, time.monotonic()
            if counted >= wanted:
                target.check(world, connection, backlog)
                return now
            if ended or time.monotonic() > deadline:
                raise NotFinished(
                    f"{counted} of {wanted} events were stored"
                    + (f" when it had ended, or nothing for {STALL_S:.0f} s" if ended else "")
                )
            time.sleep(POLL_S)


def ours(
    world: World, backlog: Backlog, *, kill_after_s: float | None = None, changes: Mapping[str, object] = {}
) -> Rows:
    """Both jobs, with changes of their settings, from nothing to the last row; `rollup` waits for its first delta."""
    settings = world.settings("rows", **{"topics.events": backlog.topic, **changes})
    world.prepare(settings)
    with connected() as connection:
        before = wal_position(connection)
    sampler = Sampler(world.root)
    sampler.start()
    try:
        rollup = submit.submit(settings, "rollup").job_id
        world.rest().wait_running(rollup)
        meter = submit.submit(settings, "meter").job_id
        killed_s = _kill_taskmanager(world, meter, kill_after_s)
        end_s = wait_stored(world, Target.of_ours(settings), backlog, lambda: True)
        begin_s = killed_s or first_consumed_s(task_times(world.rest(), meter))
    finally:
        sampler.end()
        world.cancel(settings)
    with connected() as connection:
        wal, stored = wal_position(connection) - before, stored_rows(connection, settings)
        written_s = last_written_s(connection, settings)
    return Rows(begin_s, end_s, backlog.events, sampler.spent(begin_s, end_s), wal, stored, written_s, settings)


def last_written_s(connection: psycopg.Connection, settings: Settings) -> float:
    """When the last row of minutes and periods was written, epoch seconds."""
    schema = settings.names.usage_schema
    times = [
        connection.execute(
            f"SELECT extract(epoch FROM max(updated_at)) FROM {schema}.usage_{grain}".encode()
        ).fetchall()
        for grain in ("minute", "period")
    ]
    return max(float(rows[0][0]) for rows in times)


def stored_rows(connection: psycopg.Connection, settings: Settings) -> int:
    """Rows of minutes, hours, days and periods."""
    schema = settings.names.usage_schema
    counts = [
        connection.execute(f"SELECT count(*) FROM {schema}.usage_{grain}".encode()).fetchall()[0][0]
        for grain in ("minute", "hour", "day", "period")
    ]
    return int(sum(counts))


def _kill_taskmanager(world: World, job_id: str, after_s: float | None) -> float | None:
    if after_s is None:
        return None
    world.rest().wait_running(job_id)
    time.sleep(after_s)
    for pid in marked(world.root, "taskmanager"):
        os.kill(pid, signal.SIGKILL)
    return time.time()


@contextmanager
def tables(schema: str) -> Iterator[None]:
    """Tables of a contestant; dropped at the end."""
    with connected() as connection:
        connection.execute(_TABLES.format(schema=schema).encode())
        try:
            yield
        finally:
            connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())


def plain(world: World, backlog: Backlog, *, kill_after_s: float | None = None) -> Rows:
    """Plain Flink SQL, the same way."""
    settings = world.settings("plain", **{"topics.events": backlog.topic})
    schema = f"contest_{settings.run_id}"
    script = Path(flink_sql.__file__).with_name("rows.py")
    with tables(schema), connected() as connection:
        before = wal_position(connection)
        sampler = Sampler(world.root)
        sampler.start()
        try:
            job = world.flink_run(settings, script, ["--run-id", settings.run_id, "--schema", schema])
            killed_s = _kill_taskmanager(world, job, kill_after_s)
            end_s = wait_stored(world, Target.of_contestant(schema), backlog, lambda: True)
            begin_s = killed_s or first_consumed_s(task_times(world.rest(), job))
        finally:
            sampler.end()
            world.cancel(settings)
        return Rows(begin_s, end_s, backlog.events, sampler.spent(begin_s, end_s), wal_position(connection) - before)


Runner = Callable[..., Rows]
