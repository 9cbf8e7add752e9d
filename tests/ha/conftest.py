"""A stack of its own with two JobManagers, for each way to elect the one that leads, and both jobs at work on it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.kubernetes.cluster import Cluster
from infra.local.paths import Paths
from infra.local.programs import FLINK_HOME, java
from infra.local.progress import Lines
from infra.local.reap import marked
from infra.local.stack import Stack
from infra.local.standby import ZOOKEEPER
from tests.conftest import STATE_DIR, _settings_from
from tests.ha.pair import Election, Pair
from tests.object_store import BUCKET, ObjectStore
from tests.pipeline import pipeline
from tests.streams import CATALOG, generate

HA_DIR = STATE_DIR.with_name(f"{STATE_DIR.name}-ha")
EVENTS = 300_000
# Flink's own client of ZooKeeper, and where it keeps who leads.
_ZOOKEEPER_MAIN = "org.apache.flink.shaded.zookeeper3.org.apache.zookeeper.ZooKeeperMain"
_LEADER = "/flink/tidemark/leader/resource_manager/connection_info"


@pytest.fixture(scope="module", params=["zookeeper", "zookeeper-s3", "kubernetes"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("ha")
    ways = {"zookeeper": by_zookeeper, "zookeeper-s3": by_zookeeper_on_s3, "kubernetes": by_kubernetes}
    local = Stack(Paths.of(HA_DIR), Lines())
    local.clean()
    with ways[request.param](local, folder) as election:
        try:
            local.up()
            with (
                _settings_from(local.paths.settings) as settings,
                pipeline(settings, "pair", CATALOG, folder) as run,
            ):
                run.start()
                yield Pair(request.param, local, run, election, iter(generate(events=EVENTS, seed=41)))
        finally:
            local.down()


@contextmanager
def by_zookeeper(local: Stack, _: Path) -> Iterator[Election]:
    local.add_settings({"ha.mode": "zookeeper"})

    def elected() -> str:
        server = f"127.0.0.1:{Pair.ports_of(local)['zookeeper']}"
        command = [java(), "-cp", f"{FLINK_HOME}/lib/*", _ZOOKEEPER_MAIN, "-server", server, "get", _LEADER]
        return subprocess.run(command, check=False, capture_output=True, text=True, errors="replace").stdout

    yield Election(elected, lambda: list(marked(local.paths.root, ZOOKEEPER)))


@contextmanager
def by_zookeeper_on_s3(local: Stack, folder: Path) -> Iterator[Election]:
    """Checkpoints and the graphs of jobs, which a standby reads, in an object store."""
    store = ObjectStore(HA_DIR)
    # First the folder, which has to be empty, then what others write into it.
    local.add_settings({})
    try:
        local.add_settings({**store.start(), "flink.state_dir": f"s3://{BUCKET}/state"})
        with by_zookeeper(local, folder) as election:
            yield election
    finally:
        store.stop()


@contextmanager
def by_kubernetes(local: Stack, folder: Path) -> Iterator[Election]:
    with Cluster(folder / "cluster", Lines(), runs_pods=False) as cluster:
        local.add_settings({"ha.mode": "kubernetes", "ha.kubeconfig": str(cluster.kubeconfig)})
        yield Election(
            lambda: cluster.kubectl("get", "configmaps", "--output", "jsonpath={.items[*].data}"), lambda: cluster.pids
        )
