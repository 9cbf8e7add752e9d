"""A promotion outside Postgres, on real services: the active version in Redis, readers, the sync, usage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from tests.integration.live.test_leaderboard import store as store_hour
from tests.integration.storage import OwnRedis, own_run
from tests.unit.alerts.alerting import an_alert
from tidemark.alerts.evidence import Researcher
from tidemark.catalog import tool as catalog_tool
from tidemark.core import migrate, postgres, rollup_views
from tidemark.core.errors import UnavailableError
from tidemark.core.settings import Settings
from tidemark.live import active_version
from tidemark.live import counters as counter_sync
from tidemark.live.leaderboard import Leaderboard, top
from tidemark.live.usage import UsageQuery, usage
from tidemark.replay.announce import point_readers
from tidemark_client import LimitReader
from udfs.live.counters import LiveTotal, queue

BEGIN = datetime(2013, 1, 1, tzinfo=UTC)
JAN, FEB = 1_356_998_400_000, 1_359_676_800_000
WHO = ("EWR", "UA", "miles")


@pytest.fixture
def run(stack: Any, own_redis: OwnRedis) -> Iterator[Settings]:
    with own_run(stack.settings, own_redis.url) as settings:
        yield settings


@pytest.fixture
def replayed(run: Settings) -> Iterator[Settings]:
    """Settings of a replay of the run: rollups alone."""
    settings = run.with_changes({"run_id": run.names.replay("r")})
    migrate.migrate(settings, ledger=False)
    yield settings
    with postgres.connect(settings.postgres) as connection:
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(settings.names.usage_schema)))


def promote(run: Settings, replayed: Settings, end: datetime | None = None, tenants: list[str] | None = None) -> None:
    """What a promotion does to the views."""
    with postgres.connect(run.postgres) as connection:
        table = sql.Identifier(run.names.billing_schema, "overlay")
        connection.execute(
            sql.SQL(
                "INSERT INTO {} (replay_id, usage_schema, tenants, scope_start, scope_end) VALUES ('r', %s, %s, %s, %s)"
            ).format(table),
            [replayed.names.usage_schema, tenants, BEGIN, end],
        )
        rollup_views.apply(connection, run.names)


def revert(run: Settings) -> None:
    with postgres.connect(run.postgres) as connection:
        connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(run.names.billing_schema, "overlay")))
        rollup_views.apply(connection, run.names)


def store(run: Settings, n: int) -> None:
    """A stored total of n measurements and the live counter of it."""
    with postgres.connect(run.postgres) as connection:
        connection.execute(
            sql.SQL(
                "INSERT INTO {} (tenant_id, customer_id, meter, dims, period_start, period_end, n, samples, total, lo, "
                "hi) VALUES (%s, %s, %s, '', '2013-01-01', '2013-02-01', %s, %s, %s, 1, 1)"
            ).format(sql.Identifier(run.names.usage_schema, "usage_period")),
            [*WHO, n, n, n],
        )


def count(run: Settings, server: OwnRedis, n: int) -> None:
    """A live counter of n measurements, of a pipeline that moves."""
    row = LiveTotal(*WHO, JAN, FEB, n, n, str(n), limit_status="", revision=1)
    pipeline = server.client.pipeline(transaction=False)
    queue(pipeline, run.names.redis_prefix, [row], now_ms=now_ms(), grace_ms=0, strict=False)
    pipeline.mset({f"{run.names.redis_prefix}marker": "run", f"{run.names.redis_prefix}heartbeat": now_ms()})
    pipeline.execute()


def now_ms() -> int:
    return int(time.time() * 1_000)


def switch_of(run: Settings, server: OwnRedis) -> Any:
    return server.client.get(f"{run.names.redis_prefix}switch")


def test_readers_follow_a_promotion_and_its_taking_back(run: Settings, replayed: Settings, own_redis: OwnRedis) -> None:
    count(run, own_redis, 4)
    count(replayed, own_redis, 9)
    in_january = LimitReader(own_redis.url, run.names.redis_prefix, max_age_s=None, timeout_s=10,
                             wall_clock=lambda: JAN / 1_000)  # fmt: skip
    with in_january as reader:
        assert not active_version.publish(run)
        assert reader.check(*WHO).used == 4
        promote(run, replayed)
        assert active_version.publish(run)
        assert reader.check(*WHO).used == 9
        assert not active_version.publish(run)
        revert(run)
        assert active_version.publish(run)
        assert reader.check(*WHO).used == 4
    assert switch_of(run, own_redis) is None


def test_a_promoted_replay_with_an_end_leaves_readers_where_they_are(
    run: Settings, replayed: Settings, own_redis: OwnRedis
) -> None:
    promote(run, replayed, end=datetime(2013, 3, 1, tzinfo=UTC))
    assert not active_version.publish(run)
    assert switch_of(run, own_redis) is None


def test_the_sync_repairs_the_active_version_before_the_marker(
    run: Settings, replayed: Settings, own_redis: OwnRedis
) -> None:
    promote(run, replayed, tenants=["EWR"])
    wanted = f'{{"EWR": "{replayed.names.redis_prefix}"}}'
    live = counter_sync.CounterSync(run)
    assert live.refresh().switched
    assert switch_of(run, own_redis) == wanted
    assert not live.refresh().switched
    own_redis.client.flushall()
    assert live.refresh().switched
    # Someone who looked before the promotion has written after it.
    own_redis.client.delete(f"{run.names.redis_prefix}switch")
    assert live.refresh().switched
    assert switch_of(run, own_redis) == wanted
    # A replay has no ledger, and so no switch of its own.
    assert not counter_sync.refresh(replayed).switched
    revert(run)
    assert live.refresh().switched
    assert switch_of(run, own_redis) is None
    live.close()


def test_usage_is_that_of_the_version_people_read(
    run: Settings, replayed: Settings, own_redis: OwnRedis, tmp_path: Path
) -> None:
    file = tmp_path / "catalog.yaml"
    file.write_text("{tenants: {EWR: }, meters: {miles: {event_types: [x], aggregation: sum, unit: miles}}}")
    catalog_tool.apply(run, file, backdate=True)
    for one, n in ((run, 4), (replayed, 9)):
        store(one, n)
        count(one, own_redis, n)

    def shown(settings: Settings) -> tuple[str, str, bool]:
        (meter,) = usage(settings, UsageQuery(*WHO[:2])).meters
        assert meter.live is not None
        assert meter.stored is not None
        return meter.live.value, meter.stored.value, meter.equal

    assert shown(run) == ("4", "4", True)
    promote(run, replayed, tenants=["EWR"])
    assert shown(run) == ("9", "9", True)
    assert shown(replayed) == ("9", "9", True)
    revert(run)
    assert shown(run) == ("4", "4", True)


def test_a_replay_that_readers_would_not_trust_is_reported_and_an_unreachable_redis_stops_no_promotion(
    run: Settings, replayed: Settings, own_redis: OwnRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "never written whole" in active_version.unready(run, "r")
    assert f"--run-id {replayed.run_id}" in active_version.unready(run, "r")
    own_redis.client.set(f"{replayed.names.redis_prefix}marker", "run")
    assert "heartbeat" in active_version.unready(run, "r")
    own_redis.client.set(f"{replayed.names.redis_prefix}heartbeat", now_ms() - 3_600_000)
    assert " s old" in active_version.unready(run, "r")
    count(replayed, own_redis, 1)
    assert active_version.unready(run, "r") == ""
    own_redis.kill()
    assert "cannot be used" in active_version.unready(run, "r")
    with pytest.raises(UnavailableError, match="readers follow"):
        active_version.publish(run)
    point_readers(run)
    assert "warning: Redis at" in capsys.readouterr().err


HOUR = """
INSERT INTO {} (tenant_id, customer_id, meter, dims, hour_start, n, samples, total, lo, hi)
VALUES ('EWR', 'UA', 'miles', '', date_trunc('hour', now()) - interval '1 hour', 1, 1, %s, 1, 1)
"""


def evidence(run: Settings) -> str:
    alert = replace(an_alert("UA", at_ms=int(time.time() * 1_000)), tenant_id="EWR", meter="miles", period_ms=None)
    with postgres.connect(run.postgres) as connection:
        connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(run.names.usage_schema)))
        (found,) = Researcher(run.names).enriched(connection, [alert])
    return str(found.evidence["recent_rates"]["last_hour"])


def test_evidence_of_alerts_is_of_the_version_that_people_read(run: Settings, replayed: Settings) -> None:
    with postgres.connect(run.postgres) as connection:
        for settings, total in ((run, 10), (replayed, 20)):
            connection.execute(sql.SQL(HOUR).format(sql.Identifier(settings.names.usage_schema, "usage_hour")), [total])
    assert evidence(run) == "10"
    promote(run, replayed)
    assert evidence(run) == "20"
    # A run without a ledger has its own alone.
    assert evidence(replayed) == "20"
    revert(run)
    assert evidence(run) == "10"


def test_the_leaderboard_of_a_tenant_is_of_the_version_that_people_read(run: Settings, replayed: Settings) -> None:
    for settings, customer in ((run, "live"), (replayed, "replayed")):
        store_hour(settings, "2026-03-01T10:00:00Z", tenant_n=1, **{customer: "1"})
        with closing(Leaderboard(settings)) as board:
            board.refresh()

    def first(tenant: str = "acme") -> str | None:
        found = top(run, tenant, "calls")
        return found.totals[0][0] if found else None

    assert first() == "live"
    promote(run, replayed, tenants=["acme"])
    active_version.publish(run)
    assert first() == "replayed"
    assert first("other") is None
    revert(run)
    active_version.publish(run)
    assert first() == "live"
