"""Starts, stops and removes the local stack; each step checks what is done already, so it may be interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import yaml

from infra.local import prepare, probes, standby
from infra.local.account import Account
from infra.local.addresses import settings
from infra.local.configure import write_configuration
from infra.local.flink_conf import metrics_ports
from infra.local.paths import DEFAULT_STATE_DIR, Paths, locked, private, write_private
from infra.local.ports import choose_ports, is_free, read_ports, refuse_taken
from infra.local.programs import DAEMONS, high_availability_of, roles_of, services_of
from infra.local.progress import Progress, Silent
from infra.local.provision import Provisioned, provision, remove_tree
from infra.local.reap import marked, reap
from infra.local.supervise import Supervisor
from infra.local.tls import Certificates
from tidemark.core.errors import TidemarkError, UnavailableError, UsageError
from tidemark.core.settings import document, flat, nested

# Where API and pages are. Where that is taken every twentieth above it is tried, so that neither takes the other's.
HTTP_PORTS = {"api": 8_080, "web": 8_090}
_PORT_STEP, _PORTS_TRIED = 20, 50

# The port that a service is known by, where it has another name.
_PORT_OF = {"jobmanager": "flink_rest", standby.SECOND: "flink_rest_2", "taskmanager": "flink_task_rpc"}

_POLL_S = 0.25
# A cold 2-core machine that runs other things needs about 30 s for the slowest (Flink).
_READY_S = 180.0
_LOG_LINES = 15


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One line of `tidemark status`."""

    service: str
    state: str
    pid: int
    uptime_s: int
    address: str
    ready: bool
    version: str
    detail: str


