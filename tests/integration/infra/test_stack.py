"""The running stack: repeating `up` changes nothing, `doctor` finds nothing wrong, and services are what they claim."""

from __future__ import annotations

import json
import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from psycopg import conninfo

from infra.local import exposure
from infra.local.account import Account, tree
from infra.local.ports import read_ports
from infra.local.prepare import connect_admin
from infra.local.programs import DAEMONS, SERVICES
from tests.integration.storage import own_run
from tidemark.cli.doctor_local import examine
from tidemark.core import postgres, topics
from tidemark.core.errors import UnavailableError, UsageError
from tidemark.core.settings import Settings
from tidemark.health import checks

CAP_SYS_CHROOT = 18


def test_up_on_a_running_stack_restarts_nothing(stack: Any) -> None:
    before = {line.service: line.pid for line in stack.local.status()}
    stack.local.up()
    after = {line.service: line.pid for line in stack.local.status()}
    assert after == before
    assert all(line.ready for line in stack.local.status() if line.service not in DAEMONS)


def test_doctor_finds_nothing_wrong_with_a_running_stack(stack: Any) -> None:
    findings = examine(stack.local.paths)
    # A stack of tests runs nothing beside the jobs: `tidemark serve` is looked for, and another's may answer.
    assert [finding for finding in findings if not finding.ok and finding.check != "serve"] == []
    services = {"kafka", "postgres", "redis", "jobmanager", "taskmanager"}
    assert {*services, "JVM time zone", "Kafka transactions", "serve"} <= {f.check for f in findings}


def test_no_process_of_the_stack_is_root_or_another_user_of_this_machine_and_none_can_become_one(stack: Any) -> None:
    account, found = Account.of(stack.local.paths.root), exposure.processes(stack.local.paths)
    assert {"supervisord", *SERVICES} <= {process.program for process in found}
    assert account.uid not in {0, *(user.pw_uid for user in pwd.getpwall())}
    for process in found:
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
        assert set(status["Uid"].split() + status["Gid"].split()) == {str(account.uid)}, process
        assert (status["NoNewPrivs"], status["Groups"].strip()) == ("1", ""), process
        # A program may ask for the name of its user.
        assert f"tidemark:x:{account.uid}:" in Path(f"/proc/{process.pid}/root/etc/passwd").read_text(), process
        # One right is left to the supervisor: to enter Debian's tree, in which Postgres runs without it.
        rights = 1 << CAP_SYS_CHROOT if process.program == "supervisord" else 0
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapAmb"], 16) == rights, process


def test_nobody_else_reads_a_file_of_the_stack_and_services_do_not_change_their_configuration(stack: Any) -> None:
    root = stack.local.paths.root
    assert exposure.files(root) == []
    (open_file := root / "data" / "open").touch(mode=0o644)
    assert exposure.files(root) == [open_file]
    open_file.unlink()
    configuration = [root, stack.local.paths.settings, *tree(stack.local.paths.conf)]
    assert {path.lstat().st_uid for path in configuration if not path.is_symlink()} == {os.geteuid()}
    assert not [path for path in configuration if not path.is_symlink() and path.stat().st_mode & stat.S_IWGRP]


def test_doctor_of_a_deployment_goes_by_its_settings(stack: Any) -> None:
    def wrong(run: Settings) -> dict[str, str]:
        return {one.check: one.found for one in checks.examine(run) if not one.ok}

    with own_run(stack.settings) as made:
        run = made.with_changes({"topics.events": f"test.{made.run_id}"})
        assert [*wrong(run)] == ["Kafka topics"]
        topics.apply(run)
        assert wrong(run) == {}
        longer = run.with_changes({"events.outage_s": 30 * 86_400})
        assert wrong(longer) == {"Kafka transactions": "transaction.max.timeout.ms 90000000, needed 2595600000"}
        with postgres.connect(run.postgres) as connection:
            table = f"{run.names.usage_schema}.schema_migration"
            connection.execute(f"DELETE FROM {table} WHERE name = '0008_health.sql'".encode())
        assert "not migrated" in wrong(run)["Postgres"]


def test_status_shows_the_services_of_the_stack_beside_how_its_deployment_does(stack: Any) -> None:
    command = [
        sys.executable,
        "-m",
        "tidemark.cli.main",
        "status",
        "--json",
        "--state-dir",
        str(stack.local.paths.root),
    ]
    done = subprocess.run(command, check=False, text=True, capture_output=True, timeout=120)
    shown = json.loads(done.stdout)
    ready = {one["service"] for one in shown["services"] if one["ready"]}
    assert ready == {"kafka", "postgres", "redis", "jobmanager", "taskmanager"}
    # A stack of tests runs nothing beside the jobs, and no job of its own.
    assert (done.returncode, shown["state"], shown["healthy"]) == (UnavailableError.exit_code, "degraded", False)
    assert any(line.startswith("serve is not ready") for line in shown["problems"])
    assert any("`tidemark submit meter`" in line for line in shown["problems"])


def test_the_role_of_the_jobs_is_no_superuser_and_needs_its_password(stack: Any) -> None:
    with connect_admin(stack.local.paths, read_ports(stack.local.paths.ports)["postgres"]) as connection:
        row = connection.execute("SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = 'tidemark'").fetchone()
    assert row == (False, False)
    wrong = conninfo.make_conninfo(stack.settings.postgres.url, password="wrong", connect_timeout=5)  # noqa: S106
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_nobody_uploads_a_jar_or_reads_the_rest_interface_from_another_site(stack: Any) -> None:
    url = stack.settings.flink.rest_url
    # The interface has nothing about jars at all.
    assert requests.get(f"{url}/jars", timeout=10).status_code == 404
    jar = {"jarfile": ("job.jar", b"PK", "application/x-java-archive")}
    assert not requests.post(f"{url}/jars/upload", files=jar, timeout=10).ok
    answer = requests.get(f"{url}/config", headers={"Origin": "https://evil.example"}, timeout=10)
    assert answer.json()["features"]["web-submit"] is False
    assert answer.headers["Access-Control-Allow-Origin"] == url


def test_topics_are_created_once_and_the_wrong_clock_is_refused(stack: Any) -> None:
    settings: Settings = stack.settings.with_changes({"run_id": "tinfra", "topics.events": "usage.events.tinfra"})
    assert all(one.created for one in topics.apply(settings))
    assert not any(one.created for one in topics.apply(settings))
    with pytest.raises(UsageError, match="LogAppendTime"):
        topics.apply(settings, create_time=True)


def test_topics_say_when_kafka_is_away() -> None:
    # In a process of its own: the client leaves the sockets of a failed connection to the garbage collector.
    environment = {**os.environ, "TIDEMARK_KAFKA__BOOTSTRAP": "127.0.0.1:1"}
    command = [sys.executable, "-m", "tidemark.cli.main", "topics", "apply"]
    done = subprocess.run(command, env=environment, check=False, text=True, capture_output=True, timeout=60)
    assert done.returncode == UnavailableError.exit_code
    assert "Kafka at 127.0.0.1:1" in done.stderr
    assert "tidemark up" in done.stderr
