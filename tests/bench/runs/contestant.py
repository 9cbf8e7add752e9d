"""Programs of others that turn the topic into rows: each with processes of its own, which are killed together."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from kafka.admin import NewTopic
from redis import Redis

from infra.redis_users import ADMIN
from jobs.flink.jdbc import jdbc_url
from tests.addresses import redis_as
from tests.bench import toolbox
from tests.bench.cpu import Sampler
from tests.bench.runs.rows import Rows, Target, tables, wait_stored, wal_position
from tests.bench.world import AT_REST_S, ROOT, Backlog, NotFinished, World, connected
from tidemark.core.kafka import clients
from tidemark.core.settings import load

# Keys of Redis that are removed at once.
SCANNED = 10_000


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


def environment(backlog: Backlog, run: str, work: Path) -> dict[str, str]:
    """What a contestant has to know."""
    settings = load()
    url, passfile = settings.postgres.url, str(settings.postgres.passfile)
    # A TaskManager has the password of the jobs alone.
    jdbc = jdbc_url(settings.postgres.writer.url, run)
    return {
        "CONTEST_BOOTSTRAP": settings.kafka.bootstrap, "CONTEST_TOPIC": backlog.topic, "CONTEST_GROUP": run,
        "CONTEST_POSTGRES": url, "PGPASSFILE": passfile, "CONTEST_JDBC": jdbc,
        "CONTEST_REDIS": redis_as(settings, ADMIN), "CONTEST_SCHEMA": run,
        "CONTEST_WORK": str(work), "CONTEST_EVENTS": str(backlog.events),
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
            forget(environment(backlog, run, work)["CONTEST_REDIS"], run)
        spent = sampler.spent(begin_s, end_s)
        wal = wal_position(connection) - before
    shutil.rmtree(work, ignore_errors=True)
    return Rows(begin_s, end_s, backlog.events, spent, wal)


def forget(redis_url: str, run: str) -> None:
    """Remove the keys of a run: later measures weigh the memory of the same Redis."""
    with Redis.from_url(redis_url) as client:
        keys = client.scan_iter(f"{run}:*", count=SCANNED)
        while some := list(islice(keys, SCANNED)):
            client.unlink(*some)


def _make_topic(topic: str) -> None:
    settings = load()
    with clients.admin(settings.kafka) as admin:
        admin.create_topics([NewTopic(topic, settings.topics.partitions, settings.topics.replication)])


def _first(work: Path, group: Group) -> float:
    deadline = time.monotonic() + AT_REST_S
    while time.monotonic() < deadline:
        text = (work / "first").read_text() if (work / "first").is_file() else ""
        if text:
            return float(text)
        if not group.alive():
            raise NotFinished("it ended before its first record")
        time.sleep(0.05)
    raise NotFinished(f"no record was consumed within {AT_REST_S:.0f} s")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    return f"its log ends: {lines[-1]}" if lines else "its log is empty"
