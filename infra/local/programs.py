"""The programs that supervisord runs: a description of each, with its command and environment."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyflink

from infra.local import standby
from infra.local.account import Account
from infra.local.confined import BARE, POSTGRES_DATA, Confinement
from infra.local.paths import Paths, cache_dir
from infra.local.provision import Provisioned
from infra.service_settings import KAFKA_JAVA_OPTIONS
from infra.versions import POSTGRES_MAJOR
from tidemark.core.errors import UsageError
from tidemark.core.settings import ApiSettings, HighAvailabilitySettings, S3Settings, WebSettings, section_of

HERE = Path(__file__).parent
FLINK_HOME = Path(pyflink.__file__).parent
POSTGRES_BIN = f"/usr/lib/postgresql/{POSTGRES_MAJOR}/bin"
POSTGRES_ARGUMENTS = ("-D", POSTGRES_DATA, "-c", f"config_file={POSTGRES_DATA}/tidemark.conf")
SERVICES = ("kafka", "postgres", "redis", "jobmanager", "taskmanager")
# Runs beside the jobs. Nothing is closed, compared or dropped on a machine where people try things out.
DAEMONS = ("serve",)
ROLES = ("live", "quotas", "alerts", "deliver", "health")
# Answer HTTP, where the settings of the stack have an address for them.
HTTP_ROLES: Mapping[str, type[ApiSettings | WebSettings]] = {"api": ApiSettings, "web": WebSettings}
_ENTERED = stat.S_IROTH | stat.S_IXOTH
# Kafka and ZooKeeper log to standard output, which supervisord keeps.
_LOGGING = f"-Dlog4j2.configurationFile={HERE.parent / 'kafka/log4j2.properties'}"
# Marks every process of a stack, to find those that a killed supervisor or TaskManager left behind.
STACK_MARK = "TIDEMARK_STACK"
PROGRAM_MARK = "TIDEMARK_PROGRAM"


@dataclass(frozen=True, slots=True)
class Program:
    """One supervised program."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    stop_signal: str = "TERM"
    stop_wait_s: int = 30
    stop_group: bool = True
    autostart: bool = True


def programs(paths: Paths, parts: Provisioned, ports: dict[str, int]) -> list[Program]:
    """Every program of a stack; DAEMONS are started later, because they need the migrated database."""
    reap = f"{sys.executable} -m infra.local.reap {paths.root} taskmanager"
    tidemark = str(Path(sys.prefix) / "bin/tidemark")
    return [
        Program("kafka", [*BARE, *_kafka_command(paths, parts, "kafka.Kafka")]),
        # INT is Postgres's fast shutdown, and only its first process may get it.
        Program("postgres", postgres_command(parts, "postgres", *POSTGRES_ARGUMENTS),
                stop_signal="INT", stop_wait_s=60, stop_group=False),
        Program("redis", [*BARE, "redis-server", str(paths.conf / "redis.conf")]),
        *_job_managers(paths, parts, ports),
        # Python workers outlive a killed TaskManager: they are removed before the next one starts.
        Program("taskmanager",
                [*BARE, "/bin/sh", "-c", f"{reap}; exec {FLINK_HOME}/bin/taskmanager.sh start-foreground"],
                flink_environment(paths)),
        Program("serve", [*BARE, tidemark, "serve", "--roles", ",".join(roles_of(paths))], client_environment(paths),
                autostart=False),
    ]  # fmt: skip


def _job_managers(paths: Paths, parts: Provisioned, ports: dict[str, int]) -> list[Program]:
    """The JobManager, or two and who elects one of them."""
    command = [*BARE, str(FLINK_HOME / "bin/jobmanager.sh"), "start-foreground"]
    ha = high_availability_of(paths)
    if ha.mode == "none":
        return [Program("jobmanager", command, flink_environment(paths))]
    both = [
        Program(name, [*command, *standby.options(ports, number)], flink_environment(paths))
        for number, name in enumerate(("jobmanager", standby.SECOND), 1)
    ]
    zookeeper = [Program(standby.ZOOKEEPER, [*BARE, *_zookeeper_command(paths, parts)])] if ha.starts_zookeeper else []
    return [*zookeeper, *both]


def services_of(paths: Paths) -> tuple[str, ...]:
    """Programs that a stack is not ready without."""
    return (*SERVICES, *standby.services(high_availability_of(paths)))


def roles_of(paths: Paths) -> list[str]:
    """Roles of `serve`: also those that answer HTTP, where the settings of the stack have an address for them."""
    answering = (
        role for role, kind in HTTP_ROLES.items() if "listen" in section_of(paths.settings, role, kind).model_fields_set
    )
    return [*ROLES, *answering]


def object_store_of(paths: Paths) -> S3Settings:
    """How S3 is reached, as the settings of the stack say."""
    return section_of(paths.settings, "s3", S3Settings)


