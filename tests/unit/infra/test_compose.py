"""compose.yaml, the Dockerfile and pom.xml cannot be run here; they must say what the local stack says."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import pytest
import yaml
from psycopg import pq

import schemas
from infra import redis_users, service_settings, versions
from infra.local import flink_conf
from infra.local.programs import DAEMONS, FLINK_HOME
from tidemark.core import topics
from tidemark.core.settings import ENV_PREFIX, Settings, every_setting, load, variable_of
from tidemark.core.supervisor import STOP_WITHIN_S
from tidemark.serve.roles import not_configured

INFRA = Path(service_settings.__file__).parent


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return yaml.safe_load((INFRA / "compose.yaml").read_text())["services"]


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (INFRA / "Dockerfile").read_text()


def published(service: dict[str, Any]) -> list[str]:
    return service.get("ports", [])


def test_compose_has_every_service_of_the_local_stack(services: dict[str, Any]) -> None:
    assert {"kafka", "postgres", "redis", "jobmanager", "taskmanager", *DAEMONS} <= set(services)


def test_all_roles_but_two_that_are_asked_for_are_configured_in_the_containers(services: dict[str, Any]) -> None:
    service = services["serve"]
    given = {name: text for name, text in service["environment"].items() if name.startswith(ENV_PREFIX)}
    with pytest.MonkeyPatch.context() as patch:
        for name, text in given.items():
            patch.setenv(name, text)
        assert list(not_configured(load())) == ["retention", "resubmit"]
    assert service["command"] == "tidemark serve"
    assert int(service["stop_grace_period"].removesuffix("s")) > STOP_WITHIN_S


def test_images_have_the_versions_of_the_local_stack(services: dict[str, Any], dockerfile: str) -> None:
    images = {name: service["image"].partition("@")[0] for name, service in services.items()}
    assert images["kafka"] == f"apache/kafka:{versions.KAFKA}"
    expected = f"timescale/timescaledb:{versions.TIMESCALEDB}-pg{versions.POSTGRES_MAJOR}"
    assert images["postgres"] == expected
    assert images["redis"] == f"redis:{versions.REDIS_IMAGE}"
    assert f"FROM flink:{versions.FLINK}-java{versions.JAVA_MAJOR} AS distribution" in dockerfile
    assert f"FROM python:{versions.PYTHON}-slim-bookworm" in dockerfile
    assert f"openjdk-{versions.JAVA_MAJOR}-jre-headless" in dockerfile


@pytest.mark.parametrize(
    ("service", "port"),
    [("kafka", "kafka"), ("postgres", "postgres"), ("redis", "redis"), ("jobmanager", "flink_rest")],
)
def test_ports_are_the_standard_ones_and_open_on_this_machine_only(
    services: dict[str, Any], service: str, port: str
) -> None:
    number = service_settings.STANDARD_PORTS[port]
    assert published(services[service]) == [f"127.0.0.1:{number}:{number}"]


def test_only_the_service_ports_are_published(services: dict[str, Any]) -> None:
    assert sum(len(published(service)) for service in services.values()) == 7


def test_the_endpoint_of_serve_is_open_on_this_machine_only_and_probed(services: dict[str, Any]) -> None:
    port = Settings().serve.listen.rpartition(":")[2]
    given = services["serve"]["environment"]
    others = [given[f"TIDEMARK_{role}__LISTEN"].rpartition(":")[2] for role in ("API", "WEB")]
    assert published(services["serve"]) == [f"127.0.0.1:{one}:{one}" for one in (port, *others)]
    assert services["serve"]["environment"]["TIDEMARK_SERVE__LISTEN"].endswith(f":{port}")
    assert f":{port}/healthz" in services["serve"]["healthcheck"]["test"][-1]


def test_kafka_has_the_settings_of_the_local_stack(services: dict[str, Any]) -> None:
    environment = services["kafka"]["environment"]
    # A container is reached under two names, so it has one listener more.
    own = {"listener.security.protocol.map", "inter.broker.listener.name"}
    for key, value in service_settings.KAFKA.items():
        name = f"KAFKA_{key.replace('.', '_').upper()}"
        assert key in own or environment[name] == value, key
    for option in environment["KAFKA_HEAP_OPTS"].split():
        assert option in service_settings.KAFKA_JAVA_OPTIONS


def test_postgres_has_the_settings_of_the_local_stack(services: dict[str, Any]) -> None:
    service = services["postgres"]
    given = dict(option.removeprefix("-c").split("=", 1) for option in service["command"][1:])
    assert given == {**service_settings.POSTGRES, "timescaledb.license": "apache"}
    assert service["environment"]["POSTGRES_INITDB_ARGS"].split() == list(service_settings.POSTGRES_INITDB)
    # The superuser is nobody's login.
    assert service["environment"]["POSTGRES_USER"] == "postgres"
    assert service["environment"]["POSTGRES_DB"] == service_settings.DATABASE


def test_redis_has_the_settings_of_the_local_stack(services: dict[str, Any]) -> None:
    words = services["redis"]["command"][1:]
    given = {key.removeprefix("--"): value for key, value in zip(words[::2], words[1::2], strict=True)}
    # Protected mode refuses other containers; the port is published on this machine only.
    expected = {**service_settings.REDIS, "protected-mode": "no"}
    assert given == {key: value.strip('"') for key, value in expected.items()}


def test_every_setting_given_to_a_container_is_a_setting(services: dict[str, Any]) -> None:
    given = {
        key for service in services.values() for key in service.get("environment", {}) if key.startswith(ENV_PREFIX)
    }
    assert given
    assert given <= {variable_of(name) for name, _ in every_setting()}


def test_containers_reach_each_other_by_service_name(services: dict[str, Any]) -> None:
    environment = services["jobmanager"]["environment"]
    for name in ("postgres.url", "redis.url", "flink.rest_url"):
        assert urlsplit(environment[variable_of(name)]).hostname in services
    assert environment["TIDEMARK_KAFKA__BOOTSTRAP"] in services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]


def test_no_password_stands_in_the_compose_file(services: dict[str, Any]) -> None:
    names = {key for service in services.values() for key in service.get("environment", {})}
    assert not {name for name in names if "PASSWORD" in name and not name.endswith("_FILE")}


def test_one_image_has_flink_and_the_other_has_not(services: dict[str, Any]) -> None:
    stages = re.split(r"^FROM ", (INFRA / "Dockerfile").read_text(), flags=re.MULTILINE)
    locked = {
        stage.split()[2]: re.findall(r"install_locked.sh pip (.*) \\", stage)
        for stage in stages
        if "pip install" in stage
    }
    assert locked == {"services": ["constraints.txt"], "flink": ["constraints.txt constraints-jobs.txt"]}
    taken = (INFRA / "Dockerfile.dockerignore").read_text().splitlines()
    assert {"!constraints.txt", "!constraints-jobs.txt", "!setup.py", "!LICENSE"} <= {*taken}
    # Compose names no target: it gets the last.
    assert stages[-1].split()[2] == "flink"
    assert "target" not in services["jobmanager"]["build"]


def test_tables_and_topics_are_made_by_the_same_tools(services: dict[str, Any]) -> None:
    assert services["topics"]["command"] == "tidemark topics apply"
    assert services["tables"]["command"] == "tidemark db migrate"


def test_a_dead_letter_fits_into_what_the_broker_takes() -> None:
    assert service_settings.MAX_MESSAGE_BYTES == topics.MAX_RECORD_BYTES
    assert service_settings.KAFKA["message.max.bytes"] == str(topics.MAX_RECORD_BYTES)


def test_open_transactions_outlive_the_longest_outage_promised() -> None:
    outage_s = Settings().events.outage_s
    assert int(service_settings.KAFKA["transaction.max.timeout.ms"]) >= (outage_s + 3_600) * 1_000


def test_the_pom_fetches_the_versions_of_the_local_stack() -> None:
    pom = ET.parse(INFRA / "local/pom.xml")  # noqa: S314 - our own file
    space = {"m": "http://maven.apache.org/POM/4.0.0"}
    properties = {node.tag.partition("}")[2]: node.text for node in pom.iterfind(".//m:properties/*", space)}
    assert properties == {
        "flink.kafka.version": versions.FLINK_KAFKA_CONNECTOR,
        "flink.s3.version": versions.FLINK_S3,
        "flink.jdbc.version": versions.FLINK_JDBC_CONNECTOR,
        "flink.zookeeper.version": versions.FLINK_ZOOKEEPER,
        "postgres.jdbc.version": versions.POSTGRES_JDBC,
        "kafka.version": versions.KAFKA,
        "scala.version": versions.SCALA_OF_KAFKA,
        "log4j.version": versions.LOG4J_OF_KAFKA,
        "zookeeper.version": versions.ZOOKEEPER,
        "metrics.version": versions.METRICS_OF_ZOOKEEPER,
        "snappy.version": versions.SNAPPY_OF_ZOOKEEPER,
    }
    fetched = {node.text for node in pom.iterfind(".//m:dependency/m:version", space)}
    assert all(re.fullmatch(r"\$\{[a-z.0-9]+\}", version or "") for version in fetched)


def test_the_flink_version_is_the_installed_one() -> None:
    pins = (INFRA.parent / "pyproject.toml").read_text()
    assert f'"apache-flink=={versions.FLINK}"' in pins


def test_the_image_gets_a_complete_flink_configuration() -> None:
    text = flink_conf.render(FLINK_HOME / "conf/config.yaml", flink_conf.image_values())
    parsed = yaml.safe_load(text)
    assert "$" not in text
    assert parsed["jobmanager.rpc.address"] == "jobmanager"
    assert parsed["rest.port"] == service_settings.STANDARD_PORTS["flink_rest"]
    assert parsed["env.java.opts.all"].endswith("-Duser.timezone=UTC")
    assert "--add-opens=java.base/java.lang=ALL-UNNAMED" in parsed["env.java.opts.all"]
    assert parsed["metrics.reporter.prom.port"] == flink_conf.METRICS_PORTS


def test_each_container_has_the_passwords_of_its_roles_alone(services: dict[str, Any]) -> None:
    held = {name: set(service.get("secrets", [])) for name, service in services.items()}
    assert held["taskmanager"] == {"tidemark_writer", "redis_tidemark_meter"}
    assert held["tables"] == {service_settings.ROLE}
    assert held["topics"] == held["kafka"] == set()
    mounted = {name for name, service in services.items() if "receivers" in str(service.get("volumes"))}
    assert mounted == {"serve"}
    admins = {name for name, secrets in held.items() if "postgres_admin" in secrets}
    assert admins == {"postgres"}
    assert {name for name, secrets in held.items() if service_settings.ROLE in secrets} == {"postgres", "tables"}


def test_compose_has_the_logins_of_the_local_stack(services: dict[str, Any]) -> None:
    environment = services["serve"]["environment"]
    logins = {**service_settings.LOGINS, "owner_url": service_settings.ROLE, "url": service_settings.LOGINS["ops_url"]}
    for name, login in logins.items():
        assert urlsplit(environment[variable_of(f"postgres.{name}")]).username == login
    for (url, file), user in service_settings.REDIS_USERS.items():
        assert urlsplit(environment[variable_of(f"redis.{url}")]).username == user
        assert environment[variable_of(f"redis.{file}")].endswith(f"/redis_{user}")
    made = (INFRA / "postgres_logins.sh").read_text()
    assert f"for login in {service_settings.ROLE} {' '.join(service_settings.LOGINS.values())};" in made


def test_secrets_are_made_for_all_logins_and_for_their_owner_alone(tmp_path: Path) -> None:
    shutil.copytree(INFRA, tmp_path / "infra", ignore=shutil.ignore_patterns("*.py"))
    for _ in range(2):
        subprocess.run(["sh", tmp_path / "infra/make_secrets.sh"], check=True)
    made = {file.name: file for file in (tmp_path / ".secrets").iterdir() if file.is_file()}
    assert [*(tmp_path / ".secrets/receivers").iterdir()] == []
    assert made.keys() == yaml.safe_load((INFRA / "compose.yaml").read_text())["secrets"].keys()
    # The folder keeps others out; a container's user, who is another, reads what is mounted to it.
    assert (tmp_path / ".secrets").stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in made.values()} == {0o444}
    assert len({file.read_text() for file in made.values()}) == len(made)


def test_redis_starts_with_the_same_users_in_a_container(tmp_path: Path) -> None:
    users = {user: f"secret of {user}" for user in redis_users.rules() if user not in {"default", redis_users.ADMIN}}
    for user, secret in users.items():
        (tmp_path / f"redis_{user}").write_text(f"{secret}\n")
    rights = Path(schemas.__file__).parent / "redis/users.acl"
    environment = {"PATH": "/usr/bin:/bin", "RIGHTS": str(rights), "SECRETS": str(tmp_path), "MADE": f"{tmp_path}/made"}
    done = subprocess.run(
        ["sh", INFRA / "redis_start.sh", "echo", "redis-server"], env=environment, check=True, capture_output=True,
        text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout == f"redis-server --aclfile {tmp_path}/made\n"
    assert (tmp_path / "made").read_text() == redis_users.acl_file(users)


def test_no_password_goes_into_the_image_or_the_repository() -> None:
    secrets = yaml.safe_load((INFRA / "compose.yaml").read_text())["secrets"].values()
    files = [(INFRA / secret["file"]).resolve().relative_to(INFRA.parent) for secret in secrets]
    assert files
    # `*` leaves everything out of the image but what is named again.
    taken = [
        line.removeprefix("!") for line in (INFRA / "Dockerfile.dockerignore").read_text().splitlines() if "!" in line
    ]
    assert not [file for file in files for top in taken if file.is_relative_to(top)]
    copied = re.findall(r"(?m)^COPY (?!--from=)(.*) \S+$", (INFRA / "Dockerfile").read_text())
    assert copied == ["infra/local/pom.xml infra/local/jars.sha256"]
    ignored = (INFRA.parent / ".gitignore").read_text().splitlines()
    assert not [file for file in files if f"{file.parts[0]}/" not in ignored]


def test_no_container_has_root_a_capability_or_a_place_to_write_that_is_not_named(
    services: dict[str, Any], dockerfile: str
) -> None:
    for name, service in services.items():
        assert service["user"].split(":")[0] not in {"", "0", "root"}, name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & service.keys(), name
    assert {*re.findall(r"(?m)^USER (.*)$", dockerfile)} == {services["serve"]["user"]}
    assert dockerfile.count("\nUSER ") == dockerfile.count("\nENTRYPOINT ") == 2


def test_who_has_nothing_to_say_to_a_service_does_not_reach_it(services: dict[str, Any]) -> None:
    joined = {name: set(service["networks"]) for name, service in services.items()}
    for server in ("kafka", "postgres", "redis"):
        assert joined[server] == {server}
    assert joined["topics"] == {"kafka"}
    assert joined["tables"] == {"postgres"}
    # Receivers of alerts are elsewhere.
    assert [name for name, networks in joined.items() if "outside" in networks] == ["serve"]
    assert set.union(*joined.values()) == yaml.safe_load((INFRA / "compose.yaml").read_text())["networks"].keys()


def test_a_container_has_the_folder_of_state_and_archive_only_where_it_reads_or_writes_it(
    services: dict[str, Any],
) -> None:
    mounted = {
        name for name, service in services.items() if any("flink-state" in one for one in service.get("volumes", []))
    }
    assert mounted == {"jobmanager", "taskmanager", "serve"}


def test_the_image_starts_with_passwords_for_its_own_addresses_alone(services: dict[str, Any], tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "tidemark_ops").write_text("pa:ss\\word\n")
    (secrets / "redis_tidemark_services").write_text("not of Postgres\n")
    passfile = tmp_path / "pgpass"
    for url, hosts in (
        (services["serve"]["environment"]["TIDEMARK_POSTGRES__URL"], ["postgres:5432"]),
        ("postgresql://tidemark_ops@one:5432,two:5433/tidemark?sslmode=verify-full", ["one:5432", "two:5433"]),
    ):
        environment = {
            "PATH": "/usr/bin:/bin",
            "SECRETS": str(secrets),
            "PGPASSFILE": str(passfile),
            "TIDEMARK_POSTGRES__URL": url,
        }
        command = ["sh", INFRA / "image_entrypoint.sh", "echo", "tidemark", "serve"]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        assert done.stdout == "tidemark serve\n"
        lines = [rf"{host}:tidemark:tidemark_ops:pa\:ss\\word" for host in hosts]
        assert passfile.read_text().splitlines() == lines
        assert passfile.stat().st_mode & 0o777 == 0o600


def test_the_written_password_file_is_one_that_libpq_reads(tmp_path: Path) -> None:
    (tmp_path / "tidemark_ops").write_text("pa:ss\\word\n")
    passfile, url = tmp_path / "pgpass", "postgresql://tidemark_ops@localhost:1/tidemark"
    environment = {
        "PATH": "/usr/bin:/bin",
        "SECRETS": str(tmp_path),
        "PGPASSFILE": str(passfile),
        "TIDEMARK_POSTGRES__URL": url,
    }
    subprocess.run(["sh", INFRA / "image_entrypoint.sh", "true"], env=environment, check=True)
    connection = pq.PGconn.connect_start(f"{url}?passfile={passfile}".encode())
    assert connection.password == b"pa:ss\\word"
    connection.finish()


def test_images_are_pinned_by_the_digest_that_docker_names(tmp_path: Path) -> None:
    shutil.copytree(INFRA, tmp_path / "infra", ignore=shutil.ignore_patterns("*.py"))
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\necho sha256:{'a' * 64}\n")
    docker.chmod(0o755)
    for _ in range(2):
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        subprocess.run(["sh", tmp_path / "infra/pin_images.sh"], env=environment, check=True, capture_output=True)
    pinned = f"@sha256:{'a' * 64}"
    made = yaml.safe_load((tmp_path / "infra/compose.yaml").read_text())["services"]
    own = {"tidemark"}
    assert all((service["image"] in own) != service["image"].endswith(pinned) for service in made.values())
    bases = re.findall(r"(?m)^FROM (\S+)", (tmp_path / "infra/Dockerfile").read_text())
    assert len(bases) == 4
    assert all(base.endswith(pinned) and base.count("@") == 1 for base in bases)
