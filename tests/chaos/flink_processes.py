"""More processes of Flink beside those of the stack: TaskManagers of its cluster, and the JobManager of another one."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from infra.local.confined import BARE
from infra.local.programs import FLINK_HOME, base_environment, confined, flink_environment
from infra.local.provision import locations
from jobs.flink.rest import FlinkRest, wait_until
from tests.ports import free_port
from tidemark.core.errors import TidemarkError

STARTS_WITHIN_S = 120.0


@contextmanager
def flink_process(
    stack: Any, script: str, log: str, options: Sequence[str], environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[subprocess.Popen[bytes]]:
    """A process of Flink with the configuration of the stack but for some options, as the stack runs its own."""
    paths = stack.local.paths
    # One word for `-D` and one for the option: the script of the JobManager takes any other word for its host.
    words = [word for option in options for word in ("-D", option)]
    # Given to it alone: what runs before it has another user.
    own = [f"{name}={value}" for name, value in environment.items()]
    program = ["env", *own, f"{FLINK_HOME}/bin/{script}", "start-foreground", *words]
    command = confined(paths, locations(), [*BARE, *program])
    whole = {**base_environment(), **flink_environment(paths)}
    with (paths.logs / f"{log}.log").open("wb") as file:
        process = subprocess.Popen(command, env=whole, stdout=file, stderr=file, start_new_session=True)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def taskmanager(
    stack: Any, name: str, slots: int, memory: str = "4g", environment: Mapping[str, str] = MappingProxyType({})
) -> Iterator[subprocess.Popen[bytes]]:
    """Another TaskManager of the cluster, on ports that it chooses; registered when the block begins."""
    options = ["taskmanager.rpc.port=0", "taskmanager.data.port=0", f"taskmanager.numberOfTaskSlots={slots}",
               f"taskmanager.memory.process.size={memory}"]  # fmt: skip
    rest = FlinkRest(stack.settings.flink)
    before = rest.overview()["slots-total"]
    with flink_process(stack, "taskmanager.sh", name, options, environment) as process:
        wait_until(
            lambda: rest.overview()["slots-total"] == before + slots, STARTS_WITHIN_S, f"{slots} slots of {name}"
        )
        yield process


@contextmanager
def other_cluster(stack: Any) -> Iterator[str]:
    """A JobManager of a cluster of its own, which finds the same state; the URL of its REST interface."""
    rest = free_port()
    options = [f"rest.port={rest}", f"rest.bind-port={rest}", f"jobmanager.rpc.port={free_port()}",
               f"blob.server.port={free_port()}", "jobmanager.memory.process.size=800m"]  # fmt: skip
    url = f"http://127.0.0.1:{rest}"
    with flink_process(stack, "jobmanager.sh", "jobmanager-other", options):
        wait_until(lambda: _answers(url), STARTS_WITHIN_S, "the other JobManager")
        yield url


def _answers(url: str) -> bool:
    try:
        return bool(FlinkRest(url).overview())
    except TidemarkError:
        return False
