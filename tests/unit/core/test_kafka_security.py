"""Security of Kafka: settings that go together, and what the clients here and Flink's tables make of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

from jobs.flink import options
from jobs.flink.bounds import table_options
from tidemark.core.errors import UsageError
from tidemark.core.kafka.security import client_options, password, rdkafka_options, table_properties
from tidemark.core.settings import FILE_ENV, KafkaSettings, Settings, load

SECRET = "kq-7f#:=% x'`~"  # noqa: S105 - of no one
SASL = {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "meter"}
TLS = {"ssl_ca_file": "/etc/kafka/ca.pem", "ssl_cert_file": "/etc/kafka/me.pem", "ssl_key_file": "/run/secrets/me.key"}
JAVA = "org.apache.flink.kafka.shaded.org.apache.kafka.common"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(FILE_ENV, raising=False)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    file = tmp_path / "kafka.properties"
    file.write_text(f"# Of the meter.\npassword={SECRET}\n")
    return file


def refused(**values: object) -> str:
    with pytest.raises(UsageError) as error:
        load(**{f"kafka.{name}": value for name, value in values.items()})
    return str(error.value)


def test_without_security_nothing_but_the_brokers_is_set() -> None:
    kafka = KafkaSettings(bootstrap="a:1,b:2")
    assert client_options(kafka) == {}
    assert table_properties(kafka) == {"properties.bootstrap.servers": "a:1,b:2"}


def test_sasl_for_the_clients_has_the_password_of_the_file(secret_file: Path) -> None:
    kafka = KafkaSettings(**SASL, sasl_password_file=secret_file, ssl_ca_file="/etc/kafka/ca.pem")
    assert client_options(kafka) == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "meter",
        "sasl_plain_password": SECRET,
        "ssl_cafile": "/etc/kafka/ca.pem",
    }


def test_sasl_for_tables_names_the_file_and_not_the_password(secret_file: Path) -> None:
    kafka = KafkaSettings(**SASL, sasl_password_file=secret_file)
    login = f'{JAVA}.security.scram.ScramLoginModule required username="meter" '
    assert table_properties(kafka) == {
        "properties.bootstrap.servers": "127.0.0.1:9092",
        "properties.security.protocol": "SASL_SSL",
        "properties.sasl.mechanism": "SCRAM-SHA-512",
        "properties.sasl.jaas.config": f'{login}password="${{file:{secret_file}:password}}";',
        "properties.config.providers": "file",
        "properties.config.providers.file.class": f"{JAVA}.config.provider.FileConfigProvider",
    }


def test_mutual_tls_names_its_files(secret_file: Path) -> None:
    kafka = KafkaSettings(security_protocol="SSL", **TLS)
    assert client_options(kafka) == {
        "security_protocol": "SSL",
        "ssl_cafile": "/etc/kafka/ca.pem",
        "ssl_certfile": "/etc/kafka/me.pem",
        "ssl_keyfile": "/run/secrets/me.key",
    }
    properties = table_properties(kafka)
    assert properties["properties.ssl.truststore.location"] == "/etc/kafka/ca.pem"
    assert properties["properties.ssl.keystore.certificate.chain"] == "${directory:/etc/kafka:me.pem}"
    assert properties["properties.ssl.keystore.key"] == "${directory:/run/secrets:me.key}"
    assert properties["properties.config.providers"] == "directory"
    both = table_properties(KafkaSettings(**SASL, **TLS, sasl_password_file=secret_file))
    assert both["properties.config.providers"] == "file,directory"


@pytest.mark.parametrize("client", [KafkaConsumer, KafkaProducer, KafkaAdminClient])
def test_each_client_knows_the_options(secret_file: Path, client: Any) -> None:
    options_given = client_options(KafkaSettings(**SASL, **TLS, sasl_password_file=secret_file))
    assert len(options_given) == 7
    assert set(options_given) <= set(client.DEFAULT_CONFIG)


def test_sources_and_sinks_have_the_same_security(secret_file: Path) -> None:
    settings = Settings(kafka=KafkaSettings(**SASL, sasl_password_file=secret_file))
    source, sink = options.kafka(settings.kafka, "meter"), options.exactly_once(settings, "meter", "t")
    security = table_options(table_properties(settings.kafka, "meter"))
    assert security in source
    assert security in sink
    assert SECRET not in source + sink


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"security_protocol": "SASL_SSL"}, "SASL_SSL needs sasl_mechanism, sasl_username, sasl_password_file"),
        ({**SASL, "security_protocol": "SASL_PLAINTEXT"}, "SASL_PLAINTEXT needs sasl_password_file"),
        ({"sasl_username": "u"}, "sasl_username without effect under security_protocol PLAINTEXT"),
        ({"ssl_ca_file": "/ca"}, "ssl_ca_file without effect under security_protocol PLAINTEXT"),
        ({"security_protocol": "SSL", "ssl_cert_file": "/c"}, "ssl_cert_file and ssl_key_file go together"),
        ({"security_protocol": "SSL", "ssl_ca_file": "ca.pem"}, "kafka.ssl_ca_file: is not absolute"),
        ({"security_protocol": "SSL", "ssl_ca_file": "/a b'"}, "kafka.ssl_ca_file: has a character"),
        ({"security_protocol": "ssl"}, "kafka.security_protocol"),
        ({**SASL, "sasl_mechanism": "GSSAPI"}, "kafka.sasl_mechanism"),
        ({**SASL, "sasl_username": 'u"; x="'}, "kafka.sasl_username"),
        ({**SASL, "sasl_username": "${env:PATH}"}, "kafka.sasl_username"),
    ],
)
def test_what_does_not_go_together_is_refused(values: dict[str, object], message: str) -> None:
    assert message in refused(**values)


@pytest.mark.parametrize("host", ["h'", 'h"', "h;", "h$x", "h\\", "h' , 'x' = 'y"])
def test_brokers_cannot_bring_options_of_their_own(host: str) -> None:
    assert "which is not host:port" in refused(bootstrap=f"{host}:9092")


def test_a_quote_in_an_option_stays_in_its_value() -> None:
    assert options.table_options({"topic": "a', 'x' = 'y"}) == "'topic' = 'a'', ''x'' = ''y'"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hunter2\n", "has 0 passwords, not 1"),
        ("password=\n", "not 1"),
        ("password=a\npassword=b\n", "has 2 passwords"),
        ('password=hunter2"\n', 'has \\ or "'),
        ("password=hunter2\\n\n", 'has \\ or "'),
        ("password=hünter2\n", "printable ASCII"),
    ],
)
def test_a_file_that_java_would_read_as_something_else_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "pw"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=re.escape(message)) as error:
        password(file)
    assert "nter2" not in str(error.value)


def test_a_password_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(f"kafka.sasl_password_file {tmp_path}/none cannot be read")):
        password(tmp_path / "none")


def test_librdkafka_gets_the_same(secret_file: Path) -> None:
    plain = rdkafka_options(KafkaSettings())
    assert plain == {"bootstrap.servers": "127.0.0.1:9092", "security.protocol": "PLAINTEXT"}
    secured = rdkafka_options(KafkaSettings(**SASL, **TLS, sasl_password_file=secret_file))
    assert (secured["sasl.mechanism"], secured["sasl.username"]) == ("SCRAM-SHA-512", "meter")
    assert secured["sasl.password"] == SECRET
    assert secured["ssl.ca.location"] == TLS["ssl_ca_file"]
    assert secured["ssl.certificate.location"] == TLS["ssl_cert_file"]
    assert secured["ssl.key.location"] == TLS["ssl_key_file"]
    # librdkafka knows each of them.
    Producer(secured | {"ssl.ca.location": "", "ssl.certificate.location": "", "ssl.key.location": ""})
