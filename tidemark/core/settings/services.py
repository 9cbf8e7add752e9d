"""Options of the services: Kafka and its topics, Postgres, Redis, Flink, S3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from tidemark.core.errors import UsageError
from tidemark.core.settings.addresses import Brokers, HttpUrl, PlainPath, PostgresUrl, RedisUrl
from tidemark.core.settings.section import Section


def without_password(url: str | None) -> str | None:
    """Refuse a URL that carries a password."""
    if url is None:
        return None
    authority = url.partition("://")[2].partition("@")
    if authority[1] and ":" in authority[0]:
        raise ValueError("carries a password, and a URL is printed and logged; use the password file or setting")
    return url


SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


class KafkaSettings(Section):
    """Address of Kafka, and how clients and brokers authenticate each other; paths as workers see them."""

    bootstrap: Brokers = Field("127.0.0.1:9092", description="Kafka bootstrap servers, host:port[,host:port].")
    security_protocol: SecurityProtocol = Field(
        "PLAINTEXT", description="`PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`."
    )
    sasl_mechanism: SaslMechanism | None = Field(
        None, description="`PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`; needed by SASL."
    )
    sasl_username: str | None = Field(
        None, pattern=r"^[!#%-\[\]-~]+$", description='User of SASL; printable ASCII without space, `"`, `$` or `\\`.'
    )
    sasl_password_file: PlainPath | None = Field(
        None, description="File with one line `password=…`, read by tools and by Flink's workers; needed by SASL."
    )
    jobs_dir: PlainPath | None = Field(
        None,
        description="Folder with `meter.properties`, `rollup.properties` and `anomaly.properties`, each with "
        "`username=…` and `password=…`: as whom the jobs log in; when empty, as the tools.",
    )
    ssl_ca_file: PlainPath | None = Field(
        None, description="PEM file of the authorities that brokers are checked against; the system's when empty."
    )
    ssl_cert_file: PlainPath | None = Field(None, description="PEM file of the client's certificate, for mutual TLS.")
    ssl_key_file: PlainPath | None = Field(
        None, description="PEM file of the client's private key, PKCS#8 without a password."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        sasl = {
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_username": self.sasl_username,
            "sasl_password_file": self.sasl_password_file,
        }
        files = {
            "ssl_ca_file": self.ssl_ca_file,
            "ssl_cert_file": self.ssl_cert_file,
            "ssl_key_file": self.ssl_key_file,
        }
        faults = [
            *_needed_with(self.security_protocol, "SASL", sasl, complete=True),
            *_needed_with(self.security_protocol, "SSL", files, complete=False),
        ]
        if self.jobs_dir is not None and self.sasl_mechanism is None:
            faults.append("jobs_dir without effect without SASL")
        if (self.ssl_cert_file is None) != (self.ssl_key_file is None):
            faults.append("ssl_cert_file and ssl_key_file go together")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def servers(self) -> list[str]:
        """Bootstrap servers, each host:port."""
        return self.bootstrap.split(",")


def _needed_with(protocol: str, kind: str, values: Mapping[str, object], *, complete: bool) -> Iterator[str]:
    given = [name for name, value in values.items() if value is not None]
    missing = [name for name in values if name not in given]
    if kind in protocol.split("_") and complete and missing:
        yield f"security_protocol {protocol} needs {', '.join(missing)}"
    if kind not in protocol.split("_") and given:
        yield f"{', '.join(given)} without effect under security_protocol {protocol}"


class TopicSettings(Section):
    """The source topic, and how topics are created."""

    events: str = Field("usage.events", pattern=r"^[A-Za-z0-9._-]{1,241}$", description="Source topic of raw events.")
    partitions: int = Field(4, ge=1, le=1024, description="Partitions of a topic that `topics apply` creates.")
    replication: int = Field(1, ge=1, le=9, description="Replication factor of a topic that is created.")

    @property
    def redrive(self) -> str:
        """Topic of redriven dead letters, whose record timestamps are their original arrivals; `meter` reads it too."""
        return redrive_of(self.events)


def redrive_of(events: str) -> str:
    """Topic of redriven dead letters beside a topic of events."""
    return f"{events}.redrive"


class PostgresSettings(Section):
    """Addresses of Postgres; psycopg and the JDBC driver read the password file, so no password enters a job graph.

    A process is given one URL, of its role, or, as on a machine of one person, all of them.
    """

    url: PostgresUrl = Field("postgresql://tidemark@127.0.0.1:5432/tidemark", description="TimescaleDB, no password.")
    owner_url: PostgresUrl | None = Field(
        None, description="The same as a member of `tidemark_owner`: migrations and replays; `postgres.url` when empty."
    )
    writer_url: PostgresUrl | None = Field(
        None, description="The same as a member of `tidemark_writer`: the jobs; `postgres.url` when empty."
    )
    ledger_url: PostgresUrl | None = Field(
        None, description="The same as a member of `tidemark_ledger`: closes; `postgres.url` when empty."
    )
    ops_url: PostgresUrl | None = Field(
        None, description="The same as a member of `tidemark_ops`: everything else; `postgres.url` when empty."
    )
    passfile: Path | None = Field(
        None, description="libpq password file, one line a user; libpq's own default when empty."
    )

    _url = field_validator("url", "owner_url", "writer_url", "ledger_url", "ops_url")(without_password)

    @property
    def owner(self) -> PostgresSettings:
        """As who changes tables."""
        return self._at(self.owner_url)

    @property
    def writer(self) -> PostgresSettings:
        """As the jobs, which write rollups."""
        return self._at(self.writer_url)

    @property
    def ledger(self) -> PostgresSettings:
        """As who closes periods."""
        return self._at(self.ledger_url)

    @property
    def ops(self) -> PostgresSettings:
        """As services and tools."""
        return self._at(self.ops_url)

    def _at(self, url: str | None) -> PostgresSettings:
        return self if url is None else self.model_copy(update={"url": url})


class RedisSettings(Section):
    """Address of Redis, and how long the hot path waits for it; paths as workers see them."""

    url: RedisUrl = Field(
        "redis://127.0.0.1:6379/0", description="Redis of the live counters, `rediss://USER@…` with TLS; no password."
    )
    password: SecretStr | None = Field(None, description="Password of Redis, for tools and services alone.")
    password_file: PlainPath | None = Field(None, description="File with the password of the user of `redis.url`.")
    meter_url: RedisUrl | None = Field(
        None, description="The same as the user of `meter`'s workers; `redis.url` when empty."
    )
    meter_password_file: PlainPath | None = Field(
        None, description="File with the password of the user of `redis.meter_url`, on the workers."
    )
    timeout_ms: int = Field(250, ge=10, le=5_000, description="Longest wait of one Redis call in the hot path.")
    retry_ms: int = Field(1_000, ge=100, le=10_000, description="Pause before Redis is tried again in the hot path.")

    _url = field_validator("url", "meter_url")(without_password)

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.password is not None and self.password_file is not None:
            raise ValueError("has password and password_file; give one")
        return self

    @property
    def secret(self) -> str | None:
        """The password as Redis takes it.

        Raises
        ------
        UsageError
            The file cannot be read.
        """
        return self.password.get_secret_value() if self.password else password_of(self.password_file)

    @property
    def of_meter(self) -> tuple[str, Path | None]:
        """Address and password file of the workers of `meter`."""
        if self.meter_url is None:
            return self.url, self.meter_password_file or self.password_file
        return self.meter_url, self.meter_password_file


def password_of(file: Path | None) -> str | None:
    """The one line of a password file."""
    try:
        return None if file is None else file.read_text("utf-8").strip()
    except OSError as error:
        raise UsageError(f"redis.password_file cannot be read: {error}.", "name a file with the password.") from error


class FlinkSettings(Section):
    """Address of Flink, where it keeps state, and options of all jobs."""

    rest_url: HttpUrl = Field("http://127.0.0.1:8081", description="Flink JobManager REST and UI.")
    rest_ca_file: PlainPath | None = Field(
        None,
        description="PEM file of the authorities that an https JobManager is checked against; the system's when empty.",
    )
    rest_cert_file: PlainPath | None = Field(None, description="PEM file of the tools' certificate, for mutual TLS.")
    rest_key_file: PlainPath | None = Field(None, description="PEM file of its private key.")
    conf_dir: Path | None = Field(None, description="Configuration `flink run` uses; FLINK_CONF_DIR when empty.")
    lib_dir: Path | None = Field(None, description="Flink and connector jars of the client; FLINK_LIB_DIR when empty.")
    state_dir: str = Field("", description="URI below which checkpoints and savepoints live; needed by jobs.")
    state_user: str = Field(
        "",
        description="Name or number of the user of Flink's processes, where another one submits: state may be theirs.",
    )
    state_ttl_days: int = Field(
        400, ge=32, description="Life of period totals; longer than the longest billing period."
    )
    source_idle_s: int = Field(30, ge=1, description="A partition silent for this long stops holding back watermarks.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.rest_cert_file is None) != (self.rest_key_file is None):
            raise ValueError("rest_cert_file and rest_key_file go together")
        if self.rest_ca_file is not None and not self.rest_url.startswith("https:"):
            raise ValueError("rest_ca_file without effect: rest_url is not https")
        return self


class S3Settings(Section):
    """How S3 is reached, where state or the archive are there."""

    endpoint: HttpUrl | None = Field(
        None, description="Address of a store that is not Amazon's; AWS_ENDPOINT_URL_S3 of the environment when empty."
    )
    region: str = Field("", description="Region of the buckets; AWS_REGION of the environment when empty.")
    credentials_file: PlainPath | None = Field(
        None,
        description="File with the keys, as Amazon's tools have it: profile `default`. When empty, the environment, "
        "the profile or the role of the machine.",
    )
