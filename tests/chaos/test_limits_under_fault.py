"""Limits while a store is down, slow or full: decisions continue, alerts are published once, counters converge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from infra.local import probes
from infra.local.ports import read_ports
from infra.redis_users import ADMIN
from jobs.flink.rest import wait_until
from tests.addresses import port_of, redis_by
from tests.chaos.test_redis_away import redis_sync
from tests.pipeline import Pipeline, pipeline
from tests.streams import CATALOG, generate
from tests.toxics import toxics
from tidemark.core.redis import client as redis_client
from tidemark.oracle.compare import compare_redis

WITHIN_S = 120.0


def denied(run: Pipeline) -> set[tuple[str, str, str]]:
    """Customers and meters at a hard cap, as Redis has them."""
    prefix = run.settings.names.redis_prefix
    with closing(redis_client(run.settings.redis)) as client:
        keys = [key for key in client.scan_iter(match=f"{prefix}{{*}}:*") if "}::" not in key]
        return {key for key in keys if client.hget(key, "denied") == "1"}  # type: ignore[misc]


@pytest.mark.drill
def test_a_database_that_is_away_delays_no_decision(stack: Any, tmp_path: Path) -> None:
    records = list(generate(events=20_000, seed=31))
    half = len(records) // 2
    ports = read_ports(stack.local.paths.ports)
    assert ports is not None
    with pipeline(stack.settings, "dbaway", CATALOG, tmp_path) as run:
        run.submit("meter")
        run.send(records[:half])
        run.wait_committed(half)
        published = len(run.alerts())
        # Given the database is down, when the other half arrives, then it is still counted, denied and published.
        stack.local.supervisor.stop_program("postgres")
        try:
            run.send(records[half:])
            run.wait_drained()
            wait_until(lambda: len(run.alerts()) > published, WITHIN_S, "alerts while the database is down")
            assert denied(run)
        finally:
            stack.local.supervisor.start_program("postgres")
        wait_until(lambda: probes.ask("postgres", ports, stack.local.paths).ready, 60, "Postgres to come back")
        run.submit("rollup")
        with run.oracle() as oracle:
            run.assert_exact(oracle)


@contextmanager
def full(stack: Any) -> Iterator[None]:
    """Redis takes no more writes."""
    password = stack.local.paths.redis_password(ADMIN).read_text().strip()
    with redis.Redis(port=port_of(stack.settings.redis.url), username=ADMIN, password=password) as client:
        client.config_set("maxmemory", "1mb")
        try:
            yield
        finally:
            client.config_set("maxmemory", "0")


@pytest.mark.drill
@pytest.mark.parametrize("fault", ["slow", "full"])
def test_a_redis_that_is_slow_or_full_stops_no_alert_and_its_counters_converge(
    stack: Any, tmp_path: Path, fault: str
) -> None:
    records = list(generate(events=20_000, seed=32))
    half = len(records) // 2
    with toxics() as proxies:
        way = proxies.proxy("redis", port_of(stack.settings.redis.url))
        slow = redis_by(stack.settings, way.port) if fault == "slow" else {}
        with pipeline(stack.settings, f"redis{fault}", CATALOG, tmp_path, **slow) as run:
            run.start()
            run.send(records[:half])
            run.wait_committed(half)
            with way.under("slow") if fault == "slow" else full(stack):
                run.send(records[half:])
                run.wait_drained()
            direct = run.settings.model_copy(update={"redis": stack.settings.redis})
            with run.oracle() as oracle, redis_sync(direct):
                wait_until(lambda: compare_redis(oracle, direct) == [], WITHIN_S, "the counters to be right")
                run.assert_exact(oracle)
