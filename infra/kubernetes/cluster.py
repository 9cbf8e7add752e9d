"""A control plane on loopback: etcd, API server, controllers, scheduler, and KWOK instead of kubelets."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests
import yaml

from infra.kubernetes.tools import tool
from infra.local.ports import other_port
from infra.local.progress import Progress
from tidemark.core.errors import UnavailableError

STAGES = Path(__file__).with_name("stages.yaml")
NODE = "node-1"
_READY_S = 120.0
_POLL_S = 0.2


@dataclass
class Cluster:
    """A cluster of one folder; use as a context manager.

    Parameters
    ----------
    folder:
        For data, logs and credentials of this cluster alone.
    progress:
        Where builds are reported.
    runs_pods:
        Whether there is a node and what runs pods on it; false: the API alone.
    """

    folder: Path
    progress: Progress
    runs_pods: bool = True
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        ports: set[int] = set()
        for _ in range(3):
            ports.add(other_port(ports))
        self._etcd, self._peer, self._api = sorted(ports)
        self._token = secrets.token_hex(16)

    @property
    def kubeconfig(self) -> Path:
        """Credentials of an administrator."""
        return self.folder / "kubeconfig"

    @property
    def pids(self) -> list[int]:
        """Its processes."""
        return [process.pid for process in self._running]

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write()
        try:
            self._start_all()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def kubectl(self, *arguments: str, given: str = "") -> str:
        """What `kubectl` prints; raises CalledProcessError, whose `stderr` says why."""
        return self._output([str(tool("kubectl", self.progress)), *arguments], given)

    def helm(self, *arguments: str) -> str:
        """What `helm` prints; raises CalledProcessError, whose `stderr` says why."""
        return self._output([str(tool("helm", self.progress)), *arguments])

    def environment(self) -> dict[str, str]:
        """Environment of a program that talks to the cluster."""
        home = {f"HELM_{kind}_HOME": str(self.folder / f"helm-{kind.lower()}") for kind in ("CACHE", "CONFIG", "DATA")}
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), **home}

    def api(self, path: str) -> Any:
        """The answer to a GET of the API."""
        answer = requests.get(
            f"https://127.0.0.1:{self._api}{path}", headers={"Authorization": f"Bearer {self._token}"},
            verify=str(self.folder / "certs/apiserver.crt"), timeout=60,
        )  # fmt: skip
        answer.raise_for_status()
        return answer.json()

    def _output(self, command: Sequence[str], given: str = "") -> str:
        done = subprocess.run(
            command, env=self.environment(), input=given, capture_output=True, text=True, check=True, timeout=300
        )
        return done.stdout

    def _write(self) -> None:
        (self.folder / "tokens.csv").write_text(f"{self._token},admin,admin,system:masters\n")
        key = ["openssl", "genrsa", "-out", str(self.folder / "service-accounts.key"), "2048"]
        subprocess.run(key, check=True, capture_output=True)
        server = f"https://127.0.0.1:{self._api}"
        cluster = {"server": server, "certificate-authority": str(self.folder / "certs/apiserver.crt")}
        document = {
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": self._token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin", "namespace": "default"}}],
        }  # fmt: skip
        self.kubeconfig.write_text(yaml.safe_dump(document))

    def _start_all(self) -> None:
        client, peer = f"http://127.0.0.1:{self._etcd}", f"http://127.0.0.1:{self._peer}"
        self._start("etcd", {
            "data-dir": str(self.folder / "etcd"), "listen-client-urls": client, "advertise-client-urls": client,
            "listen-peer-urls": peer, "initial-advertise-peer-urls": peer, "initial-cluster": f"default={peer}",
            "unsafe-no-fsync": "true",
        })  # fmt: skip
        key = str(self.folder / "service-accounts.key")
        self._start("kube-apiserver", {
            "etcd-servers": client, "bind-address": "127.0.0.1", "advertise-address": "127.0.0.1",
            "secure-port": str(self._api), "cert-dir": str(self.folder / "certs"),
            "token-auth-file": str(self.folder / "tokens.csv"), "authorization-mode": "Node,RBAC",
            "service-account-issuer": "https://kubernetes.default.svc", "service-account-key-file": key,
            "service-account-signing-key-file": key, "service-cluster-ip-range": "10.0.0.0/24",
            "endpoint-reconciler-type": "none",
        })  # fmt: skip
        self._await("the API server", lambda: self.kubectl("get", "--raw", "/readyz") == "ok")
        if self.runs_pods:
            self._start_node(key)

    def _start_node(self, key: str) -> None:
        own = {"kubeconfig": str(self.kubeconfig), "leader-elect": "false", "secure-port": "0"}
        self._start("kube-controller-manager", {**own, "service-account-private-key-file": key})
        self._start("kube-scheduler", own)
        self._start("kwok", {
            "kubeconfig": str(self.kubeconfig), "config": str(STAGES), "manage-all-nodes": "true",
            "node-lease-duration-seconds": "40",
        })  # fmt: skip
        self.kubectl("apply", "--filename", "-", given=yaml.safe_dump(_node()))
        self._await("the node", lambda: "True" in self._ready_of_node())

    def _ready_of_node(self) -> str:
        path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        return self.kubectl("get", "node", NODE, "--output", path)

    def _start(self, name: str, options: Mapping[str, str]) -> None:
        command = [str(tool(name, self.progress)), *(f"--{option}={value}" for option, value in options.items())]
        log = (self.folder / f"{name}.log").open("wb")
        with log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, env=self.environment())
        self._running.append(process)

    def _await(self, what: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _READY_S
        while not _succeeds(ready):
            ended = [process.args for process in self._running if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                raise UnavailableError(
                    f"{what} is not ready after {_READY_S:.0f} s{f'; ended: {ended}' if ended else ''}.",
                    f"read the logs in {self.folder}.",
                )
            time.sleep(_POLL_S)

    def _end(self) -> None:
        for process in reversed(self._running):
            process.terminate()
        for process in reversed(self._running):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _succeeds(ready: Callable[[], bool]) -> bool:
    try:
        return ready()
    except (OSError, subprocess.CalledProcessError):
        return False


def _node() -> dict[str, Any]:
    size = {"cpu": "64", "memory": "256Gi", "pods": "200", "ephemeral-storage": "1Ti"}
    labels = {"kubernetes.io/hostname": NODE, "type": "kwok"}
    return {
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": labels},
        "status": {"capacity": size, "allocatable": size},
    }  # fmt: skip
