"""What `tidemark doctor` checks of this machine and of the local stack."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from infra import versions
from infra.local import exposure
from infra.local.account import Account
from infra.local.addresses import sections
from infra.local.flink_conf import metrics_ports
from infra.local.listening import listeners
from infra.local.paths import Paths
from infra.local.ports import is_free, read_ports
from infra.local.probes import ask
from infra.local.programs import java, services_of
from infra.local.provision import locations
from infra.local.reap import marked
from infra.local.supervise import Supervisor
from tidemark.core.errors import TidemarkError
from tidemark.core.settings import load
from tidemark.health import checks
from tidemark.health.checks import Finding

# Debian tree 0.6 GB, jars 0.2 GB, .venv 1.5 GB, and room for data and checkpoints.
_LEAST_FREE_GB = 5
_UP = "tidemark up"


def examine(paths: Paths) -> list[Finding]:
    """Every finding; a check that fails never hides those after it."""
    machine: list[Callable[[], Finding]] = [
        _python,
        _java,
        _maven,
        _flink,
        _jars,
        _rootfs,
        _redis,
        checks.variables,
        lambda: _disk(paths),
    ]
    findings = [check() for check in machine]
    ports = read_ports(paths.ports)
    running = Supervisor(paths).pid() is not None
    findings.append(Finding("stack", running, f"{paths.root} is {'up' if running else 'down'}", _UP))
    if ports is None:
        return findings
    findings += _ports(ports, running=running)
    if running:
        findings += [_service(service, ports, paths) for service in services_of(paths)]
        stack = sections(paths, ports)
        findings.append(checks.jvm_zone(stack.flink))
        findings.append(checks.transactions(load().model_copy(update={"kafka": stack.kafka})))
        findings.append(checks.serve(load()))
        findings += [_listening(paths), _user(paths), _files(paths)]
    return findings


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    return Finding(
        "Python", found.startswith(f"{versions.PYTHON}."), found, f"install Python {versions.PYTHON}, make setup"
    )


def _java() -> Finding:
    fix = (
        f"apt-get install openjdk-{versions.JAVA_MAJOR}-jre-headless, or point JAVA_HOME at Java {versions.JAVA_MAJOR}"
    )
    try:
        output = subprocess.run([java(), "-version"], check=False, text=True, capture_output=True).stderr
    except TidemarkError as error:
        return Finding("Java", ok=False, found=error.what, fix=fix)
    installed = re.search(r'version "((\d+)[^"]*)"', output)
    ok = installed is not None and int(installed[2]) == versions.JAVA_MAJOR
    return Finding("Java", ok, installed[1] if installed else output.strip(), fix)


def _maven() -> Finding:
    path = shutil.which("mvn")
    return Finding("Maven", path is not None, path or "not found", "apt-get install maven")


def _redis() -> Finding:
    path = shutil.which("redis-server")
    return Finding("redis-server", path is not None, path or "not found", f"{_UP} (as root) installs it")


def _flink() -> Finding:
    try:
        found = version("apache-flink")
    except PackageNotFoundError:
        found = "not installed"
    return Finding("Flink", found == versions.FLINK, found, "make setup")


def _jars() -> Finding:
    parts = locations()
    missing = [str(path) for path in (parts.flink_jars, parts.flink_s3, parts.kafka_jars) if not path.is_dir()]
    found = f"missing: {', '.join(missing)}" if missing else str(parts.flink_jars.parent)
    return Finding("jars", not missing, found, f"{_UP} fetches them by Maven")


def _rootfs() -> Finding:
    path = locations().rootfs
    return Finding("TimescaleDB tree", path.is_dir(), str(path) if path.is_dir() else "missing", f"{_UP} builds it")


def _disk(paths: Paths) -> Finding:
    existing = next(path for path in (paths.root, *paths.root.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 1e9
    return Finding("disk", free >= _LEAST_FREE_GB, f"{free:.0f} GB free at {existing}", f"free {_LEAST_FREE_GB} GB")


def _ports(ports: dict[str, int], *, running: bool) -> list[Finding]:
    """If the stack is up, every port listens; if it is down, every port is free."""
    findings = []
    for name, port in ports.items():
        free = is_free(port)
        found = "free" if free else "listening" if running else "taken by another program"
        fix = f"read the service's log, then {_UP}" if running else f"stop the program that listens on {port}"
        findings.append(Finding(f"port {name}", free is not running, f"{port} {found}", fix))
    return findings


def _service(service: str, ports: dict[str, int], paths: Paths) -> Finding:
    answer = ask(service, ports, paths)
    ok = answer.ready and (service != "postgres" or answer.detail.endswith("time zone UTC"))
    return Finding(
        service, ok, f"{answer.version} {answer.detail}".strip(), f"read {paths.logs / service}.log, then {_UP}"
    )


def _listening(paths: Paths) -> Finding:
    """Check that nobody beyond this machine reaches a process of the stack, but for metrics that were asked for."""
    every = listeners(marked(paths.root))
    asked = metrics_ports(paths.conf / "flink/config.yaml")
    doors = [door for door in every if door.is_open and door.port not in asked]
    found = "; ".join(f"{door.program} ({door.pid}) on {door.address}:{door.port}" for door in doors)
    fix = "`tidemark down`, then `tidemark up`; elsewhere docs/security.md"
    return Finding("listening", not doors, found or f"{len(every)} ports, on loopback alone", fix)


def _user(paths: Paths) -> Finding:
    """Check that no process of the stack has the rights of root, or of another user of this machine."""
    own = Account.of(paths.root).uid
    others = [process for process in exposure.processes(paths) if process.uid != own]
    found = "; ".join(f"{process.program} ({process.pid}) as user {process.uid}" for process in others)
    return Finding(
        "user", not others, found or f"all services run as user {own}", "`tidemark down`, then `tidemark up`"
    )


def _files(paths: Paths) -> Finding:
    """Check that nobody but root and the stack's own user reads a file of it."""
    exposed = exposure.files(paths.root)
    found = ", ".join(map(str, exposed[:3])) + (f" and {len(exposed) - 3} more" if len(exposed) > 3 else "")  # noqa: PLR2004
    return Finding(
        "files", not exposed, found or "nobody else reads them", f"chmod -R go-rwx {paths.root}, if they are yours"
    )
