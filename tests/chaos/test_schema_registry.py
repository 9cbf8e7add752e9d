"""The contracts in a real Apicurio Registry: all are taken, a compatible change too, and one that breaks is refused."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from typer.testing import CliRunner

import schemas
from infra.local import programs
from infra.local.apicurio import apicurio
from infra.local.progress import Lines
from jobs.flink.rest import wait_until
from tests.ports import free_port
from tidemark.cli.main import app
from tidemark.core.errors import UnavailableError
from tidemark.core.settings import load
from tidemark.registry import registering, subjects
from tidemark.registry.client import RefusedError, Registry
from tidemark.registry.draft7 import draft7
from tidemark.registry.subjects import Subject

pytestmark = pytest.mark.drill
READY_WITHIN_S = 180.0
# Their conditions have changed, and Apicurio does not compare those.
BEYOND_IT = {"usage.alerts"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Confluent's API of an Apicurio that keeps everything in memory."""
    port, log = free_port(), tmp_path_factory.mktemp("apicurio") / "log"
    environment = {**os.environ, "QUARKUS_HTTP_HOST": "127.0.0.1", "QUARKUS_HTTP_PORT": str(port)}
    with log.open("wb") as out:
        command = [programs.java(), "-Xmx300m", "-jar", str(apicurio(Lines()))]
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        wait_until(lambda: is_ready(port), READY_WITHIN_S, f"Apicurio ({log})")
        yield f"http://127.0.0.1:{port}/apis/ccompat/v7"
    finally:
        process.terminate()
        process.wait(30)


def is_ready(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/health/ready", timeout=5).ok
    except requests.RequestException:
        return False


def named(prefix: str, contract: str, schema: Any) -> Subject:
    """A subject of a test alone."""
    return Subject(f"{prefix}-value", contract, json.dumps(draft7(schema)))


def run(url: str, *words: str) -> Any:
    return CliRunner().invoke(app, ["schemas", *words, "--registry", url])


def test_all_contracts_are_registered_once(url: str) -> None:
    first = run(url, "check", "--json")
    assert (first.exit_code, {one["state"] for one in json.loads(first.stdout)["subjects"]}) == (0, {"new"})
    for _ in range(2):
        done = run(url, "register", "--json")
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)["subjects"]
        assert {(one["state"], one["version"]) for one in found} == {("current", 1)}
        assert {one["contract"] for one in found} == {*schemas.TOPICS, *schemas.ALIASES}
    names = requests.get(f"{url}/subjects", timeout=30).json()
    assert set(names) >= {f"{topic}-value" for topic in (*schemas.TOPICS, *schemas.ALIASES)}
    level = requests.get(f"{url}/config/usage.deltas-value", timeout=30).json()
    assert level == {"compatibilityLevel": "BACKWARD"}


@pytest.mark.parametrize("topic", schemas.TOPICS)
def test_what_is_released_is_followed_by_what_is_there_now(url: str, topic: str) -> None:
    registry = Registry(url)
    released, now = (
        named(f"released.{topic}", topic, of(topic)) for of in (schemas.released_schema, schemas.topic_schema)
    )
    assert [one.state for one in registering.register(registry, [released])] == ["current"]
    if topic in BEYOND_IT:
        with pytest.raises(RefusedError, match="the registry cannot tell"):
            registering.register(registry, [now])
    else:
        assert [one.state for one in registering.register(registry, [now])] == ["current"]


def test_a_compatible_change_is_taken_and_a_breaking_one_is_refused_with_its_path(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given everything registered, ...
    assert run(url, "register").exit_code == 0
    deltas = schemas.topic_schema("usage.deltas")
    wider = {**deltas, "properties": {**deltas["properties"], "trace": {"type": "string"}}}
    narrower = {**wider, "properties": {**wider["properties"], "n": {"type": "string"}}}

    def with_deltas(schema: Any) -> None:
        monkeypatch.setattr(
            subjects, "topic_schema", lambda topic: schema if topic == "usage.deltas" else schemas.topic_schema(topic)
        )

    # ... when a field is added that records may have, then it is the second version; ...
    with_deltas(wider)
    assert run(url, "check").exit_code == 0
    assert run(url, "register").exit_code == 0
    assert Registry(url).version(subjects.subjects(load())[2]) == 2
    # ... when a type is another, then nothing is registered, and the place is named.
    with_deltas(narrower)
    for command in ("check", "register"):
        refused = run(url, command)
        assert refused.exit_code == 1
        assert isinstance(refused.exception, RefusedError)
        assert "usage.deltas-value" in refused.exception.what
        assert "$.n: type integer is allowed by the old schema alone." in refused.exception.what
        assert "new topic" in refused.exception.fix
    assert requests.get(f"{url}/subjects/usage.deltas-value/versions", timeout=30).json() == [1, 2]
    # The registry holds to it itself, whoever asks.
    with pytest.raises(RefusedError):
        Registry(url).register(subjects.subjects(load())[2])


def test_a_registry_that_does_not_answer_is_said_to_be_unavailable() -> None:
    nowhere = run(f"http://127.0.0.1:{free_port()}", "check")
    assert isinstance(nowhere.exception, UnavailableError)
    assert nowhere.exception.fix == "correct --registry, or start it."
