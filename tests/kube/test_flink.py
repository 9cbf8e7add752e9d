"""The commands of the chart's pods start a real Flink, which elects its leader by ConfigMaps of a real API server."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyflink
import requests
import yaml

from infra.kubernetes.cluster import Cluster
from infra.local import flink_conf
from infra.local.ports import other_port
from jobs.flink.rest import wait_until
from tests.kube.conftest import CHART, parsed

FLINK_HOME = Path(pyflink.__file__).parent
STARTS_WITHIN_S = 150.0
LEADER = "org.apache.flink.k8s.leader.resourcemanager"


def test_a_job_manager_that_stood_by_takes_over_when_the_leader_is_killed(cluster: Cluster, tmp_path: Path) -> None:
    state = ["--set", f"settings.flink.state_dir=file://{tmp_path}/state"]
    found = parsed(cluster.helm("template", "flink", str(CHART), "--validate", "--namespace", "default", *state))
    pods = {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in found if one["kind"] == "Deployment"}
    ports = free_ports(8)
    first, second = ({"rest": rest, "rpc": rpc, "blob": blob} for rest, rpc, blob in (ports[:3], ports[3:6]))
    conf = configuration(tmp_path)
    with ExitStack() as processes:
        # Given two JobManagers, of which one leads, and a TaskManager that found it, ...
        leader = processes.enter_context(running(pods["flink-jobmanager"], job_manager(cluster, first), conf))
        wait_until(lambda: leads(cluster, first), STARTS_WITHIN_S, "the first JobManager to lead")
        processes.enter_context(running(pods["flink-jobmanager"], job_manager(cluster, second), conf))
        worker = {**common(cluster), "taskmanager.rpc.port": ports[6], "taskmanager.data.port": ports[7]}
        processes.enter_context(running(pods["flink-taskmanager"], worker, conf))
        wait_until(lambda: slots(first) == 4, STARTS_WITHIN_S, "the TaskManager to register")
        wait_until(lambda: slots(second) == 4, STARTS_WITHIN_S, "the second JobManager to answer by the first")
        # ... when that one is killed, then the other leads, and has the TaskManager.
        os.killpg(leader.pid, signal.SIGKILL)
        wait_until(lambda: leads(cluster, second), STARTS_WITHIN_S, "the second JobManager to lead")
        wait_until(lambda: slots(second) == 4, STARTS_WITHIN_S, "the TaskManager to change over")


def common(cluster: Cluster) -> dict[str, Any]:
    """What differs on this machine: everything is on one address, and the API server is not where a pod finds it."""
    return {
        "kubernetes.config.file": cluster.kubeconfig, "metrics.internal.query-service.port": 0,
        "taskmanager.memory.process.size": "1500m",
    }  # fmt: skip


def job_manager(cluster: Cluster, ports: dict[str, int]) -> dict[str, Any]:
    own = {
        "rest.port": "rest", "rest.bind-port": "rest", "jobmanager.rpc.port": "rpc",
        "high-availability.jobmanager.port": "rpc", "blob.server.port": "blob",
    }  # fmt: skip
    return common(cluster) | {option: ports[name] for option, name in own.items()}


def free_ports(count: int) -> list[int]:
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(other_port(ports))
    return sorted(ports)


def configuration(folder: Path) -> Path:
    """The folder of configuration that the image has."""
    conf = folder / "conf"
    shutil.copytree(FLINK_HOME / "conf", conf)
    (conf / "config.yaml").write_text(flink_conf.render(FLINK_HOME / "conf/config.yaml", flink_conf.image_values()))
    return conf


@contextmanager
def running(pod: dict[str, Any], here: dict[str, Any], conf: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The process of a pod, with some options over its own."""
    (container,) = pod["containers"]
    arguments = [one.replace("$(POD_IP)", "127.0.0.1") for one in container["args"]]
    own = [word for name, value in here.items() for word in ("-D", f"{name}={value}")]
    logs = conf.parent / f"log-{here.get('rest.port', 'worker')}"
    logs.mkdir()
    environment = {
        **os.environ, "FLINK_HOME": str(FLINK_HOME), "FLINK_CONF_DIR": str(conf), "FLINK_LOG_DIR": str(logs),
        "FLINK_PID_DIR": str(logs),
    }  # fmt: skip
    with (logs / "out").open("wb") as out:
        process = subprocess.Popen(
            [*container["command"], *arguments, *own], env=environment, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def leads(cluster: Cluster, ports: dict[str, int]) -> bool:
    """Whether the ConfigMap of leaders names the JobManager with these ports."""
    maps = yaml.safe_load(cluster.kubectl("get", "configmaps", "--output", "yaml"))["items"]
    leaders = [one["data"][LEADER] for one in maps if LEADER in (one.get("data") or {})]
    return any(f"127.0.0.1:{ports['rpc']}/" in leader for leader in leaders)


def slots(ports: dict[str, int]) -> int:
    """Slots of the cluster by one of its JobManagers; none before it answers."""
    try:
        answer = requests.get(f"http://127.0.0.1:{ports['rest']}/overview", timeout=5)
    except requests.RequestException:
        return 0
    return int(answer.json()["slots-total"]) if answer.ok else 0
