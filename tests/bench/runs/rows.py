"""From the topic to rows of minutes and periods in TimescaleDB: `meter` and `rollup`, and every contestant."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from kafka.admin import NewTopic

from infra.local.reap import marked
from jobs.flink import submit
from jobs.flink.jdbc import jdbc_url
from tests.bench import toolbox
from tests.bench.contestants import flink_sql
from tests.bench.cpu import OWN, Sampler
from tests.bench.measures import OURS, PLAIN
from tests.bench.report.results import Found
from tests.bench.runs.drain import first_consumed_s, task_times
from tests.bench.world import ROOT, Backlog, NotEqual, NotFinished, World, connected
from tidemark.core.kafka import clients
from tidemark.core.settings import Settings, load

POLL_S = 0.5
LIMIT_S = 240.0
# A kill comes when this share of the time of an undisturbed run has passed.
KILL_AT = 0.4
_TABLES = """
CREATE SCHEMA {schema};
CREATE TABLE {schema}.minute (
    customer text, meter text, bucket timestamptz, n bigint NOT NULL, total numeric(38, 9) NOT NULL,
    PRIMARY KEY (customer, meter, bucket)
);
CREATE TABLE {schema}.period (LIKE {schema}.minute INCLUDING ALL);
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
    """One run that equalled the oracle: epoch seconds, CPU seconds by program, WAL bytes."""

    begin_s: float
    end_s: float
    events: int
    processes: dict[str, float]
    wal_bytes: int
    stored_rows: int = 0

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
        Too much was stored, or not enough within LIMIT_S, or who stores it has ended.
    """
    deadline = time.monotonic() + LIMIT_S
    wanted = backlog.truth.counted
    with connected() as connection:
        while True:
            ended = not alive()
            counted, now = target.counted(connection), time.time()
            if counted >= wanted:
                target.check(world, connection, backlog)
                return now
            if ended or time.monotonic() > deadline:
                raise NotFinished(f"{counted} of {wanted} events were stored" + (" before it ended" if ended else ""))
            time.sleep(POLL_S)


def ours(world: World, backlog: Backlog, *, kill_after_s: float | None = None) -> Rows:
    """Both jobs, from nothing to the last row; `rollup` waits for its first delta."""
    settings = world.settings("rows", **{"topics.events": backlog.topic})
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
    return Rows(begin_s, end_s, backlog.events, sampler.spent(begin_s, end_s), wal, stored)


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


@dataclass(frozen=True, slots=True)
class Contestant:
    """A program that turns the topic into rows.

    Parameters
    ----------
    name, title:
        Its folder, and what it is called in tables.
    command:
        Its arguments after the interpreter.
    processes:
        How many of it run at once.
    """

    name: str
    title: str
    command: Callable[[Path], Sequence[str]]
    processes: int = 1


def module(name: str) -> Callable[[Path], Sequence[str]]:
    """A Python module in the contestant's own environment."""
    return lambda _: [str(toolbox.python(name)), "-m", f"tests.bench.contestants.{name}.run"]


def bytewax(work: Path) -> Sequence[str]:
    """Two workers, with a recovery store made before the first start."""
    python, store = str(toolbox.python("bytewax")), work / "recovery"
    if not store.is_dir():
        store.mkdir()
        toolbox.run([python, "-m", "bytewax.recovery", str(store), "2"])
    return [python, "-m", "bytewax.run", "tests.bench.contestants.bytewax.flow:flow", "-w", "2", "-r", str(store),
            "-s", "5", "-b", "0"]  # fmt: skip


def kafka_streams(_: Path) -> Sequence[str]:
    """A JVM with two stream threads."""
    built = toolbox.jars("kafka_streams")
    return ["java", "-Xmx1g", "-cp", f"{built}/classes:{built}/lib/*", "Contestant"]


CONTESTANTS = (
    Contestant("duckdb_batch", "DuckDB, batch", module("duckdb_batch")),
    Contestant("lago_shape", "events table (Lago's shape)", module("lago_shape")),
    Contestant("bytewax", "bytewax", bytewax),
    Contestant("openmeter_shape", "SET NX + insert (OpenMeter's shape)", module("openmeter_shape"), processes=2),
    Contestant("kafka_streams", "Kafka Streams", kafka_streams),
    Contestant("quixstreams", "quixstreams", module("quixstreams"), processes=2),
)


