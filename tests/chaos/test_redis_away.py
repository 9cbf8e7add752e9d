"""Redis killed while events flow: counting continues, and counters of idle customers are right again within 30 s."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.local import probes
from infra.local.ports import read_ports
from jobs.flink.rest import wait_until
from tests.chaos.losses import Clock
from tests.pipeline import pipeline
from tests.streams import CATALOG, generate
from tidemark.core import redis
from tidemark.core.settings import Settings
from tidemark.core.supervisor import Supervisor
from tidemark.live.counters import service
from tidemark.oracle.compare import compare_redis

# The promise is 30 s; the rest is what a loaded machine may take for reading everything back.
CONVERGED_WITHIN_S = 90.0


@contextmanager
def redis_sync(settings: Settings) -> Iterator[None]:
    """What keeps the run's counters right, as `tidemark serve --roles live` runs it."""
    ended = threading.Event()
    thread = threading.Thread(target=Supervisor({"live": [service(settings)]}, ended).run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.mark.drill
def test_redis_being_down_stops_nothing_and_costs_no_counter(stack: Any, tmp_path: Path) -> None:
    records = list(generate(events=20_000, seed=21))
    half = len(records) // 2
    ports = read_ports(stack.local.paths.ports)
    assert ports is not None
    with pipeline(stack.settings, "redisaway", CATALOG, tmp_path) as run:
        run.start()
        run.send(records[:half])
        run.wait_committed(half)
        # Given Redis is down, when the other half arrives, then it is still counted.
        stack.local.supervisor.stop_program("redis")
        try:
            run.send(records[half:])
            run.wait_drained()
        finally:
            stack.local.supervisor.start_program("redis")
        wait_until(lambda: probes.ask("redis", ports, stack.local.paths).ready, 30, "Redis to come back")
        # No customer sends anything from here on; the Redis sync alone corrects the counters.
        with run.oracle() as oracle, redis_sync(run.settings):
            wait_until(
                lambda: compare_redis(oracle, run.settings) == [], CONVERGED_WITHIN_S, "the counters to be right"
            )
            run.assert_exact(oracle)
        assert run.rest.root_cause(run.rest.active(run.settings.names.job("meter")).id) == ""  # type: ignore[union-attr]


@pytest.mark.drill
def test_counters_that_redis_lost_come_back_by_themselves_while_events_flow(stack: Any, tmp_path: Path) -> None:
    records = list(generate(events=20_000, seed=22))
    part = len(records) * 8 // 10
    with pipeline(stack.settings, "redislost", CATALOG, tmp_path) as run, redis_sync(run.settings):
        run.start()
        run.send(records[:part])
        run.wait_drained()
        # Given all that this run has in Redis is gone, customers that stay idle among it, ...
        assert redis.remove(run.settings.redis, f"{run.settings.names.redis_prefix}*")
        clock = Clock("Redis lost")
        with run.oracle() as oracle:
            # ... then it is there again, without an event, ...
            wait_until(
                lambda: compare_redis(oracle, run.settings) == [], CONVERGED_WITHIN_S, "the counters to be right"
            )
            clock.print("nothing")
        # ... and right with those that come.
        run.send(records[part:])
        run.wait_drained()
        with run.oracle() as oracle:
            run.assert_exact(oracle)
