"""The secured stack counts the flights exactly; a scan finds no open door, and secrets only where they are kept."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
import requests
import yaml
from kafka import KafkaConsumer
from kafka.errors import KafkaError

from infra.local import exposure, prepare
from infra.local.account import Account, tree
from infra.local.addresses import sections
from infra.local.listening import listeners
from infra.local.paths import Paths
from infra.local.ports import read_ports
from infra.local.programs import SERVICES
from infra.local.reap import marked
from infra.local.stack import Stack
from jobs.flink.rest import FlinkRest
from tidemark.core.settings import FILE_ENV, Settings

STATE_DIR = Path(__file__).parents[2] / ".tidemark" / "secured-test"
ENDS_WITHIN_S = 1_500
# Configuration that holds a secret, for its program alone.
KEEPERS = re.compile(
    r"pgpass|redis-|kafka-|tls/|conf/(kafka\.properties|flink/config\.yaml)$|data/postgres/server\.key$"
)
JOB_PAGES = ("", "/config", "/plan", "/jobmanager/config", "/exceptions", "/checkpoints/config")
PAGES = ("/config", "/jobmanager/config", "/jobmanager/environment", "/overview", "/taskmanagers", "/jobmanager/logs")


@pytest.fixture(scope="module")
def secured() -> Iterator[Stack]:
    local = Stack(Paths.of(STATE_DIR))
    local.clean()
    try:
        yield local
    finally:
        local.clean()


@pytest.fixture(scope="module")
def counted(secured: Stack) -> str:
    """What the demo printed; its jobs run on."""
    command = [Path(sys.prefix) / "bin/tidemark", "demo", "--secure", "--state-dir", secured.paths.root]
    environment = {name: value for name, value in os.environ.items() if name != FILE_ENV}
    done = subprocess.run(
        [*map(str, command)], env=environment, capture_output=True, text=True, check=False, timeout=ENDS_WITHIN_S
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4_000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def stack(secured: Stack, counted: str) -> Settings:
    """How tools reach it."""
    assert counted
    ports = read_ports(secured.paths.ports)
    assert ports is not None
    return sections(secured.paths, ports)


@pytest.fixture(scope="module")
def secrets(secured: Stack, counted: str) -> list[str]:
    """Every password of the stack, and the keys of its certificates."""
    assert counted
    paths = secured.paths
    found = [*prepare.passwords(paths.passfile).values(), *prepare.passwords(paths.admin_passfile).values()]
    found += [*prepare.write_redis_passwords(paths).values(), *prepare.kafka_passwords(paths).values()]
    found.append(paths.certificates.store_password)
    keys = [file.read_text().splitlines()[1] for file in paths.certificates.folder.glob("*.key")]
    assert len(found) > 10
    return found + keys


@pytest.mark.drill
def test_it_counts_exactly_over_tls_as_the_users_of_its_roles(counted: str) -> None:
    assert "oracle: equal" in counted


@pytest.mark.drill
def test_nothing_listens_beyond_this_machine(secured: Stack, stack: Settings) -> None:
    assert FlinkRest(stack.flink).overview()["jobs-running"] == 2
    every = listeners(marked(secured.paths.root))
    programs = {listener.program for listener in every}
    assert len(every) >= len(read_ports(secured.paths.ports) or ())
    assert {"java", "redis-server", "postgres"} <= programs
    assert [listener for listener in every if listener.is_open] == []


@pytest.mark.drill
def test_nobody_else_reads_a_file_of_the_stack(secured: Stack, stack: Settings) -> None:
    assert stack
    root = secured.paths.root
    assert len(list(tree(root))) > 1_000
    assert [str(path.relative_to(root)) for path in exposure.files(root)] == []


@pytest.mark.drill
def test_no_process_runs_as_root(secured: Stack, stack: Settings) -> None:
    assert stack
    found = exposure.processes(secured.paths)
    assert {process.uid for process in found} == {Account.of(secured.paths.root).uid}
    assert {"supervisord", *SERVICES} <= {process.program for process in found}


@pytest.mark.drill
def test_no_process_shows_a_secret(secured: Stack, secrets: list[str]) -> None:
    pids = marked(secured.paths.root)
    assert len(pids) > 5
    for pid, program in pids.items():
        for name in ("cmdline", "environ"):
            shown = _read(Path(f"/proc/{pid}/{name}"))
            assert [place for place, secret in enumerate(secrets) if secret.encode() in shown] == [], (program, name)


@pytest.mark.drill
def test_no_log_configuration_or_checkpoint_has_a_secret(secured: Stack, secrets: list[str]) -> None:
    root, read = secured.paths.root, 0
    for path in tree(root):
        name = str(path.relative_to(root))
        if path.is_file() and not path.is_symlink() and not KEEPERS.match(name):
            content = _read(path)
            read += bool(content)
            assert [place for place, secret in enumerate(secrets) if secret.encode() in content] == [], name
    assert read > 20


@pytest.mark.drill
def test_plans_and_answers_of_flink_hold_no_secret(stack: Settings, secrets: list[str]) -> None:
    rest = FlinkRest(stack.flink)
    pages = [*PAGES, *(f"/jobs/{job.id}{page}" for job in rest.jobs() for page in JOB_PAGES)]
    assert len(pages) > len(PAGES) + len(JOB_PAGES)
    for page in pages:
        text = yaml.safe_dump(rest._call("GET", page))
        assert [place for place, secret in enumerate(secrets) if secret in text] == [], page


@pytest.mark.drill
def test_who_has_no_name_gets_no_answer(secured: Stack, stack: Settings) -> None:
    ports = read_ports(secured.paths.ports)
    assert ports is not None
    authority = str(secured.paths.certificates.authority)
    for options in ({}, {"security_protocol": "SSL", "ssl_cafile": authority}):
        for name in ("kafka", "kafka_controller"):
            _refused_by_kafka(f"127.0.0.1:{ports[name]}", options)
    for url in (f"http://127.0.0.1:{ports['flink_rest']}/overview", f"{stack.flink.rest_url}/overview"):
        with pytest.raises(requests.RequestException):
            requests.get(url, timeout=5, verify=authority)
    for tls in ({}, {"ssl": True, "ssl_ca_certs": authority}):
        with redis.Redis(port=ports["redis"], **tls) as nobody, pytest.raises(redis.RedisError):
            nobody.get("usage:marker")
    plain = stack.postgres.ops.url.partition("?")[0]
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(f"{plain}?sslmode=disable", passfile=str(stack.postgres.passfile))


def _refused_by_kafka(server: str, options: dict[str, Any]) -> None:
    with pytest.raises(KafkaError):
        KafkaConsumer(bootstrap_servers=[server], bootstrap_timeout_ms=5_000, **options).topics()


def _read(path: Path) -> bytes:
    """Its bytes; none where it has gone meanwhile."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
