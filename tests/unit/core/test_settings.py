"""Settings: what is misspelt or no address is refused, all at once, each with what was meant."""

from __future__ import annotations

import re
from operator import attrgetter
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic_settings import BaseSettings

from tidemark.cli.main import main
from tidemark.core.errors import UsageError
from tidemark.core.settings import FILE_ENV, every_setting, load, variable_of
from tidemark.core.settings.model import ENV_DELIMITER, ENV_PREFIX, Settings
from tidemark.core.settings.variables import unknown, variables

GOOD = {
    "redis.url": ["redis://h", "rediss://h:6380/1", "redis://[::1]:6379/0", "unix:///run/redis.sock"],
    "postgres.url": [
        "postgresql://u@h:5432/d",
        "postgres://h/d",
        "postgresql://u@h1:5432,h2,[::1]:6432/d?sslmode=verify-full&sslrootcert=/etc/ca.pem",
    ],
    "flink.rest_url": ["http://h:8081", "https://flink.example/path"],
    "kafka.bootstrap": ["h:9092", "a:1,b:65535", "[::1]:9092", "b-1.x.kafka.eu-west-1.amazonaws.com:9098"],
}
BAD = {
    ("redis.url", "127.0.0.1:6379"): "write redis://127.0.0.1:6379",
    ("redis.url", "localhost"): "write redis://localhost",
    ("redis.url", "reds://h:1"): "has the scheme 'reds', not redis or rediss or unix; write redis://h:1",
    ("redis.url", "redis://"): "has no host",
    ("redis.url", "redis://h:port"): "has a port that is not a number",
    ("postgres.url", "localhost"): "write postgresql://localhost",
    ("postgres.url", "jdbc:postgresql://h/d"): "write postgresql://h/d",
    ("postgres.url", "postgresql:///d?host=/run/postgresql"): "has no host",
    ("postgres.url", "postgresql://h:port/d"): "has a port that is not a number",
    ("postgres.url", "postgresql://h1,h2:70000/d"): "has a port that is not a number",
    ("postgres.url", "postgresql://h'/d"): "a host that is not one",
    ("postgres.url", "postgresql://h/d?connect_timeout=5"): "has the parameter 'connect_timeout'",
    ("postgres.url", "postgresql://h/d?sslmode=verify"): "has a sslmode that is not disable,",
    ("postgres.url", "postgresql://h/d?sslmode=require&sslmode=disable"): "has the parameter sslmode twice",
    ("postgres.url", "postgresql://h/d?sslrootcert=ca.pem"): "has a sslrootcert that is no absolute path",
    ("postgres.url", "postgresql://h/d?sslcert=/c.pem"): "has one of sslcert and sslkey",
    ("postgres.url", "postgresql://h/d?target_session_attrs=standby"): "not any, read-write, primary",
    ("flink.rest_url", "127.0.0.1:8081"): "write http://127.0.0.1:8081",
    ("flink.rest_url", "http://h:99999"): "has a port that is not a number",
    ("kafka.bootstrap", "localhost"): "did you mean localhost:9092?",
    ("kafka.bootstrap", "a:9092,b"): "names 'b', which is not host:port; did you mean b:9092?",
    ("kafka.bootstrap", "kafka://h:9092"): "did you mean h:9092?",
    ("kafka.bootstrap", "h:0"): "ports go from 1 to 65535",
    ("kafka.bootstrap", ""): "did you mean HOST:9092?",
}


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(FILE_ENV, raising=False)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_an_address_is_taken_as_it_is(name, value):
    assert attrgetter(name)(load(**{name: value})) == value


@pytest.mark.parametrize(("fault", "meant"), BAD.items(), ids=[f"{name}={value}" for name, value in BAD])
def test_what_is_no_address_is_refused_with_what_was_meant(fault, meant):
    with pytest.raises(UsageError, match=re.escape(meant)):
        load(**dict([fault]))


@pytest.mark.parametrize("name", ["redis.url", "postgres.url"])
def test_a_password_in_what_is_no_url_is_not_repeated(name):
    with pytest.raises(UsageError) as refused:
        load(**{name: "somebody:hunter2@h:1"})
    assert "hunter2" not in str(refused.value)
    assert "://h:1" in str(refused.value)


def test_a_password_among_the_parameters_is_refused_and_not_repeated():
    with pytest.raises(UsageError, match="has the parameter 'password'") as refused:
        load(**{"postgres.url": "postgresql://u@h/d?password=hunter2"})
    assert "hunter2" not in str(refused.value)


def test_parameters_that_are_not_known_are_named_without_their_values():
    with pytest.raises(UsageError, match="has the parameter 'passwd'") as refused:
        load(**{"postgres.url": "postgresql://u@h/d?passwd=hunter2"})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("TIDEMARK_GRACE", "TIDEMARK_EVENTS__GRACE_S"),
        ("TIDEMARK_KAFKA_BOOTSTRP", "TIDEMARK_KAFKA__BOOTSTRAP"),
        ("tidemark_redis_ulr", "TIDEMARK_REDIS__URL"),
        ("TIDEMARK_CONFG", "TIDEMARK_CONFIG"),
    ],
)
def test_a_misspelt_variable_is_refused_with_what_was_meant(monkeypatch, variable, meant):
    monkeypatch.setenv(variable, "5")
    with pytest.raises(UsageError, match=rf"{variable} .* did you mean {meant}\?"):
        load()


