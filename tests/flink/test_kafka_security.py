"""Kafka tables under SASL and TLS: the options reach every table, the password none, and Java finds it in its file."""

from __future__ import annotations

import json

import pytest
from pyflink.java_gateway import get_gateway
from pyflink.table import TableEnvironment

from jobs.anomaly import job as anomaly
from jobs.flink.bounds import Bounds
from jobs.meter import job as meter
from jobs.rollup import job as rollup
from tests.flink.environment import new_environment
from tidemark.core.kafka.security import password, table_properties
from tidemark.core.settings import KafkaSettings, Settings

SECRET = "kq-7f#:=% x"  # noqa: S105 - of no one
SHADED = "org.apache.flink.kafka.shaded.org.apache.kafka"


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> KafkaSettings:
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "kafka.properties").write_text(f"password={SECRET}\n")
    for name in ("me.pem", "me.key"):
        (folder / name).write_text(f"text of {name}\n")
    return KafkaSettings(
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-256",
        sasl_username="meter",
        sasl_password_file=folder / "kafka.properties",
        ssl_ca_file="/etc/kafka/ca.pem",
        ssl_cert_file=folder / "me.pem",
        ssl_key_file=folder / "me.key",
    )


def kafka_tables(env: TableEnvironment) -> dict[str, str]:
    """How the Kafka tables of an environment were declared, by name."""
    names = set(env.list_temporary_tables()) - set(env.list_temporary_views())
    texts = {}
    for name in sorted(names):
        with env.execute_sql(f"SHOW CREATE TABLE {name}").collect() as rows:
            texts[name] = next(rows)[0]
    return {name: text for name, text in texts.items() if "'connector' = 'kafka'" in text}


def test_every_kafka_table_of_every_job_has_the_security(kafka: KafkaSettings) -> None:
    settings = Settings(kafka=kafka)
    item, two, three = new_environment(), new_environment(), anomaly.environment()
    plans = [meter.plan(item, settings, Bounds()), rollup.plan(two, settings, Bounds())]
    anomaly.declare(three, settings, Bounds())
    tables = [kafka_tables(env) for env in (item, two, three)]
    assert [len(result) for result in tables] == [5, 2, 3]
    for name, text in ((name, text) for result in tables for name, text in result.items()):
        for key, value in table_properties(kafka).items():
            assert f"'{key}' = '{value}'" in text, name
        assert SECRET not in text
    assert SECRET not in json.dumps(plans)


def test_java_reads_what_the_options_name(env: TableEnvironment, kafka: KafkaSettings) -> None:
    # The environment starts the JVM that holds the connector.
    assert env is not None
    jvm = get_gateway().jvm
    properties = jvm.java.util.HashMap()
    for key, value in table_properties(kafka).items():
        properties.put(key.removeprefix("properties."), value)
    loader = jvm.java.lang.Thread.currentThread().getContextClassLoader()
    kind = jvm.java.lang.Class.forName(f"{SHADED}.clients.admin.AdminClientConfig", True, loader)
    types = get_gateway().new_array(jvm.java.lang.Class, 1)
    types[0] = jvm.java.lang.Class.forName("java.util.Map")
    values = get_gateway().new_array(jvm.java.lang.Object, 1)
    values[0] = properties
    config = kind.getConstructor(types).newInstance(values)
    assert kafka.sasl_password_file is not None
    assert password(kafka.sasl_password_file) == SECRET
    assert config.getPassword("sasl.jaas.config").value() == (
        f'{SHADED}.common.security.scram.ScramLoginModule required username="meter" password="{SECRET}";'
    )
    assert config.getPassword("ssl.keystore.key").value() == "text of me.key"
    assert config.getPassword("ssl.keystore.certificate.chain").value() == "text of me.pem"
    assert (
        "ScramLoginModule"
        in jvm.java.lang.Class.forName(f"{SHADED}.common.security.scram.ScramLoginModule", True, loader).getName()
    )