class Group:
    """The processes of a contestant, which are killed together."""

    def __init__(self, contestant: Contestant, environment: Mapping[str, str], log: Path) -> None:
        self._contestant, self._environment, self._log = contestant, environment, log
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start all of them."""
        for number in range(self._contestant.processes):
            environment = {**os.environ, **self._environment, "CONTEST_PROCESS": str(number)}
            command = self._contestant.command(Path(self._environment["CONTEST_WORK"]))
            with self._log.open("ab") as log:
                self._running.append(
                    subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
                )

    def alive(self) -> bool:
        """Whether any runs."""
        return any(process.poll() is None for process in self._running)

    def kill(self) -> None:
        """End all of them at once, and their children."""
        for process in self._running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._running = []


@contextmanager
def tables(schema: str) -> Iterator[None]:
    """Tables of a contestant; dropped at the end."""
    with connected() as connection:
        connection.execute(_TABLES.format(schema=schema).encode())
        try:
            yield
        finally:
            connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())


def environment(backlog: Backlog, run: str, work: Path) -> dict[str, str]:
    """What a contestant has to know."""
    settings = load()
    url, passfile = settings.postgres.url, str(settings.postgres.passfile)
    jdbc = jdbc_url(url, run)
    return {
        "CONTEST_BOOTSTRAP": settings.kafka.bootstrap, "CONTEST_TOPIC": backlog.topic, "CONTEST_GROUP": run,
        "CONTEST_POSTGRES": url, "PGPASSFILE": passfile, "CONTEST_JDBC": jdbc, "CONTEST_REDIS": settings.redis.url,
        "CONTEST_SCHEMA": run, "CONTEST_WORK": str(work), "CONTEST_EVENTS": str(backlog.events),
        "CONTEST_FILE": str(backlog.truth.file), "CONTEST_END_MS": str(backlog.truth.end_ms),
        "CONTEST_OUTPUT": f"{run}.totals", "PYTHONPATH": str(ROOT),
    }  # fmt: skip


def contest(world: World, contestant: Contestant, backlog: Backlog, *, kill_after_s: float | None = None) -> Rows:
    """One contestant from nothing to the last row; with a kill after some seconds, timed from then."""
    world.number += 1
    run = f"contest_{contestant.name}_{world.number}"
    work = (world.folder / run).absolute()
    work.mkdir()
    with tables(run), connected() as connection:
        before = wal_position(connection)
        _make_topic(f"{run}.totals")
        group = Group(contestant, environment(backlog, run, work), work / "log")
        sampler = Sampler(world.root, os.getpid())
        sampler.start()
        try:
            group.start()
            begin_s = _first(work, group)
            if kill_after_s is not None:
                time.sleep(max(0.0, begin_s + kill_after_s - time.time()))
                group.kill()
                begin_s = time.time()
                group.start()
            end_s = wait_stored(world, Target.of_contestant(run), backlog, group.alive)
        except NotFinished as error:
            raise NotFinished(f"{error}; {_last_line(work / 'log')}") from error
        finally:
            sampler.end()
            group.kill()
        spent = sampler.spent(begin_s, end_s)
        wal = wal_position(connection) - before
    shutil.rmtree(work, ignore_errors=True)
    return Rows(begin_s, end_s, backlog.events, spent, wal)


def _make_topic(topic: str) -> None:
    settings = load()
    with clients.admin(settings.kafka) as admin:
        admin.create_topics([NewTopic(topic, settings.topics.partitions, settings.topics.replication)])


def _first(work: Path, group: Group) -> float:
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        text = (work / "first").read_text() if (work / "first").is_file() else ""
        if text:
            return float(text)
        if not group.alive():
            raise NotFinished("it ended before its first record")
        time.sleep(0.05)
    raise NotFinished(f"no record was consumed within {LIMIT_S:.0f} s")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    return f"its log ends: {lines[-1]}" if lines else "its log is empty"


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


def runners() -> dict[str, Runner]:
    """Every contestant and ours by title, in the order they run."""
    named: dict[str, Runner] = {OURS: ours, PLAIN: plain}
    for contestant in CONTESTANTS:
        named[contestant.title] = lambda world, backlog, contestant=contestant, **how: contest(
            world, contestant, backlog, **how
        )
    return named


def compare(world: World, backlog: Backlog, rounds: int, *, kill: bool) -> dict[str, Found]:
    """All in turn, `rounds` times; then each once with a kill. Who fails is reported and left out, the rest go on."""
    found, killed, faults = Found(), Found(), {}
    seconds: dict[str, float] = {}
    for _ in range(rounds):
        ours_rate = 0.0
        for title, runner in runners().items():
            if title in faults:
                continue
            outcome = _attempt(world, title, lambda runner=runner: runner(world, backlog))
            if isinstance(outcome, str):
                faults[title] = outcome
                continue
            outcome.add_to(found, title)
            seconds[title] = outcome.end_s - outcome.begin_s
            if title == OURS:
                ours_rate = outcome.events_per_s
                add_storage(found, outcome)
            elif ours_rate:
                found.add(f"{OURS} to {title}", ratio=ours_rate / outcome.events_per_s)
    found.detail = " ".join(f"{title}: {fault}." for title, fault in faults.items())
    if kill:
        _after_kills(world, backlog, seconds, killed)
    return {"contest": found, "contest_kill": killed}


def warm_up(world: World, backlog: Backlog) -> None:
    """Let the TaskManager compile what both Flink contestants run: the others begin as processes of their own."""
    if not world.small:
        for title in (OURS, PLAIN):
            _attempt(world, f"{title}, warm-up", lambda title=title: runners()[title](world, backlog))  # type: ignore[misc]


def add_storage(found: Found, outcome: Rows) -> None:
    """What our rows cost Postgres."""
    found.add(f"{OURS}, storage", wal_bytes=outcome.wal_bytes / outcome.events,
              rows_per_event=outcome.stored_rows / outcome.events)  # fmt: skip


def _after_kills(world: World, backlog: Backlog, seconds: Mapping[str, float], killed: Found) -> None:
    faults = []
    for title, runner in runners().items():
        if title not in seconds:
            continue
        wait_s = seconds[title] * KILL_AT
        outcome = _attempt(
            world, f"{title}, killed", lambda runner=runner, wait_s=wait_s: runner(world, backlog, kill_after_s=wait_s)
        )
        if isinstance(outcome, str):
            faults.append(f"{title}: {outcome}.")
        else:
            killed.add(title, after_kill_s=outcome.end_s - outcome.begin_s)
    killed.detail = " ".join(faults)


def _attempt(world: World, title: str, run: Callable[[], Rows]) -> Rows | str:
    try:
        outcome = run()
    except NotEqual as error:
        fault = f"**not equal** ({error})"
    except NotFinished as error:
        fault = f"**did not finish** ({error})"
    except Exception as error:  # noqa: BLE001 - one that cannot be run must not take the others with it
        fault = f"**failed** ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
    else:
        world.say(f"  {title}: {outcome.events_per_s:,.0f} events/s, {outcome.own_cpu_us:.1f} us of own CPU an event")
        return outcome
    world.say(f"  {title}: {fault}")
    return fault
