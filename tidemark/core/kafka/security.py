"""How clients prove who they are to Kafka, and check who it is: for kafka-python, librdkafka, and the tables of Flink.

The password of SASL stands in a file of its own, a Java properties file with one line `password=…`: the clients here
read it when they connect, Flink's when a task starts. No table, plan, job graph or REST answer has it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tidemark.core.errors import UsageError
from tidemark.core.settings import KafkaSettings

PASSWORD_KEY = "password"  # noqa: S105 - the name of a key
USER_KEY = "username"
# The connector's jar has Kafka's classes under names of its own.
_JAVA = "org.apache.flink.kafka.shaded.org.apache.kafka.common"
_LOGIN = {
    "PLAIN": f"{_JAVA}.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": f"{_JAVA}.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": f"{_JAVA}.security.scram.ScramLoginModule",
}
# Reads a key of a properties file, and the whole of a file.
_PROVIDERS = {
    "file": f"{_JAVA}.config.provider.FileConfigProvider",
    "directory": f"{_JAVA}.config.provider.DirectoryConfigProvider",
}


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Security as kafka-python's clients take it; empty for PLAINTEXT.

    Raises
    ------
    UsageError
        The file of the password cannot be read, or has none.
    """
    options: dict[str, Any] = {}
    if kafka.security_protocol != "PLAINTEXT":
        options["security_protocol"] = kafka.security_protocol
    if kafka.sasl_mechanism is not None and kafka.sasl_password_file is not None:
        options["sasl_mechanism"] = kafka.sasl_mechanism
        options["sasl_plain_username"] = kafka.sasl_username
        options["sasl_plain_password"] = password(kafka.sasl_password_file)
    files = {"ssl_cafile": kafka.ssl_ca_file, "ssl_certfile": kafka.ssl_cert_file, "ssl_keyfile": kafka.ssl_key_file}
    return options | {name: str(path) for name, path in files.items() if path is not None}


def rdkafka_options(kafka: KafkaSettings) -> dict[str, str]:
    """Brokers and security as librdkafka takes them; raises UsageError as `client_options` does."""
    options = {"bootstrap.servers": kafka.bootstrap, "security.protocol": kafka.security_protocol}
    if kafka.sasl_mechanism is not None and kafka.sasl_password_file is not None:
        options["sasl.mechanism"] = kafka.sasl_mechanism
        options["sasl.username"] = str(kafka.sasl_username)
        options["sasl.password"] = password(kafka.sasl_password_file)
    files = {
        "ssl.ca.location": kafka.ssl_ca_file,
        "ssl.certificate.location": kafka.ssl_cert_file,
        "ssl.key.location": kafka.ssl_key_file,
    }
    return options | {name: str(path) for name, path in files.items() if path is not None}


def table_properties(kafka: KafkaSettings, job: str = "") -> dict[str, str]:
    """Brokers and security as options of Flink's Kafka tables of a job, `properties.…`, sources and sinks alike."""
    properties = {"bootstrap.servers": kafka.bootstrap}
    if kafka.security_protocol != "PLAINTEXT":
        properties["security.protocol"] = kafka.security_protocol
    properties |= _sasl(kafka, job) | _truststore(kafka) | _keystore(kafka)
    used = [name for name in _PROVIDERS if any(f"${{{name}:" in value for value in properties.values())]
    if used:
        properties["config.providers"] = ",".join(used)
        properties |= {f"config.providers.{name}.class": _PROVIDERS[name] for name in used}
    return {f"properties.{name}": value for name, value in properties.items()}


def password(file: Path) -> str:
    """The password of a file, as Java reads it too.

    Raises
    ------
    UsageError
        There is no such file, or it has no line `password=…`, or one that Java would read as something else.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"kafka.sasl_password_file {file} cannot be read: {error}.", _WRITE) from error
    values = [line.partition("=")[2] for line in lines if line.partition("=")[0].strip() == PASSWORD_KEY]
    if len(values) != 1 or not values[0].strip():
        raise UsageError(f"{file} has {len(values)} passwords, not 1.", _WRITE)
    secret = values[0].lstrip()
    if not secret.isascii() or not secret.isprintable() or set(secret) & set('\\"'):
        raise UsageError(
            f'the password in {file} has \\ or ", or a character that is not printable ASCII.',
            "Java would read another password; choose one without these.",
        )
    return secret


_WRITE = f"write one line into it: {PASSWORD_KEY}=…, readable by the jobs and tools alone."


def _sasl(kafka: KafkaSettings, job: str) -> dict[str, str]:
    if kafka.sasl_mechanism is None:
        return {}
    own = kafka.jobs_dir / f"{job}.properties" if kafka.jobs_dir and job else None
    user = f"${{file:{own}:{USER_KEY}}}" if own else kafka.sasl_username
    secret = f"${{file:{own or kafka.sasl_password_file}:{PASSWORD_KEY}}}"
    login = f'{_LOGIN[kafka.sasl_mechanism]} required username="{user}" password="{secret}";'
    return {"sasl.mechanism": kafka.sasl_mechanism, "sasl.jaas.config": login}


def _truststore(kafka: KafkaSettings) -> dict[str, str]:
    if kafka.ssl_ca_file is None:
        return {}
    return {"ssl.truststore.type": "PEM", "ssl.truststore.location": str(kafka.ssl_ca_file)}


def _keystore(kafka: KafkaSettings) -> dict[str, str]:
    cert, key = kafka.ssl_cert_file, kafka.ssl_key_file
    if cert is None or key is None:
        return {}
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.certificate.chain": f"${{directory:{cert.parent}:{cert.name}}}",
        "ssl.keystore.key": f"${{directory:{key.parent}:{key.name}}}",
    }