@dataclass(slots=True)
class Stack:
    """One local stack, identified by its state directory."""

    paths: Paths = field(default_factory=Paths.of)
    progress: Progress = field(default_factory=Silent)

    @property
    def supervisor(self) -> Supervisor:
        """The stack's supervisord."""
        return Supervisor(self.paths)

    @property
    def _account(self) -> Account:
        """Who the services run as."""
        return Account.of(self.paths.root)

    def up(self, *, flink_metrics: bool = False, secure: bool = False) -> None:
        """Provision, configure, start, and wait until every service is ready; `flink_metrics` as `write_configuration`.

        A Flink that runs keeps the metrics it was started with.
        `secure` makes a stack whose services want TLS and a name; it stays one until `clean`.

        Raises
        ------
        UnavailableError
            A port is taken, a fetch failed, or a service did not become ready; the message carries its log's end.

        """
        with self._locked():
            # Step 1: what the machine needs, shared by all stacks.
            parts = provision(self.progress, zookeeper=high_availability_of(self.paths).starts_zookeeper)
            # Step 2: what this stack is made of.
            running = self.supervisor.pid() is not None
            if not running:
                self._end_strays()
            with private():
                ports = self._configure(parts, running=running, secure=secure, flink_metrics=flink_metrics)
            # Step 3: start, or apply what changed, and wait.
            self._start(running=running)
            self._await_ready(ports)

    def _configure(
        self, parts: Provisioned, *, running: bool, secure: bool, flink_metrics: bool
    ) -> dict[str, int]:  # fmt: skip
        """Write configuration and, before anything runs on them, data directories; the ports."""
        self._make_root()
        if secure:
            self._secure()
        more = standby.ports(high_availability_of(self.paths))
        standard = self.paths.root == DEFAULT_STATE_DIR.absolute()
        ports = choose_ports(self.paths.ports, prefer_standard=standard, more=more)
        if not running:
            refuse_taken(ports, self.paths.ports)
        prepare.write_passfiles(self.paths)
        if self.paths.secured:
            prepare.write_kafka_logins(self.paths)
        self._write_settings(settings(self.paths, ports))
        # Another configuration would start a running Flink again, without its jobs.
        kept = running and bool(metrics_ports(self.paths.conf / "flink/config.yaml"))
        write_configuration(self.paths, parts, ports, flink_metrics=flink_metrics or kept)
        self._account.settle(self.paths)
        with self.progress.step("preparing data directories"):
            prepare.prepare_postgres(self.paths, parts)
            prepare.prepare_kafka(self.paths, parts)
        return ports

    def _make_root(self) -> None:
        """Make the folder of the stack, into which nobody looks but its own user."""
        self.paths.root.mkdir(parents=True, exist_ok=True)
        if not self.paths.made:
            self._refuse_other_files()
            # `clean` knows the folder by it, whatever is interrupted from here on; `up` writes the ports into it.
            self.paths.ports.touch(mode=0o600)
        self._account.admit(self.paths.root)

    def _refuse_other_files(self) -> None:
        """Refuse a folder that is somebody's: `clean` would remove all of it. Settings may be there before a stack."""
        other = sorted({path.name for path in self.paths.root.iterdir()} - {self.paths.settings.name})
        if other:
            raise UsageError(
                f"{self.paths.root} holds other files, such as {other[0]}.",
                "name a folder of its own with --state-dir, or empty this one.",
            )

    def _secure(self) -> None:
        if not self.paths.secured and self.paths.data.exists():
            raise UsageError(f"the stack in {self.paths.root} has data and no TLS.", "`tidemark clean` it first.")
        Certificates.make(self.paths.certificates.folder)

    def add_settings(self, added: Mapping[str, Any]) -> None:
        """Write settings into the file that all commands on this stack read; they stay until `clean`."""
        self._make_root()
        self._write_settings(added)

    def open_http(self) -> None:
        """Have `tidemark serve` answer HTTP too, from the next `up` on, at addresses that stay until `clean`."""
        self._make_root()
        there = roles_of(self.paths)
        for role, port in HTTP_PORTS.items():
            if role not in there:
                self._write_settings({f"{role}.listen": f"127.0.0.1:{_free_from(port)}"})
        # Plain http, on this machine alone.
        self._write_settings({"web.secure_cookie": False})

    def _write_settings(self, changed: Mapping[str, Any]) -> None:
        file = self.paths.settings
        there = document.read(file) if file.is_file() else {}
        write_private(file, yaml.safe_dump(nested({**flat(there), **changed}), sort_keys=False))
        self._account.show(file)

    def _start(self, *, running: bool) -> None:
        if not running:
            return self.supervisor.start()
        self.supervisor.update()
        for service in services_of(self.paths):
            self.supervisor.start_program(service)
        return None

    def _end_strays(self) -> None:
        """End what a killed supervisor left running: it would hold the ports and the data."""
        if marked(self.paths.root):
            with self.progress.step("ending processes of an earlier run"):
                reap(self.paths.root, grace_s=60.0)

    def _await_ready(self, ports: dict[str, int]) -> None:
        with self.progress.step("waiting for Postgres"):
            self._await("postgres", lambda: self._make_database(ports))
        for service in self._to_wait_for():
            with self.progress.step(f"waiting for {service}"):
                self._await(service, lambda service=service: probes.ask(service, ports, self.paths))  # type: ignore[misc]

    def _to_wait_for(self) -> list[str]:
        """Services but for Postgres, those first that others need."""
        elects = standby.ZOOKEEPER
        rest = [service for service in services_of(self.paths) if service not in {"postgres", elects}]
        return [elects, *rest] if elects in services_of(self.paths) else rest

    def _make_database(self, ports: dict[str, int]) -> probes.Answer:
        try:
            prepare.prepare_database(self.paths, ports["postgres"])
        except psycopg.Error as error:
            return probes.Answer(ready=False, detail=str(error).splitlines()[0])
        return probes.ask("postgres", ports, self.paths)

    def _await(self, service: str, probe: Callable[[], probes.Answer]) -> None:
        deadline = time.monotonic() + _READY_S
        while not (answer := probe()).ready:
            state = self.supervisor.state(service)["statename"]
            if state == "FATAL" or time.monotonic() > deadline:
                raise UnavailableError(
                    f"{service} is not ready after {_READY_S:.0f} s ({state}; {answer.detail}); its log ends:\n"
                    + _tail(self.paths.logs / f"{service}.log"),
                    f"read {self.paths.logs}, then `tidemark up` again.",
                )
            time.sleep(_POLL_S)

    def down(self, before_stop: Callable[[], None] | None = None) -> None:
        """Stop everything and keep the data.

        Parameters
        ----------
        before_stop:
            Called first when the stack runs, to stop the jobs with savepoints; what it raises keeps the stack up.

        """
        with self._locked():
            if self.supervisor.pid() is not None:
                if before_stop is not None:
                    before_stop()
                with self.progress.step("stopping all services"):
                    self.supervisor.shutdown()
            self._end_strays()

    def clean(self) -> None:
        """Stop everything and remove the state directory; downloads stay in the cache."""
        self.down()
        with self._locked():
            if self.paths.root.is_dir():
                self._check_own()
                with self.progress.step(f"removing {self.paths.root}"):
                    remove_tree(self.paths.root, last=self.paths.ports)
        self.paths.lock.unlink(missing_ok=True)

    def _check_own(self) -> None:
        """Refuse to remove a directory that `up` did not create."""
        if any(self.paths.root.iterdir()) and not self.paths.made:
            raise TidemarkError(f"{self.paths.root} was not made by `tidemark up`.", "correct --state-dir.")

    def status(self) -> list[ServiceStatus]:
        """State and answer of every service; empty when the stack is down."""
        ports = read_ports(self.paths.ports)
        if ports is None or self.supervisor.pid() is None:
            return []
        services = services_of(self.paths)
        with ThreadPoolExecutor(len(services)) as pool:
            answers = list(pool.map(lambda service: probes.ask(service, ports, self.paths), services))
        lines = [self._line(service, ports, answer) for service, answer in zip(services, answers, strict=True)]
        for daemon in DAEMONS:
            ready = self.supervisor.state(daemon)["statename"] == "RUNNING"
            lines.append(self._line(daemon, ports, probes.Answer(ready=ready)))
        return lines

    def _line(self, service: str, ports: dict[str, int], answer: probes.Answer) -> ServiceStatus:
        info: dict[str, Any] = self.supervisor.state(service)
        running = info["statename"] == "RUNNING"
        port = _PORT_OF.get(service, service)
        return ServiceStatus(
            service=service,
            state=info["statename"].lower(),
            pid=info["pid"],
            uptime_s=info["now"] - info["start"] if running else 0,
            address=f"127.0.0.1:{ports[port]}" if port in ports else "",
            ready=answer.ready,
            version=answer.version,
            detail=answer.detail,
        )

    def _locked(self) -> Any:
        return locked(self.paths.lock, wait=False, what=f"the stack in {self.paths.root}")


def _free_from(port: int) -> int:
    """The first of the ports from this one on that is free; raises UnavailableError where none of those tried is."""
    tried = range(port, port + _PORT_STEP * _PORTS_TRIED, _PORT_STEP)
    free = next((one for one in tried if is_free(one)), None)
    if free is None:
        raise UnavailableError(f"ports {tried[0]}, {tried[1]}, … {tried[-1]} are taken.", "free one of them.")
    return free


def _tail(log: Path) -> str:
    if not log.is_file():
        return "(no log)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:]) + "\n"
