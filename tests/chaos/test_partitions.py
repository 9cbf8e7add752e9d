"""No packet passes between two services for a while, under load: jobs and each store, JobManager and TaskManager."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.local.ports import read_ports
from jobs.flink.rest import FlinkRest, wait_until
from tests.addresses import port_of, postgres_by, redis_by
from tests.chaos.load import counts_on, measured, under_load
from tests.chaos.test_redis_away import redis_sync
from tests.integration.own_kafka import ProxiedKafka
from tests.pipeline import Pipeline, pipeline
from tests.ports import free_port
from tests.streams import CATALOG, generate
from tests.toxics import Proxy, toxics
from tidemark.oracle.compare import compare_redis

pytestmark = pytest.mark.drill

# Beyond the time-outs of clients, and of heartbeats (20 s).
CUT_S, BACK_WITHIN_S = 30.0, 180.0


def test_jobs_that_are_cut_off_from_a_store_go_on_exactly(stack: Any, tmp_path: Path) -> None:
    records = list(generate(events=30_000, seed=61))
    with ExitStack() as held:
        proxies = held.enter_context(toxics())
        folder = tmp_path / "kafka"
        folder.mkdir()
        kafka = ProxiedKafka(folder, free_port())
        held.callback(kafka.stop)
        kafka.start()
        ways: dict[str, Proxy] = {
            "kafka": proxies.proxy("kafka", kafka.behind, port_of(kafka.proxied)),
            "postgres": proxies.proxy("postgres", port_of(stack.settings.postgres.url)),
            "redis": proxies.proxy("redis", port_of(stack.settings.redis.url)),
        }
        changes = {
            "kafka.bootstrap": kafka.proxied, **postgres_by(stack.settings, ways["postgres"].port),
            **redis_by(stack.settings, ways["redis"].port),
        }  # fmt: skip
        with pipeline(stack.settings, "cutoff", CATALOG, tmp_path, **changes) as jobs:
            own = stack.settings
            direct = {
                "kafka.bootstrap": kafka.direct, **postgres_by(own, port_of(own.postgres.url)),
                **redis_by(own, port_of(own.redis.url)),
            }  # fmt: skip
            run = Pipeline(jobs.settings.with_changes(direct), CATALOG)
            jobs.start()
            with under_load(run, records):
                for name, way in ways.items():
                    counts_on(run, BACK_WITHIN_S)
                    with way.under("black_hole"):
                        time.sleep(CUT_S)
                        if name != "kafka":
                            # `meter` has no database in its sinks, and gives Redis up.
                            counts_on(run, BACK_WITHIN_S)
                    with measured(f"jobs cut off from {name} for {CUT_S:.0f} s: until more is counted"):
                        counts_on(run, BACK_WITHIN_S)
            run.wait_drained()
            with run.oracle() as oracle, redis_sync(run.settings):
                wait_until(lambda: compare_redis(oracle, run.settings) == [], BACK_WITHIN_S, "the counters")
                run.assert_exact(oracle)


@contextmanager
def dropped(*ports: int) -> Iterator[None]:
    """Packets of loopback from and to these ports are dropped in the block; should it never end, for ten minutes."""
    table = f"tidemark_{ports[0]}"
    named = "; ".join(
        ("type inet_service", "flags timeout", f"timeout 10m; elements = {{ {', '.join(map(str, ports))} }}")
    )
    drops = "\n".join(f"iif lo tcp {end} @cut drop" for end in ("dport", "sport"))
    chain = f"chain cut {{\ntype filter hook input priority 0;\n{drops}\n}}"
    rules = f"table inet {table} {{\nset cut {{ {named}; }}\n{chain}\n}}\n"
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "inet", table], check=True)


def test_a_taskmanager_that_is_cut_off_from_its_jobmanager_counts_nothing_twice(stack: Any, tmp_path: Path) -> None:
    records = list(generate(events=20_000, seed=62))
    ports, rest = read_ports(stack.local.paths.ports), FlinkRest(stack.settings.flink)
    assert ports is not None
    with pipeline(stack.settings, "cutjm", CATALOG, tmp_path) as run:
        run.start()
        with under_load(run, records):
            counts_on(run, BACK_WITHIN_S)
            with dropped(ports["flink_rpc"], ports["flink_task_rpc"], ports["flink_blob"]):
                wait_until(
                    lambda: rest.overview()["taskmanagers"] == 0, BACK_WITHIN_S, "the TaskManager to be given up"
                )
            with measured("TaskManager cut off from its JobManager: from the mend until more is counted"):
                counts_on(run, BACK_WITHIN_S)
        run.wait_drained()
        with run.oracle() as oracle:
            run.assert_exact(oracle)