def high_availability_of(paths: Paths) -> HighAvailabilitySettings:
    """Whether a second JobManager stands by, as the settings of the stack say."""
    return section_of(paths.settings, "ha", HighAvailabilitySettings)


def _keys_of(s3: S3Settings) -> dict[str, str]:
    """The variable by which Java finds a file of credentials."""
    return {"AWS_CREDENTIAL_PROFILES_FILE": str(s3.credentials_file)} if s3.credentials_file else {}


def postgres_command(parts: Provisioned, program: str, *arguments: str) -> list[str]:
    """Compose the call of a Postgres program inside the Debian tree; to be run confined."""
    return ["chroot", str(parts.rootfs), *BARE, f"{POSTGRES_BIN}/{program}", *arguments]


def confined(paths: Paths, parts: Provisioned, program: list[str]) -> list[str]:
    """Compose the call of a program as the user of the stack.

    Raises
    ------
    UsageError
        Something that it needs is closed to all but its owner.
    """
    account = Account.of(paths.root)
    java_home = Path(java()).resolve().parents[1]
    installed = [Path(sys.prefix), Path(sys.base_prefix), FLINK_HOME, java_home, HERE.parents[1], cache_dir()]
    if account.is_other:
        _refuse_closed(installed)
    reach = tuple(map(str, (*installed, paths.root)))
    rootfs, data, beside = map(str, (parts.rootfs, paths.data / "postgres", paths.tree))
    return Confinement(account.uid, account.gid, reach, rootfs, data, beside).command(program)


def _refuse_closed(needed: list[Path]) -> None:
    for path in needed:
        if path.stat().st_mode & _ENTERED != _ENTERED:
            raise UsageError(
                f"services run as a user of their own, who cannot read {path}.", f"chmod -R go+rX {path}, then repeat."
            )


def kafka_tool_command(paths: Paths, parts: Provisioned, *arguments: str) -> list[str]:
    """Kafka's StorageTool."""
    return [*_kafka_command(paths, parts, "kafka.tools.StorageTool", with_file=False), *arguments]


def _kafka_command(paths: Paths, parts: Provisioned, main: str, *, with_file: bool = True) -> list[str]:
    command = [java(), *KAFKA_JAVA_OPTIONS, _LOGGING, "-cp", f"{parts.kafka_jars}/*", main]
    return [*command, str(paths.conf / "kafka.properties")] if with_file else command


def _zookeeper_command(paths: Paths, parts: Provisioned) -> list[str]:
    main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
    return [java(), "-Xmx128m", _LOGGING, "-cp", f"{parts.zookeeper_jars}/*", main, str(paths.conf / "zookeeper.cfg")]


def java() -> str:
    """Find the Java that runs everything: JAVA_HOME's, else the one on PATH."""
    home = os.environ.get("JAVA_HOME")
    found = str(Path(home) / "bin/java") if home else shutil.which("java")
    if not found or not Path(found).is_file():
        raise UsageError(f"no java at {found or 'any directory of PATH'}.", "install Java 17, or correct JAVA_HOME.")
    return found


def base_environment() -> dict[str, str]:
    """Environment of the supervisor: not the caller's, so that a stack does not depend on who started it."""
    path = f"{Path(sys.prefix) / 'bin'}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = {"PATH": path, "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8", "TZ": "UTC"}
    # Which Java, and options of all of them.
    return environment | {name: os.environ[name] for name in ("JAVA_HOME", "JDK_JAVA_OPTIONS") if name in os.environ}


def client_environment(paths: Paths) -> dict[str, str]:
    """Compose what a program needs to find this stack's settings and passwords."""
    return {"TIDEMARK_CONFIG": str(paths.settings), "PGPASSFILE": str(paths.passfile)}


def flink_environment(paths: Paths) -> dict[str, str]:
    """Environment of Flink's scripts (cluster and `flink run`): the pip package as distribution, state elsewhere."""
    return {
        **client_environment(paths),
        "PGPASSFILE": str(paths.flink_passfile),
        "FLINK_HOME": str(FLINK_HOME),
        "FLINK_CONF_DIR": str(paths.conf / "flink"),
        "FLINK_LIB_DIR": str(paths.conf / "flink-lib"),
        "FLINK_PLUGINS_DIR": str(paths.conf / "flink-plugins"),
        **_keys_of(object_store_of(paths)),
        "FLINK_LOG_DIR": str(paths.logs / "flink"),
        "FLINK_PID_DIR": str(paths.work / "flink-pid"),
        "MAX_LOG_FILE_NUMBER": "3",
    }


def flink_state(paths: Paths) -> Path:
    """Directory of checkpoints and savepoints."""
    return paths.data / "flink"
