"""The keeper of limits on real services: unused counters, defaults of tenants, nudges until Redis says what holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from tests.integration.storage import OwnRedis, own_run
from tidemark.catalog import tool as catalog_tool
from tidemark.core import migrate, topics
from tidemark.core.errors import UnavailableError
from tidemark.core.kafka import dump
from tidemark.core.settings import Settings
from tidemark.live.counters import Keeper
from tidemark.live.limits import LimitKeeper
from tidemark_client import LimitReader
from tidemark_client.keys import counter_key, limits_key
from udfs.live.counters import LiveTotal, queue
from udfs.live.publisher import HEARTBEAT

CATALOG = """
tenants:
  {tenant}:
    limits: {{keeper_seats: {{cap: 100}}}}
    plans: {{gold: {{limits: {{keeper_seats: {{cap: 500, mode: hard, when_unknown: fail_closed}}}}}}}}
    customers: {{alice: {{plan: gold}}, bob: {{}}}}
    meters: {{keeper_seats: {{event_types: [x], aggregation: count, unit: seats}}}}
"""
USED = """
INSERT INTO {} (tenant_id, customer_id, meter, dims, period_start, period_end, n, samples, total, lo, hi)
SELECT %s, 'bob', 'keeper_seats', '', date_trunc('month', now()), date_trunc('month', now()) + interval '1 month',
       3, 3, 3, 1, 1
RETURNING (extract(epoch FROM period_start) * 1000)::bigint, (extract(epoch FROM period_end) * 1000)::bigint
"""


@pytest.fixture
def run(stack: Any, own_redis: OwnRedis, tmp_path: Path) -> Iterator[Settings]:
    with own_run(stack.settings, own_redis.url) as settings:
        topics.apply(settings)
        file = tmp_path / "catalog.yaml"
        file.write_text(CATALOG.format(tenant=settings.run_id))
        catalog_tool.apply(settings, file, backdate=True)
        yield settings


@pytest.fixture
def keeper(run: Settings) -> Iterator[LimitKeeper]:
    made = LimitKeeper(run)
    yield made
    made.close()


def used_counter(run: Settings) -> LiveTotal:
    """Bob's counter of the running period, stored; as the job writes it before it knows the limits."""
    with migrate.connect(run.postgres) as connection:
        statement = sql.SQL(USED).format(sql.Identifier(run.names.usage_schema, "usage_period"))
        start_ms, end_ms = connection.execute(statement, (run.run_id,)).fetchone() or (0, 0)
    return LiveTotal(
        str(run.run_id), "bob", "keeper_seats", start_ms, end_ms, 3, 3, "3", "1", "1", limit_status="", revision=0
    )


def write(run: Settings, server: OwnRedis, counter: LiveTotal) -> None:
    pipeline = server.client.pipeline(transaction=False)
    queue(pipeline, run.names.redis_prefix, [counter], now_ms=0, grace_ms=10**9, strict=False)
    pipeline.execute()


def stored(run: Settings, server: OwnRedis, customer: str) -> dict[str, str]:
    found: Any = server.client.hgetall(counter_key(run.names.redis_prefix, str(run.run_id), customer, "keeper_seats"))
    return dict(found)


def nudges(run: Settings) -> list[dict[str, Any]]:
    return [json.loads(record.value or b"") for record in dump(run.kafka, run.names.reevaluations, "read_uncommitted")]


def test_a_counter_without_usage_is_written_with_its_limit_and_a_tenant_has_its_defaults(
    run: Settings, own_redis: OwnRedis, keeper: LimitKeeper
) -> None:
    keeper.look()
    fields = stored(run, own_redis, "alice")
    names = ("n", "total", "limit", "mode", "on_unknown", "remaining", "denied")
    assert [fields[name] for name in names] == ["0", "0", "500", "hard", "fail_closed", "500", "0"]
    assert fields["rule"].startswith("plan/gold@")
    assert stored(run, own_redis, "bob") == {}
    defaults: Any = own_redis.client.hgetall(limits_key(run.names.redis_prefix, str(run.run_id)))
    shown = json.loads(defaults["keeper_seats"])
    assert shown.pop("rule").startswith("tenant/@")
    assert shown == {"limit": "100", "mode": "soft", "on_unknown": "fail_open"}


