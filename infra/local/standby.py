"""Two JobManagers of a local stack: what both have in common, what each has of its own, and who elects."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import yaml

from infra.local.paths import Paths
from tidemark.core.errors import UsageError
from tidemark.core.settings import HighAvailabilitySettings

SECOND = "jobmanager-2"
ZOOKEEPER = "zookeeper"
# Preferred ports, by name.
SECOND_PORTS = {"flink_rest_2": 8082, "flink_rpc_2": 6133, "flink_blob_2": 6134}
ZOOKEEPER_PORTS = {"zookeeper": 2181}
_FILES = {"certificate-authority", "client-certificate", "client-key"}
# ZooKeeper counts sessions in these; one ends this much later than it was asked for at most.
_TICK_MS = 500


def ports(ha: HighAvailabilitySettings) -> dict[str, int]:
    """Ports that a stack needs for it, with the preferred numbers."""
    second = SECOND_PORTS if ha.mode != "none" else {}
    return second | (ZOOKEEPER_PORTS if ha.starts_zookeeper else {})


def services(ha: HighAvailabilitySettings) -> tuple[str, ...]:
    """Programs that a stack runs for it."""
    second = (SECOND,) if ha.mode != "none" else ()
    return second + ((ZOOKEEPER,) if ha.starts_zookeeper else ())


def options(ports: dict[str, int], number: int) -> list[str]:
    """Options of the first or the second JobManager, over those of the configuration that they share."""
    end = "_2" if number == 2 else ""  # noqa: PLR2004
    rest, rpc, blob = (ports[f"flink_{name}{end}"] for name in ("rest", "rpc", "blob"))
    own = {
        "rest.port": rest, "rest.bind-port": rest, "jobmanager.rpc.port": rpc, "high-availability.jobmanager.port": rpc,
        "blob.server.port": blob,
    }  # fmt: skip
    return [word for name, value in own.items() for word in ("-D", f"{name}={value}")]


def configuration(paths: Paths, ports: dict[str, int], ha: HighAvailabilitySettings, state_uri: str) -> str:
    """Lines of Flink's configuration; none without a standby."""
    if ha.mode == "none":
        return ""
    common = {"high-availability.type": ha.mode, "high-availability.storageDir": ha.storage_dir or f"{state_uri}/ha"}
    own = _zookeeper(ports, ha) if ha.mode == "zookeeper" else _kubernetes(paths, ha)
    return "\n".join(f"{name}: {value}" for name, value in {**common, **own}.items())


def _zookeeper(ports: dict[str, int], ha: HighAvailabilitySettings) -> dict[str, str]:
    prefix = "high-availability.zookeeper.client"
    return {
        "high-availability.cluster-id": f"/{ha.cluster_id}",
        "high-availability.zookeeper.quorum": ha.zookeeper or f"127.0.0.1:{ports['zookeeper']}",
        f"{prefix}.session-timeout": f"{ha.failover_s}s",
        f"{prefix}.connection-timeout": f"{ha.failover_s}s",
        # The session decides, not the connection: a ZooKeeper that is started again costs no failover.
        f"{prefix}.tolerate-suspended-connections": "true",
    }


def _kubernetes(paths: Paths, ha: HighAvailabilitySettings) -> dict[str, str]:
    prefix = "high-availability.kubernetes.leader-election"
    return {
        "kubernetes.cluster-id": ha.cluster_id,
        "kubernetes.namespace": ha.namespace,
        "kubernetes.config.file": str(paths.kubeconfig),
        f"{prefix}.lease-duration": f"{ha.failover_s}s",
        # Who leads gives up before another may begin, and tries several times before that.
        f"{prefix}.renew-deadline": f"{ha.failover_s * 800}ms",
        f"{prefix}.retry-period": f"{ha.failover_s * 150}ms",
    }


def zookeeper_properties(paths: Paths, ports: dict[str, int], ha: HighAvailabilitySettings) -> str:
    """The configuration of a ZooKeeper of one node on loopback."""
    values = {
        "tickTime": _TICK_MS,
        "maxSessionTimeout": ha.failover_s * 1_000,
        "dataDir": paths.data / ZOOKEEPER,
        "clientPort": ports["zookeeper"],
        "clientPortAddress": "127.0.0.1",
        "admin.enableServer": "false",
        "4lw.commands.whitelist": "srvr",
        "autopurge.purgeInterval": 1,
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


def kubeconfig(file: Path) -> str:
    """A file of credentials with all that it names inside: services of the stack do not reach other folders.

    Raises
    ------
    UsageError
        It, or a file that it names, cannot be read.
    """
    try:
        document: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
        for kind in ("cluster", "user"):
            for one in document[f"{kind}s"]:
                one[kind] = _whole(file.parent, one[kind])
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise UsageError(f"ha.kubeconfig {file} cannot be read: {error!r}.", "name one that kubectl takes.") from error
    return yaml.safe_dump(document)


def _whole(folder: Path, part: dict[str, Any]) -> dict[str, Any]:
    named = {name: (folder / part[name]).read_bytes() for name in _FILES & part.keys()}
    data = {f"{name}-data": base64.b64encode(content).decode() for name, content in named.items()}
    return {name: value for name, value in part.items() if name not in named} | data
