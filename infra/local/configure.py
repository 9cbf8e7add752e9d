"""Writes the configuration files of the services and of supervisord; every `up` writes them again."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from infra.local import beam_loopback, flink_conf, secured, standby
from infra.local.paths import Paths, short_hash, write_private
from infra.local.prepare import kafka_passwords, write_redis_passwords
from infra.local.programs import (
    FLINK_HOME,
    PROGRAM_MARK,
    STACK_MARK,
    Program,
    flink_state,
    high_availability_of,
    object_store_of,
    programs,
)
from infra.local.provision import Provisioned
from infra.redis_users import acl_file
from infra.service_settings import KAFKA, KAFKA_ADMIN, POSTGRES, REDIS


def write_configuration(
    paths: Paths, parts: Provisioned, ports: dict[str, int], *, flink_metrics: bool = False
) -> None:
    """Write the configuration of every service and of supervisord; `flink_metrics` turns on Flink's reporter."""
    scratch = [paths.work / name for name in ("tmp", "rocksdb", "upload", "flink-pid")]
    for directory in (paths.conf / "flink", paths.logs / "flink", paths.data / "redis", flink_state(paths), *scratch):
        directory.mkdir(parents=True, exist_ok=True)
    write_private(paths.conf / "kafka.properties", _kafka_properties(paths, ports))
    (paths.conf / "postgres.conf").write_text(_postgres_conf(paths, ports))
    (paths.conf / "redis.conf").write_text(_redis_conf(paths, ports))
    write_private(paths.conf / "redis.acl", acl_file(write_redis_passwords(paths)))
    _write_election(paths, ports)
    _write_flink(paths, parts, ports, flink_conf.reporter(flink_conf.METRICS_PORTS) if flink_metrics else "")
    paths.supervisor_conf.write_text(_supervisor_conf(paths, programs(paths, parts, ports)))


def _kafka_properties(paths: Paths, ports: dict[str, int]) -> str:
    addresses = {
        "listeners": f"PLAINTEXT://127.0.0.1:{ports['kafka']},CONTROLLER://127.0.0.1:{ports['kafka_controller']}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{ports['kafka']}",
        "controller.quorum.voters": f"1@127.0.0.1:{ports['kafka_controller']}",
        "log.dirs": str(paths.data / "kafka"),
    }
    if paths.secured:
        admin = kafka_passwords(paths)[KAFKA_ADMIN]
        addresses |= secured.kafka(paths.certificates, ports["kafka"], ports["kafka_controller"], admin)
    return _lines({**KAFKA, **addresses}, "{}={}")


def _postgres_conf(paths: Paths, ports: dict[str, int]) -> str:
    own = {"listen_addresses": "127.0.0.1", "port": str(ports["postgres"]), "unix_socket_directories": ""}
    return _lines({**POSTGRES, **own, **(secured.postgres() if paths.secured else {})}, "{} = '{}'")


def _redis_conf(paths: Paths, ports: dict[str, int]) -> str:
    # set-proc-title: with a title of its own, the mark of the stack is overwritten in the process's environment.
    own = {"bind": "127.0.0.1", "port": str(ports["redis"]), "dir": str(paths.data / "redis"), "daemonize": "no",
           "set-proc-title": "no", "aclfile": str(paths.conf / "redis.acl")}  # fmt: skip
    tls = secured.redis(paths.certificates, ports["redis"]) if paths.secured else {}
    return _lines({**REDIS, **own, **tls}, "{} {}")


def _lines(values: dict[str, str], form: str) -> str:
    return "".join(form.format(key, value) + "\n" for key, value in values.items())


def _write_election(paths: Paths, ports: dict[str, int]) -> None:
    """What elects the JobManager that leads needs a file: ZooKeeper, or the way to a Kubernetes API."""
    ha = high_availability_of(paths)
    if ha.starts_zookeeper:
        (paths.data / standby.ZOOKEEPER).mkdir(exist_ok=True)
        (paths.conf / "zookeeper.cfg").write_text(standby.zookeeper_properties(paths, ports, ha))
    if ha.kubeconfig is not None:
        write_private(paths.kubeconfig, standby.kubeconfig(ha.kubeconfig))


