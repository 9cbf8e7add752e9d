"""`tidemark serve` on real services: roles survive what fails, a standby takes over, a stop is always in time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from psycopg import sql

from jobs.flink.rest import wait_until
from tests.addresses import postgres_by
from tests.integration.storage import OwnRedis, own_run
from tests.sessions import end_sessions
from tests.toxics import toxics
from tidemark.core import postgres, topics
from tidemark.core.kafka import dump
from tidemark.core.settings import Settings

COMMAND = "from tidemark.cli.main import main; main()"
WITHIN_S = 60.0
STOP_S = 10.0
# One whose claim is held by its connection, one without a claim, and one that works with every service.
ROLES = "live,quotas,alerts,deliver,reconcile"
COUNTER = """
INSERT INTO {} (tenant_id, customer_id, meter, dims, period_start, period_end, n, samples, total, lo, hi)
VALUES ('t', %s, 'm', '', date_trunc('hour', now()) - interval '1 day', date_trunc('hour', now()) + interval '1 day',
    1, 1, 1, 1, 1)
"""


@pytest.fixture
def run(stack: Any, own_redis: OwnRedis) -> Iterator[Settings]:
    with own_run(stack.settings, own_redis.url) as settings:
        changes = {"live.refresh_s": 1, "quotas.interval_s": 1, "reconcile.checks": ("live", "grains")}
        made = settings.with_changes({"topics.events": f"test.{settings.run_id}", **changes})
        topics.apply(made)
        yield made


class Serving:
    """A process of `tidemark serve` and the lines that it has logged."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    def lines(self, event: str, role: str) -> list[dict[str, Any]]:
        """Lines of an event of a role, in their order; a line that is not whole yet is left out."""
        whole = self.log.read_text().rpartition("\n")[0].splitlines()
        return [one for one in map(json.loads, whole) if one["event"] == event and one.get("role") == role]

    def wait(self, event: str, role: str, count: int = 1) -> None:
        wait_until(lambda: len(self.lines(event, role)) >= count, WITHIN_S, f"{event} of {role}")

    def stop(self) -> float:
        """Ask it to end; how many seconds it took."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(WITHIN_S) == 0
        return time.monotonic() - begin


@contextmanager
def serving(run: Settings, roles: str, log: Path) -> Iterator[Serving]:
    command = [sys.executable, "-c", COMMAND, "serve", "--roles", roles]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, env={**os.environ, **run.environment()}, stderr=stderr)
        try:
            yield Serving(process, log)
        finally:
            process.kill()
            process.wait()


def count(run: Settings, customer: str) -> None:
    """Store a counter, as `rollup` does."""
    with postgres.connect(run.postgres) as connection:
        connection.execute(sql.SQL(COUNTER).format(sql.Identifier(run.names.usage_schema, "usage_period")), [customer])


def is_live(run: Settings, redis: OwnRedis, customer: str) -> bool:
    return any(f"t/{customer}" in key for key in redis.client.scan_iter(match=f"{run.names.redis_prefix}*"))


def heartbeats(run: Settings) -> int:
    records = dump(run.kafka, run.names.reevaluations, "read_uncommitted")
    return sum(not json.loads(record.value or b"")["tenant_id"] for record in records)


def test_all_roles_go_on_after_postgres_ended_their_sessions_and_stop_in_time(
    run: Settings, own_redis: OwnRedis, tmp_path: Path
) -> None:
    with serving(run, ROLES, tmp_path / "serve.log") as served:
        # Given roles at work ...
        count(run, "c1")
        wait_until(lambda: is_live(run, own_redis, "c1"), WITHIN_S, "c1 in Redis")
        served.wait("reconciled", "reconcile")
        # ... when Postgres ends their sessions, then each says so and goes on with new ones.
        assert end_sessions(run) >= 3
        served.wait("failed", "live")
        count(run, "c2")
        wait_until(lambda: is_live(run, own_redis, "c2"), WITHIN_S, "c2 in Redis")
        served.wait("checked", "quotas")
        served.wait("taken", "alerts")
        assert served.stop() < STOP_S
    started = json.loads(served.log.read_text().splitlines()[0])
    assert started["roles"]["live"] == ["counters", "leaderboard", "limits", "heartbeat"]
    failed = served.lines("failed", "live") + served.lines("failed", "alerts")
    assert {one["level"] for one in failed} == {"error"}
    assert all("Postgres" in one["error"] and "traceback" not in one for one in failed)


def test_a_second_instance_is_a_standby_until_the_first_is_killed(run: Settings, tmp_path: Path) -> None:
    with serving(run, "quotas", tmp_path / "first.log") as first:
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
        wait_until(lambda: _number(run, held) >= 1, WITHIN_S, "the claim")
        with serving(run, "quotas", tmp_path / "second.log") as second:
            second.wait("standby", "quotas")
            first.process.kill()
            second.wait("active", "quotas")
            assert second.stop() < STOP_S
            assert len(second.lines("standby", "quotas")) == 1
            assert second.lines("failed", "quotas") == []


def test_a_black_holed_postgres_stops_neither_the_heartbeat_nor_a_stop(
    run: Settings, own_redis: OwnRedis, tmp_path: Path
) -> None:
    address = urlsplit(run.postgres.url)
    assert address.port is not None
    with toxics() as proxies:
        way = proxies.proxy("postgres", address.port)
        behind = run.with_changes(postgres_by(run, way.port))
        with serving(behind, "live,quotas,alerts", tmp_path / "serve.log") as served:
            count(run, "c1")
            wait_until(lambda: is_live(run, own_redis, "c1"), WITHIN_S, "c1 in Redis")
            # When Postgres takes connections and answers nothing, then heartbeats go on, and a stop waits for nobody.
            with way.under("black_hole"):
                before = heartbeats(run)
                wait_until(lambda: heartbeats(run) >= before + 5, WITHIN_S, "five more heartbeats")
                assert served.stop() < STOP_S


def _number(run: Settings, query: str) -> int:
    with postgres.connect(run.postgres) as connection:
        return int(connection.execute(query).fetchall()[0][0])
