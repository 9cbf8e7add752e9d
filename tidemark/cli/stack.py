"""`tidemark up`, `down`, `clean`: the local stack."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.local import standby
from infra.local.addresses import kafka_admin
from infra.local.paths import SECURED_STATE_DIR, Paths
from infra.local.programs import DAEMONS
from infra.local.stack import Stack
from jobs.flink.rest import ENDED, FlinkRest
from jobs.flink.submit import ALL_JOBS, stop, submit_all
from tidemark.cli.output import Json, emit, one_line, progress, say
from tidemark.core import acls, migrate, topics
from tidemark.core.errors import TidemarkError, UnavailableError, UsageError
from tidemark.core.settings import (
    FILE_ENV,
    SECURE_ENV,
    HighAvailabilitySettings,
    Settings,
    check_environment,
    checked,
    load,
    section_of,
)

StateDir = Annotated[Path | None, typer.Option(help="Directory of the stack; default: .tidemark/local")]
Secure = Annotated[
    bool,
    typer.Option(
        "--secure", envvar=SECURE_ENV,
        help="Services with TLS, users and rights; a stack of its own in .tidemark/secured.",
    ),
]  # fmt: skip
FlinkMetrics = Annotated[
    bool,
    typer.Option(
        "--flink-metrics", help="Flink answers Prometheus on 9249 and on, on all interfaces, until `tidemark down`."
    ),
]


class Election(StrEnum):
    """Who elects the JobManager that leads."""

    NONE = "none"
    ZOOKEEPER = "zookeeper"
    KUBERNETES = "kubernetes"


Ha = Annotated[
    Election | None,
    typer.Option("--ha", help="Two JobManagers, one of which leads, by whose election; stays until another is named."),
]
Kubeconfig = Annotated[
    Path | None,
    typer.Option(envvar="KUBECONFIG", help="Credentials of the Kubernetes API of `--ha kubernetes`."),
]
_JOB_NAME = re.compile(rf"tidemark-({'|'.join(ALL_JOBS)})(?:-(.+))?")
# The end of a step shorter than this gets no line.
_WORTH_A_LINE_S = 1.0


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    app.command("up")(up)
    app.command("down")(down)
    app.command("clean")(clean)


class Steps:
    """Draws the steps of the stack on stderr: a spinner on a terminal, lines anywhere else."""

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Announce a step, and report how long it took."""
        started = time.monotonic()
        if progress.is_terminal:
            with progress.status(one_line(f"{text} …")):
                yield
        else:
            say(f"{text} …")
            yield
        took = time.monotonic() - started
        if took >= _WORTH_A_LINE_S:
            say(f"{text}: done in {took:.0f} s")


def stack_of(state_dir: Path | None = None, *, secure: bool = False) -> Stack:
    """Make the stack object of a state directory; it draws its progress."""
    check_environment()
    return Stack(Paths.of(state_dir or (SECURED_STATE_DIR if secure else None)), Steps())


def settings_of(stack: Stack) -> Settings:
    """Load the settings of this stack, for this process and those it starts."""
    os.environ[FILE_ENV] = str(stack.paths.settings)
    return load()


def bring_up(
    stack: Stack, added: Mapping[str, Any] | None = None, *, flink_metrics: bool = False, secure: bool = False
) -> Settings:
    """Start services, then give rights and make tables, then start what needs them: `tidemark serve`.

    `added` are settings by dotted name for the file of the stack.

    Raises
    ------
    UsageError
        The settings that are there are wrong: nothing was started.
    """
    if stack.paths.settings.is_file():
        settings_of(stack)
    if added:
        stack.add_settings(added)
    stack.open_http()
    stack.up(flink_metrics=flink_metrics, secure=secure)
    settings = settings_of(stack)
    if stack.paths.secured:
        with Steps().step("giving rights in Kafka"):
            acls.apply(settings.model_copy(update={"kafka": kafka_admin(stack.paths, settings.kafka)}))
    with Steps().step("migrating the database"):
        migrate.migrate(settings)
    for daemon in DAEMONS:
        stack.supervisor.start_program(daemon)
    return settings