def _write_flink(paths: Paths, parts: Provisioned, ports: dict[str, int], metrics: str) -> None:
    state = flink_state(paths).as_uri()
    values: dict[str, str | int] = {
        **ports,
        "bind_host": "127.0.0.1",
        "jobmanager_host": "127.0.0.1",
        "taskmanager_host": "taskmanager.host: 127.0.0.1",
        "state_uri": state,
        "work_dir": str(paths.work),
        "python": sys.executable,
        "metrics": metrics,
        "security": secured.flink(paths.certificates) if paths.secured else "",
        "rest_scheme": "https" if paths.secured else "http",
        "s3": flink_conf.object_store(object_store_of(paths)),
        "ha": standby.configuration(paths, ports, high_availability_of(paths), state),
    }
    shipped = FLINK_HOME / "conf"
    write_private(paths.conf / "flink/config.yaml", flink_conf.render(shipped / "config.yaml", values))
    for logging in shipped.glob("log4j*.properties"):
        shutil.copyfile(logging, paths.conf / "flink" / logging.name)
    _link_jars(paths.conf / "flink-lib", parts)
    shipped_plugins = {folder.name: folder for folder in FLINK_HOME.glob("plugins/*") if folder.is_dir()}
    _link(paths.conf / "flink-plugins", {**shipped_plugins, "s3-fs-hadoop": parts.flink_s3})


def _link_jars(lib: Path, parts: Provisioned) -> None:
    """Flink's own jars, the connectors, and the Python runtime (so that it is loaded once, not once a job)."""
    (python_jar,) = FLINK_HOME.glob("opt/flink-python-*.jar")
    own = [*FLINK_HOME.glob("lib/*.jar"), python_jar, _loopback(lib, python_jar)]
    _link(lib, {jar.name: jar for jar in (*own, *parts.flink_jars.glob("*.jar"))})


def _link(folder: Path, wanted: dict[str, Path]) -> None:
    """A folder of links and nothing else."""
    linked = {link.name: link.readlink() for link in folder.iterdir()} if folder.is_dir() else {}
    if linked == wanted:
        return  # a running JVM may be reading them
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, target in wanted.items():
        (folder / name).symlink_to(target)


def _loopback(lib: Path, python_jar: Path) -> Path:
    """The jar that keeps Beam's servers on loopback, made once: a running JVM may be reading it."""
    jar = lib.with_name(beam_loopback.JAR)
    if not jar.is_file():
        beam_loopback.write(python_jar, jar)
    return jar


def _supervisor_conf(paths: Paths, every: list[Program]) -> str:
    head = f"""; Generated by `tidemark up`; changes are overwritten.
[supervisord]
pidfile={paths.supervisor_pid}
logfile={paths.logs}/supervisord.log
logfile_maxbytes=5MB
logfile_backups=1
childlogdir={paths.logs}
umask=077
directory={paths.root}

[unix_http_server]
file={paths.supervisor_socket}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{paths.supervisor_socket}
"""
    return head + "".join(_section(paths, program) for program in every)


def _section(paths: Paths, program: Program) -> str:
    marks = {
        STACK_MARK: str(paths.root),
        PROGRAM_MARK: program.name,
        "TIDEMARK_CONFIGURATION": _fingerprint(paths, program),
    }
    environment = ",".join(f'{key}="{value}"' for key, value in {**program.environment, **marks}.items())
    group = str(program.stop_group).lower()
    return f"""
[program:{program.name}]
command={_quoted(program.command)}
environment={environment.replace("%", "%%")}
autostart={str(program.autostart).lower()}
autorestart=true
startsecs=2
startretries=20
stopsignal={program.stop_signal}
stopwaitsecs={program.stop_wait_s}
stopasgroup={group}
killasgroup=true
redirect_stderr=true
stdout_logfile={paths.logs}/{program.name}.log
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=1
"""


def _quoted(command: list[str]) -> str:
    return shlex.join(command).replace("%", "%%")


def _fingerprint(paths: Paths, program: Program) -> str:
    """Hash the program's configuration files, so that supervisord restarts it exactly then."""
    files = {
        "kafka": ["kafka.properties"],
        "postgres": ["postgres.conf"],
        "redis": ["redis.conf", "redis.acl"],
        "jobmanager": ["flink/config.yaml"],
        standby.SECOND: ["flink/config.yaml"],
        standby.ZOOKEEPER: ["zookeeper.cfg"],
        "taskmanager": ["flink/config.yaml"],
    }.get(program.name, [])
    jars = sorted(jar.name for jar in (paths.conf / "flink-lib").iterdir()) if "flink/config.yaml" in files else []
    lines = [line for name in files for line in (paths.conf / name).read_text().splitlines()]
    return short_hash("\n".join([*(line for line in lines if not line.startswith("#")), *jars]))
