"""The stack that the integration and chaos tiers share: started once a run on free ports, always stopped.

Workers of pytest-xdist share it too: each has a database of its own, so that what one file does to the catalog is not
another's, and what else there is (topics, keys, jobs) is apart by run id.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from hypothesis import settings as hypothesis_settings

from infra.local.paths import Paths, locked, write_private
from infra.local.ports import read_ports
from infra.local.prepare import connect_admin
from infra.local.stack import Stack
from infra.service_settings import ROLE
from jobs.flink import submit
from tests.integration.catalog.own_database import own_database
from tests.object_store import ObjectStore
from tests.warm_client import WarmClient
from tidemark.core.settings import FILE_ENV, Settings, flat, load, nested

# Logs and data of the last run stay here, to be looked into after a failure; the next run begins with none. A second
# run at the same time needs a folder of its own.
STATE_DIR = Path(os.environ.get("TIDEMARK_TEST_STATE") or Path(__file__).parents[1] / ".tidemark" / "test").absolute()
# Says which test run started the stack; beside the folder, which is removed at the begin of a run.
STARTED_BY = STATE_DIR.with_name(f".{STATE_DIR.name}.run")
# Held by those who use the stack, and by one alone who disturbs it.
SERVICES_LOCK = STATE_DIR.with_name(f".{STATE_DIR.name}.services.lock")
FLINK_RUN = submit.flink_run
# Environment of all processes of a test run.
RUN_ENV, WORKER_ENV = "TIDEMARK_TEST_RUN", "PYTEST_XDIST_WORKER"
# What decides whether a change lands tries the same examples each time; `make fuzz` looks for new ones.
hypothesis_settings.register_profile("gate", derandomize=True, max_examples=40, deadline=None)
hypothesis_settings.register_profile("fuzz", derandomize=False, max_examples=1_000, deadline=None)
hypothesis_settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))


@dataclass(frozen=True)
class RunningStack:
    """Real services; `settings` reach them, `local` stops and starts them."""

    local: Stack
    settings: Settings


def pytest_configure(config: pytest.Config) -> None:
    # Jobs of tests live for seconds: the second compiler takes a third of the machine for them, and never pays.
    os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")
    if not hasattr(config, "workerinput"):
        os.environ[RUN_ENV] = uuid.uuid4().hex


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start jobs take minutes, so they run first.

    Those that kill what jobs run on follow: while they wait for the jobs of others, files without jobs go on.
    """
    items.sort(key=lambda item: 1 if _folder(item) == "chaos" else 0 if starts_jobs(item) else 2)


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(Path(__file__).parent).parts[0]


def starts_jobs(item: Any) -> bool:
    """Whether a test, or all of a file, runs on Flink."""
    module = getattr(item, "module", None)
    return any(hasattr(module, name) for name in ("pipeline", "anomaly_run", "Pipeline", "submit_all"))


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the stack with the process that began the run: all of its workers have ended."""
    if not hasattr(config, "workerinput") and _is_ours():
        Stack(Paths.of(STATE_DIR)).down()
        ObjectStore(STATE_DIR).stop()
        STARTED_BY.unlink()


def _is_ours() -> bool:
    return STARTED_BY.is_file() and STARTED_BY.read_text() == os.environ[RUN_ENV]


def _shared_stack() -> Stack:
    """The stack of this test run, started by the first of its workers that needs it."""
    local = Stack(Paths.of(STATE_DIR))
    with locked(STARTED_BY.with_suffix(".run.lock"), wait=True, what="the stack of the tests"):
        if not _is_ours():
            ObjectStore(STATE_DIR).stop()
            local.clean()
            STARTED_BY.write_text(os.environ[RUN_ENV])
            # First the folder, which has to be empty, then what others write into it.
            local.add_settings({})
            local.add_settings(ObjectStore(STATE_DIR).start())
            local.up()
            _let_look(local)
    return local


def _let_look(local: Stack) -> None:
    """Tests see the sessions of the roles, and end some of them."""
    ports = read_ports(local.paths.ports)
    assert ports is not None
    with connect_admin(local.paths, ports["postgres"]) as admin:
        admin.execute(f"GRANT pg_monitor, pg_signal_backend TO {ROLE}".encode())


@contextmanager
def _settings_from(file: Path) -> Iterator[Settings]:
    """Settings of a file, for this process and those it starts; those of before are back at the end."""
    # All of it: to load settings names their password file in the environment too.
    with patch.dict(os.environ, {FILE_ENV: str(file)}):
        yield load()


@pytest.fixture(scope="session")
def stack() -> Iterator[RunningStack]:
    """Kafka, TimescaleDB, Redis and a Flink cluster of this test run alone."""
    local = _shared_stack()
    worker = os.environ.get(WORKER_ENV)
    with _settings_from(local.paths.settings) as settings:
        shared = RunningStack(local, settings)
        with own_database(shared, worker) if worker else nullcontext(settings) as own:
            file = local.paths.root / f"settings-{worker or 'main'}.yaml"
            content = yaml.safe_load(local.paths.settings.read_text())
            # A fixed port is shared by all stacks of a machine.
            addresses = own.postgres.model_dump(mode="json", exclude={"passfile"})
            changes = {**{f"postgres.{key}": url for key, url in addresses.items()}, "serve.listen": "127.0.0.1:0"}
            write_private(file, yaml.safe_dump(nested(flat(content) | changes)))
            with _settings_from(file) as loaded:
                yield RunningStack(local, loaded)


@pytest.fixture(scope="session")
def warm_client() -> Iterator[WarmClient]:
    """The Flink client of this process."""
    client = WarmClient(STATE_DIR / "logs" / f"client-{os.environ.get(WORKER_ENV, 'main')}.log")
    yield client
    client.close()


@pytest.fixture(scope="session")
def submitted_warm(warm_client: WarmClient) -> Iterator[None]:
    """Submit jobs by the client that stays."""
    with patch.object(submit, "flink_run", warm_client.flink_run):
        yield


@contextmanager
def by_flink_run() -> Iterator[None]:
    """Submit jobs as the product does, by `flink run`."""
    with patch.object(submit, "flink_run", FLINK_RUN):
        yield


@contextmanager
def holding_stack(*, alone: bool) -> Iterator[None]:
    """Use the stack beside the other workers, or alone, to disturb it."""
    SERVICES_LOCK.parent.mkdir(parents=True, exist_ok=True)
    with SERVICES_LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
