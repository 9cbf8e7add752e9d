"""What measures share: a stack of its own, backlogs that are sent once, runs with names of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from unittest.mock import patch

import psycopg
import yaml
from kafka.admin import NewTopic
from kafka.errors import TopicAlreadyExistsError

from infra.local.paths import Paths, locked
from infra.local.stack import Stack
from jobs.flink import submit
from jobs.flink.rest import FlinkRest, wait_until
from tests.bench import events, truth
from tests.bench.pace import CAP, METER, Stage
from tests.warm_client import WarmClient
from tidemark.catalog import tool as catalog_tool
from tidemark.core import migrate, topics
from tidemark.core.kafka import clients
from tidemark.core.settings import FILE_ENV, Settings, load

# A second session at the same time needs a folder of its own.
STATE_DIR = Path(os.environ.get("BENCH_STATE") or ".tidemark/bench")
ROOT = Path(__file__).parents[2]
ENDS_WITHIN_S = 60
# A run has not finished when this and its events at a rate nobody should be below have passed.
AT_REST_S, LEAST_PER_S = 240.0, 5_000
# Starts a client for each job; the harness has one that stays.
FLINK_RUN = submit.flink_run


@dataclass(frozen=True, slots=True)
class Backlog:
    """Events in a topic, and what has to come out."""

    topic: str
    truth: truth.Truth

    @property
    def events(self) -> int:
        """All of them, copies and bad ones too."""
        return self.truth.events


def limit_s(events: int) -> float:
    """Longest time that so many events may take."""
    return AT_REST_S + events / LEAST_PER_S


class NotEqual(Exception):  # noqa: N818 - an outcome, not a fault of the harness
    """What came out is not what the oracle says."""


class NotFinished(Exception):  # noqa: N818 - as above
    """The work was not done within its time."""


class Client(WarmClient):
    """A Flink client that stays, for jobs of the product and for those of contestants."""

    def flink_run(self, settings: Settings, script: Path, arguments: Sequence[str], restore: str = "") -> str:
        """Submit a job; a contestant's has the name that the `meter` of its run would have."""
        named_as = submit.JOBS[0] if script.parent.name == "flink_sql" else ""
        return super().flink_run(settings, script, arguments, restore, named_as)


@dataclass
class World:
    """A running stack and what was made on it.

    Parameters
    ----------
    stack:
        The stack.
    quick:
        Whether measures take their small sizes.
    small:
        Whether they take the smallest: to try the harness.
    most_rounds:
        Most runs of each subject; 0: as many as the session has.
    """

    stack: Stack
    quick: bool
    small: bool = False
    most_rounds: int = 0
    _files: dict[tuple[Any, ...], tuple[Path, int]] = field(default_factory=dict)
    _backlogs: dict[tuple[Any, ...], Backlog] = field(default_factory=dict)
    number: int = 0

    @property
    def root(self) -> Path:
        """State directory of the stack, which marks its processes."""
        return self.stack.paths.root

    @property
    def folder(self) -> Path:
        """Files of events and dumps; removed with the stack."""
        made = self.root / "bench"
        made.mkdir(exist_ok=True)
        return made

    def sized(self, quick: int, full: int) -> int:
        """The size that fits the session."""
        return max(1, quick // 20) if self.small else quick if self.quick else full

    def rounds(self, quick: int, full: int) -> int:
        """How often A and B are run in turn."""
        asked = 1 if self.small else quick if self.quick else full
        return min(asked, self.most_rounds) if self.most_rounds else asked

    def say(self, text: str) -> None:
        """A line of progress."""
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        sys.stderr.flush()

    def rest(self) -> FlinkRest:
        """Flink's REST interface."""
        return FlinkRest(load().flink)

    def settings(self, name: str, **changes: Any) -> Settings:
        """Settings of a run with a name of its own."""
        self.number += 1
        return load(run_id=f"{name}_{self.number}", **changes)

    def backlog(self, made_of: events.Load, *, round_robin: bool = False, days_ago: int = 0) -> Backlog:
        """Events in a topic of their own; made once. Those of some days ago arrived then."""
        key = (made_of, round_robin, days_ago)
        if key not in self._backlogs:
            file, end_ms = self._file(made_of, days_ago)
            settings = load(**{"topics.events": f"bench.backlog.{len(self._backlogs)}"})
            self.say(f"sending {made_of.count} events to {settings.topics.events}")
            topics.apply(settings, create_time=bool(days_ago))
            how = [*(["--round-robin"] if round_robin else []), *(["--arrival-ms", str(end_ms)] if days_ago else [])]
            self.send(settings, "file", str(file), *how)
            self._backlogs[key] = Backlog(settings.topics.events, truth.recompute(file, end_ms))
        return self._backlogs[key]

    def _file(self, made_of: events.Load, days_ago: int) -> tuple[Path, int]:
        key = (made_of, days_ago)
        if key not in self._files:
            end_ms = int(time.time() * 1_000) - days_ago * 86_400_000
            file = self.folder / f"events-{len(self._files)}.tsv"
            events.write(made_of, end_ms, file)
            self._files[key] = file, end_ms
        return self._files[key]

    def send(self, settings: Settings, *arguments: str) -> None:
        """Send events with the load generator, to the end."""
        process = self.sending(settings, *arguments)
        if process.wait():
            raise RuntimeError(f"the load generator ended with {process.returncode}")

    def sending(self, settings: Settings, *arguments: str) -> subprocess.Popen[bytes]:
        """The load generator at work."""
        return self.tool("send", settings, settings.topics.events, "--partitions", str(settings.topics.partitions),
                         *arguments)  # fmt: skip

    def tool(self, name: str, settings: Settings, topic: str, *arguments: str) -> subprocess.Popen[bytes]:
        """The load generator or a reader: in C, so that it takes little of the machine that is measured."""
        command = [sys.executable, "-m", f"tests.bench.tools.{name}", "--bootstrap",
                   settings.kafka.bootstrap, "--topic", topic, *arguments]  # fmt: skip
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)

    def prepare(self, settings: Settings) -> None:
        """Topics and tables of a run; its deltas are stamped by the broker, so that they say when they were written."""
        deltas = NewTopic(
            settings.names.deltas, settings.topics.partitions, settings.topics.replication,
            topic_configs={"message.timestamp.type": "LogAppendTime"},
        )  # fmt: skip
        with clients.admin(settings.kafka) as admin, suppress(TopicAlreadyExistsError):
            admin.create_topics([deltas])
        created = topics.exists(settings.kafka, settings.topics.events)
        topics.apply(settings, create_time=created and topics.has_create_time(settings.kafka, settings.topics.events))
        migrate.migrate(settings)

    def flink_run(self, settings: Settings, script: Path, arguments: list[str]) -> str:
        """Submit a job that is no job of the product, but has the name of its run's `meter`."""
        return submit.flink_run(settings, script, arguments)

    def cancel(self, settings: Settings) -> None:
        """End the jobs of a run."""
        rest = self.rest()
        names = [settings.names.job(job) for job in submit.ALL_JOBS]
        for job in [found for name in names if (found := rest.active(name))]:
            rest.cancel(job.id)
        wait_until(lambda: not any(map(rest.active, names)), ENDS_WITHIN_S, f"{names} to end")

    def fresh_taskmanager(self) -> None:
        """A TaskManager that has compiled nothing."""
        self.stack.supervisor.restart_program("taskmanager")
        rest = self.rest()
        wait_until(lambda: rest.overview()["slots-available"] > 0, ENDS_WITHIN_S, "a fresh TaskManager")


