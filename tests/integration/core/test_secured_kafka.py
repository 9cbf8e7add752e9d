"""A stream through a Kafka with TLS, passwords and rights: each part as its own user, exact, and no more allowed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.local.account import Account
from jobs.flink.submit import JOBS, submit
from tests.integration.secured_kafka import ADMIN, SecuredKafka
from tests.pipeline import HASTY, Pipeline
from tests.streams import CATALOG, generate
from tidemark.cli import topics as topics_command
from tidemark.core import acls
from tidemark.core.errors import TidemarkError
from tidemark.core.kafka import Sender, dump
from tidemark.core.settings import Settings
from tidemark.core.topics import has_create_time

RUN = "secured"
ROLES = ("meter", "rollup", "services", "producer", "reader")


@pytest.fixture(scope="module")
def broker(stack: Any) -> Iterator[SecuredKafka]:
    users = {f"{acls.USER_PREFIX}{role}": f"secret-of-{role}" for role in (*ROLES, "stranger")}
    # Where the user of the stack, as whom Flink runs, reads the passwords of the jobs.
    root = stack.local.paths.root
    kafka = SecuredKafka(Path(tempfile.mkdtemp(prefix="kafka.", dir=root)), users, Account.of(root))
    try:
        kafka.start()
        yield kafka
    finally:
        kafka.stop()


@pytest.fixture(scope="module")
def base(stack: Any) -> Settings:
    own = {"run_id": RUN, "topics.events": f"test.{RUN}", "redis.timeout_ms": 5_000}
    return stack.settings.with_changes({**own, **HASTY})


@pytest.fixture(scope="module")
def administered(broker: SecuredKafka, base: Settings, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Topics, tables, catalog and rights, made by the administrator."""
    settings = base.model_copy(update={"kafka": broker.settings_of(ADMIN)})
    made = Pipeline(settings, CATALOG)
    made.prepare(tmp_path_factory.mktemp("prepared"))
    acls.apply(settings)
    return made


def as_role(broker: SecuredKafka, base: Settings, role: str) -> Settings:
    return base.model_copy(update={"kafka": broker.settings_of(f"{acls.USER_PREFIX}{role}")})


def test_every_part_counts_exactly_with_its_own_rights(
    broker: SecuredKafka, base: Settings, administered: Pipeline
) -> None:
    records = list(generate(events=3_000))
    Pipeline(as_role(broker, base, "producer"), CATALOG).send(records)
    services = Pipeline(as_role(broker, base, "services"), CATALOG)
    try:
        jobs = {job: submit(as_role(broker, base, job), job).job_id for job in JOBS}
        for job in jobs.values():
            services.rest.wait_running(job)
        services.wait_drained()
        with services.oracle() as oracle:
            services.assert_exact(oracle)
        # Who sets the arrival, which closing and health ask.
        assert has_create_time(services.settings.kafka, base.topics.events)
        # What anybody sees who asks Flink for the plan and the settings of the job holds no password.
        for job in jobs.values():
            for part in ("", "/config", "/plan", "/jobmanager/config"):
                assert "secret-of" not in json.dumps(services.rest._call("GET", f"/jobs/{job}{part}"))
    finally:
        administered.cancel()
    published = list(dump(as_role(broker, base, "reader").kafka, base.names.alerts))
    assert published


@pytest.mark.parametrize("role", ["reader", "producer", "stranger"])
def test_nobody_changes_usage_who_may_not(
    broker: SecuredKafka, base: Settings, administered: Pipeline, role: str
) -> None:
    assert administered.settings.run_id == RUN
    kafka = as_role(broker, base, role).kafka
    with pytest.raises(TidemarkError, match=r"TopicAuthorizationFailed|not exist"), Sender(kafka) as sender:
        sender.send(base.names.deltas, b"{}", partition=0)
    if role != "reader":
        with pytest.raises(TidemarkError, match=r"TopicAuthorizationFailed|not exist"):
            list(dump(kafka, base.names.closes))


def test_a_wrong_password_is_refused_in_words_that_name_it(broker: SecuredKafka, base: Settings) -> None:
    with pytest.raises(TidemarkError, match="wrong user or password"):
        list(dump(broker.settings_of(f"{acls.USER_PREFIX}reader", "guessed"), base.names.alerts))


def test_rights_are_given_by_the_command_and_to_users_that_it_names(
    broker: SecuredKafka, base: Settings, administered: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = as_role(broker, base, "stranger").kafka
    for name, value in administered.settings.environment().items():
        monkeypatch.setenv(name, value)
    app = topics_command.typer.Typer()
    topics_command.register(app)
    answer = CliRunner().invoke(
        app, ["topics", "apply", "--create-time", "--acls", "--user", f"reader={acls.USER_PREFIX}stranger", "--json"]
    )
    assert answer.exit_code == 0, answer.output
    assert {right["role"] for right in json.loads(answer.stdout)["rights"]} > set(ROLES)
    assert list(dump(stranger, base.names.alerts))