def up(
    state_dir: StateDir = None,
    jobs: Annotated[
        bool, typer.Option("--jobs", help="Also create the topics, and submit `meter` and `rollup`.")
    ] = False,
    flink_metrics: FlinkMetrics = False,
    secure: Secure = False,
    ha: Ha = None,
    kubeconfig: Kubeconfig = None,
    as_json: Json = False,
) -> None:
    """Start Kafka, TimescaleDB, Redis and Flink, and create the tables; running services are left alone."""
    stack = stack_of(state_dir, secure=secure)
    added = None if ha is None else _election(stack, ha, kubeconfig)
    settings = bring_up(stack, added, flink_metrics=flink_metrics, secure=secure)
    if jobs:
        with Steps().step("creating topics, submitting meter and rollup"):
            _apply_topics(settings)
            submit_all(settings)
    text = (
        f"the stack is up\n  API       http://{settings.api.listen}\n  pages     http://{settings.web.listen}\n"
        f"  Flink UI  {settings.flink.rest_url}\n  Kafka     {settings.kafka.bootstrap}\n"
        f"  Postgres  PGPASSFILE={settings.postgres.passfile} psql {settings.postgres.url}\n"
        f"  Redis     {settings.redis.url}\n  settings  {stack.paths.settings}\n"
        "your first meter: tidemark quickstart; stop it: tidemark down"
    )
    emit({"services": [asdict(line) for line in stack.status()], "settings": str(stack.paths.settings)}, text,
         as_json=as_json)  # fmt: skip


def _election(stack: Stack, ha: Election, kubeconfig: Path | None) -> dict[str, str | None]:
    """Settings of a stack with that election; raises UsageError where the stack could not start with them."""
    file = kubeconfig if ha is Election.KUBERNETES else None
    if ha is Election.KUBERNETES and (file is None or not file.is_file()):
        raise UsageError(f"there is no file of credentials at {file}.", "name one by --kubeconfig.")
    changed = {"mode": ha.value, "kubeconfig": str(file.absolute()) if file else None}
    there = section_of(stack.paths.settings, "ha", HighAvailabilitySettings).model_dump(exclude_unset=True)
    checked("ha", there | changed, HighAvailabilitySettings, f"{stack.paths.settings}, with --ha {ha.value}")
    if file is not None:
        standby.kubeconfig(file)
    return {f"ha.{name}": value for name, value in changed.items()}


def _apply_topics(settings: Settings) -> None:
    """Create the topics that are missing, also beside a source topic into which history was loaded."""
    there = topics.exists(settings.kafka, settings.topics.events)
    topics.apply(settings, create_time=there and topics.has_create_time(settings.kafka, settings.topics.events))


def down(
    state_dir: StateDir = None,
    secure: Secure = False,
    force: Annotated[bool, typer.Option("--force", help="Do not wait for savepoints of the jobs.")] = False,
    as_json: Json = False,
) -> None:
    """Stop the jobs with savepoints and then all services; the data stays."""
    stack = stack_of(state_dir, secure=secure)
    stack.down(None if force else lambda: _stop_jobs(settings_of(stack)))
    emit({"state": "down"}, "the stack is down; its data stays (remove it: tidemark clean)", as_json=as_json)


def clean(state_dir: StateDir = None, secure: Secure = False, as_json: Json = False) -> None:
    """Stop everything and remove the stack's data; downloads stay in the cache."""
    stack = stack_of(state_dir, secure=secure)
    stack.clean()
    emit({"state": "clean"}, f"{stack.paths.root} was removed", as_json=as_json)


def _stop_jobs(settings: Settings) -> None:
    """Stop every job of Tidemark with a savepoint, including jobs of replays."""
    try:
        jobs = FlinkRest(settings.flink).jobs()
    except UnavailableError:
        return  # Flink is down, and no job can run without it
    for job in jobs:
        match = _JOB_NAME.fullmatch(job.name)
        if match is None or job.state in ENDED:
            continue
        with Steps().step(f"stopping {job.name} with a savepoint"):
            _stop_job(settings.with_changes({"run_id": match[2] or ""}), match[1])


def _stop_job(settings: Settings, job: str) -> None:
    try:
        stop(settings, job)
    except TidemarkError as error:
        raise TidemarkError(
            f"{settings.names.job(job)} could not be stopped with a savepoint: {error.what}",
            "wait until it runs, or `tidemark down --force`: it will continue from its last checkpoint.",
        ) from error