def test_a_variable_like_no_setting_is_refused_without_a_suggestion(monkeypatch):
    monkeypatch.setenv("TIDEMARK_XYZZY", "5")
    with pytest.raises(UsageError, match=r"TIDEMARK_XYZZY of the environment: there is no such setting\n"):
        load()


def test_other_variables_of_that_beginning_are_left_alone(monkeypatch):
    others = {
        "TIDEMARK_STACK": "x",
        "TIDEMARK_TEST_STATE": "x",
        "TIDEMARK_REDIS_SERVICE_HOST": "10.0.0.1",
        "TIDEMARK_REDIS_SERVICE_PORT_MAIN": "6379",
        "TIDEMARK_REDIS_PORT": "tcp://10.0.0.1:6379",
        "TIDEMARK_REDIS_PORT_6379_TCP_ADDR": "10.0.0.1",
        "tidemark_events__grace_s": "60",
    }
    for name, value in others.items():
        monkeypatch.setenv(name, value)
    assert load().events.grace_s == 60


def test_a_port_that_no_service_link_sets_is_misspelt(monkeypatch):
    monkeypatch.setenv("TIDEMARK_REDIS_PORT", "6379")
    with pytest.raises(UsageError, match="TIDEMARK_REDIS_PORT"):
        load()


def test_all_faults_are_named_at_once(monkeypatch):
    Path("settings.yaml").write_text("gracs_s: 5\nredis: {url: localhost}\n")
    monkeypatch.setenv(FILE_ENV, "settings.yaml")
    monkeypatch.setenv("TIDEMARK_GRACE", "5")
    with pytest.raises(UsageError) as refused:
        load(**{"kafka.bootstrap": "h"})
    lines = str(refused.value).splitlines()
    assert len(lines) == 6
    assert {line.split()[0].rstrip(":") for line in lines[1:5]} == {
        "TIDEMARK_GRACE",
        "kafka.bootstrap",
        "redis.url",
        "gracs_s",
    }
    assert "  gracs_s: there is no such setting; did you mean events.grace_s?" in lines


@pytest.mark.parametrize("words", ["settings --check", "usage a b", "status", "clean", "topics apply", "demo"])
def test_every_command_refuses_a_misspelt_variable(monkeypatch, capsys, words):
    monkeypatch.setenv("TIDEMARK_GRACE", "5")
    monkeypatch.setattr("sys.argv", ["tidemark", *words.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "did you mean TIDEMARK_EVENTS__GRACE_S?" in capsys.readouterr().err


UNREAD = {
    "an open brace": (b"events: {grace_s: 5\nkafka: {}\n", "settings.yaml, line 2, is not YAML: expected"),
    "a tab": (b"events:\n\tgrace_s: 5\n", "settings.yaml, line 2, is not YAML: found character"),
    "no date": (b"run_id: 2024-13-45\n", "settings.yaml is not YAML: month must be in"),
    "a list": (b"- events\n", "settings.yaml has no sections, but a list"),
    "a text": (b"events\n", "settings.yaml has no sections, but a text"),
    "a number": (b"5\n", "settings.yaml has no sections, but a number"),
    "no UTF-8": (b"run_id: \xff\n", "settings.yaml cannot be read: 'utf-8' codec can't decode"),
}


@pytest.mark.parametrize(("content", "said"), UNREAD.values(), ids=UNREAD)
def test_a_file_that_is_no_yaml_mapping_is_said_in_a_line(monkeypatch, capsys, content, said):
    Path("settings.yaml").write_bytes(content)
    monkeypatch.setenv(FILE_ENV, "settings.yaml")
    monkeypatch.setattr("sys.argv", ["tidemark", "settings", "--check"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in (printed := capsys.readouterr().err)
    assert "fix:" in printed


@pytest.mark.parametrize("content", ["", "# nothing yet\n", "{}\n"])
def test_a_file_without_settings_says_nothing(monkeypatch, content):
    Path("settings.yaml").write_text(content)
    monkeypatch.setenv(FILE_ENV, "settings.yaml")
    assert load() == Settings()


@pytest.mark.parametrize("content", ["1: 2\n", "kafka:\n", "kafka: 5\n", "kafka: {1: 2}\n", "? [a]\n: 1\n"])
def test_a_key_without_a_section_is_a_fault_like_others(monkeypatch, content):
    Path("settings.yaml").write_text(content)
    monkeypatch.setenv(FILE_ENV, "settings.yaml")
    with pytest.raises(UsageError):
        load()


def test_sections_are_settings_too():
    class Kafka(BaseModel):
        bootstrap: str = ""

    class Sections(BaseSettings):
        kafka: Kafka = Kafka()
        grace_s: int = 1

    names = [*variables(Sections, "T_", "__")]
    assert names == ["T_KAFKA", "T_KAFKA__BOOTSTRAP", "T_GRACE_S"]
    assert unknown({"T_KAFKA__BOOTSTRP": "", "T_KAFKA__BOOTSTRAP": ""}, "T_", names) == {
        "T_KAFKA__BOOTSTRP": "T_KAFKA__BOOTSTRAP"
    }


def test_every_setting_has_a_variable():
    assert {*variables(Settings, ENV_PREFIX, ENV_DELIMITER)} >= {variable_of(name) for name, _ in every_setting()}
