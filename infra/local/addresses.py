"""Where the services of a stack are, and as whom its tools come: what the settings file of a stack says."""

from __future__ import annotations

from infra.local.account import Account
from infra.local.paths import Paths
from infra.local.programs import flink_state
from infra.local.tls import TOOLS
from infra.service_settings import DATABASE, KAFKA_ADMIN, KAFKA_MECHANISM, KAFKA_OPERATOR, LOGINS, REDIS_USERS, ROLE
from tidemark.core.settings import KafkaSettings, Settings, nested


def settings(paths: Paths, ports: dict[str, int]) -> dict[str, str]:
    """Compose what jobs and tools need to reach this stack; dotted names of `tidemark.core.settings`."""
    return {
        "kafka.bootstrap": f"127.0.0.1:{ports['kafka']}",
        **(_kafka_security(paths) if paths.secured else {}),
        **{f"postgres.{name}": url for name, url in postgres_urls(paths, ports["postgres"], DATABASE).items()},
        "postgres.passfile": str(paths.passfile),
        **_redis(paths, ports["redis"]),
        **flink_rest(paths, ports["flink_rest"]),
        "flink.conf_dir": str(paths.conf / "flink"),
        "flink.lib_dir": str(paths.conf / "flink-lib"),
        "flink.state_dir": flink_state(paths).as_uri(),
        "flink.state_user": str(Account.of(paths.root).uid),
        "archive.dir": (paths.data / "archive").as_uri(),
    }


def sections(paths: Paths, ports: dict[str, int]) -> Settings:
    """The same, read; nothing of the environment or another file is in it."""
    return Settings.model_construct(**{
        name: type(getattr(_DEFAULTS, name))(**values)
        for name, values in nested(settings(paths, ports)).items()
    })  # fmt: skip


_DEFAULTS = Settings.model_construct()


def postgres_urls(paths: Paths, port: int, database: str) -> dict[str, str]:
    """URLs of a database by setting: of who migrates, and of each role."""
    verified = f"?sslmode=verify-full&sslrootcert={paths.certificates.authority}" if paths.secured else ""
    logins = {"url": ROLE, "owner_url": ROLE, **LOGINS}
    return {name: f"postgresql://{login}@127.0.0.1:{port}/{database}{verified}" for name, login in logins.items()}


def kafka_admin(paths: Paths, kafka: KafkaSettings) -> KafkaSettings:
    """Kafka of a secured stack, as who administers it."""
    login = {"sasl_username": KAFKA_ADMIN, "sasl_password_file": paths.kafka_login(KAFKA_ADMIN), "jobs_dir": None}
    return kafka.model_copy(update=login)


def _kafka_security(paths: Paths) -> dict[str, str]:
    return {
        "kafka.security_protocol": "SASL_SSL",
        "kafka.sasl_mechanism": KAFKA_MECHANISM,
        "kafka.sasl_username": KAFKA_OPERATOR,
        "kafka.sasl_password_file": str(paths.kafka_login(KAFKA_OPERATOR)),
        "kafka.jobs_dir": str(paths.kafka_jobs),
        "kafka.ssl_ca_file": str(paths.certificates.authority),
    }


def _redis(paths: Paths, port: int) -> dict[str, str]:
    scheme, query = ("rediss", f"?ssl_ca_certs={paths.certificates.authority}") if paths.secured else ("redis", "")
    found = {}
    for (url, file), user in REDIS_USERS.items():
        found[f"redis.{url}"] = f"{scheme}://{user}@127.0.0.1:{port}/0{query}"
        found[f"redis.{file}"] = str(paths.redis_password(user))
    return found


def flink_rest(paths: Paths, port: int) -> dict[str, str]:
    """Settings by which a JobManager is asked."""
    if not paths.secured:
        return {"flink.rest_url": f"http://127.0.0.1:{port}"}
    made = paths.certificates
    return {
        "flink.rest_url": f"https://127.0.0.1:{port}",
        "flink.rest_ca_file": str(made.authority),
        "flink.rest_cert_file": str(made.certificate(TOOLS)),
        "flink.rest_key_file": str(made.key(TOOLS)),
    }