def connected() -> psycopg.Connection:
    """A connection to Postgres of the running stack; each statement is a transaction."""
    postgres = load().postgres
    return psycopg.connect(postgres.url, passfile=str(postgres.passfile), autocommit=True)


def stages(stages: tuple[Stage, ...]) -> list[str]:
    """Stages as the load generator takes them."""
    return ["--stages", *(f"{stage.rate}x{stage.seconds}" for stage in stages)]


def catalog(*, caps: bool) -> Mapping[str, Any]:
    """A tenant with a meter of each event type's sum; `caps`: each customer has a hard cap."""
    meters = {name: {"event_types": [name], "aggregation": "sum", "unit": "unit"} for name in events.TYPES}
    limits = {METER: {"cap": CAP, "mode": "hard", "thresholds": []}} if caps else {}
    return {"tenants": {events.TENANT: {"meters": meters, "limits": limits}}}


def apply_catalog(settings: Settings, *, caps: bool = False) -> None:
    """Make the catalog that of the benchmark."""
    with NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({"valid_from": "beginning", **catalog(caps=caps)}, file)
        file.flush()
        catalog_tool.apply(settings, Path(file.name), backdate=True, prune=True, all_tenants=True)


@contextmanager
def running(*, quick: bool, small: bool = False, most_rounds: int = 0) -> Iterator[World]:
    """A stack that nothing else runs on; stopped at the end, its data removed.

    Raises
    ------
    UnavailableError
        Another session uses the folder.
    """
    with locked(STATE_DIR.with_name(f".{STATE_DIR.name}.session"), wait=False, what=f"a benchmark in {STATE_DIR}"):
        yield from _running(quick=quick, small=small, most_rounds=most_rounds)


def _running(*, quick: bool, small: bool, most_rounds: int) -> Iterator[World]:
    stack = Stack(Paths.of(STATE_DIR))
    stack.clean()
    client = Client(STATE_DIR.with_name(f"{STATE_DIR.name}-client.log"))
    try:
        stack.up()
        # All of the environment is put back: to load settings names their password file in it too.
        with (
            patch.dict(os.environ, {FILE_ENV: str(stack.paths.settings)}),
            patch.object(submit, "flink_run", client.flink_run),
        ):
            migrate.migrate(load())
            apply_catalog(load())
            yield World(stack, quick, small, most_rounds)
    finally:
        client.close()
        stack.clean()