def test_a_counter_with_another_limit_is_nudged_until_it_has_the_one_that_holds(
    run: Settings, own_redis: OwnRedis, keeper: LimitKeeper
) -> None:
    counter = used_counter(run)
    write(run, own_redis, counter)
    keeper.look()
    keeper.look()
    asked = [one for one in nudges(run) if one["tenant_id"] == run.run_id]
    assert len(asked) == 2
    assert {(one["customer_id"], one["meter"], one["period_start_ms"]) for one in asked} == {
        ("bob", "keeper_seats", counter.period_start_ms)
    }
    (limit,) = keeper.book.defaults(0)[str(run.run_id)]
    limit_status = f"100\x1fsoft\x1ffail_open\x1f{limit.version}\x1f97\x1f0\x1f"
    write(run, own_redis, replace(counter, limit_status=limit_status, revision=keeper.book.revision))
    keeper.look()
    assert len([one for one in nudges(run) if one["tenant_id"] == run.run_id]) == 2


def test_every_look_sends_a_heartbeat(run: Settings, keeper: LimitKeeper) -> None:
    for _ in range(3):
        keeper.look()
    assert [one["meter"] for one in nudges(run) if one["tenant_id"] == ""] == [HEARTBEAT] * 3


def test_a_redis_that_is_away_is_said_and_found_again(run: Settings, own_redis: OwnRedis, keeper: LimitKeeper) -> None:
    own_redis.kill()
    with pytest.raises(UnavailableError, match="Redis"):
        keeper.look()
    own_redis.start()
    keeper.look()
    assert stored(run, own_redis, "alice")["limit"] == "500"


def test_a_counter_of_an_ended_period_stays_as_long_as_its_limit_does(
    run: Settings, own_redis: OwnRedis, keeper: LimitKeeper
) -> None:
    # Given alice's counter of a period that has ended, held against the limit that she has ...
    keeper.look()
    key = counter_key(run.names.redis_prefix, str(run.run_id), "alice", "keeper_seats")
    own_redis.client.hset(key, mapping={"period_start": "0", "period_end": "1", "n": "7", "total": "7"})
    # ... when it is looked at again, then it stays: readers take it as zero under its limit.
    keeper._due_ms = 0
    assert keeper.look().seeded == 0
    assert own_redis.client.hget(key, "total") == "7"


MANY = """
INSERT INTO {} (tenant_id, customer_id, meter, dims, period_start, period_end, n, samples, total, lo, hi)
SELECT %s, 'c-' || number, 'keeper_seats', '',
       date_trunc('month', now()), date_trunc('month', now()) + interval '1 month',
       100, 100, 100, 1, 1
FROM generate_series(1, 10000) AS number
"""


def test_ten_thousand_caps_are_back_after_a_flush_and_newer_totals_stay(run: Settings, own_redis: OwnRedis) -> None:
    with migrate.connect(run.postgres) as connection:
        connection.execute(sql.SQL(MANY).format(sql.Identifier(run.names.usage_schema, "usage_period")), (run.run_id,))
    with (
        closing(Keeper(run)) as counters,
        LimitReader(run.redis.url, prefix=run.names.redis_prefix, max_age_s=None, timeout_s=5) as reader,
    ):
        assert counters.refresh().written == 10_000
        own_redis.client.flushall()
        assert reader.check(str(run.run_id), "c-7", "keeper_seats").reason == "not_rebuilt"
        # Given a total that the job wrote since, when all are written back, then it stays.
        newer = LiveTotal(
            str(run.run_id), "c-8", "keeper_seats", *month_ms(), 101, 101, "101", limit_status="", revision=0
        )
        pipeline = own_redis.client.pipeline(transaction=False)
        queue(pipeline, run.names.redis_prefix, [newer], now_ms=0, grace_ms=10**9, strict=False)
        pipeline.execute()
        done = counters.refresh()
        assert (done.full, done.written, done.refused) == (True, 9_999, 1)
        caps = [reader.check(str(run.run_id), f"c-{number}", "keeper_seats") for number in (1, 7, 10_000)]
        assert [(cap.reason, cap.used, cap.limit) for cap in caps] == [("soft_limit_reached", 100, 100)] * 3
        assert (
            own_redis.client.hget(counter_key(run.names.redis_prefix, str(run.run_id), "c-8", "keeper_seats"), "total")
            == "101"
        )


def month_ms() -> tuple[int, int]:
    """The running month in UTC, epoch ms."""
    begin = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = (begin + timedelta(days=31)).replace(day=1)
    return int(begin.timestamp() * 1_000), int(end.timestamp() * 1_000)
