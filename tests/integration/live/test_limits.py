"""The sync of limits on real services: unused counters, defaults of tenants, requests until Redis is in sync."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from jobs.flink.rest import wait_until
from tests.integration.storage import OwnRedis, own_run
from tidemark.catalog import tool as catalog_tool
from tidemark.core import postgres, topics
from tidemark.core.errors import UnavailableError
from tidemark.core.kafka import dump
from tidemark.core.settings import Settings
from tidemark.core.supervisor import Supervisor
from tidemark.live.counters import CounterSync
from tidemark.live.limits import LimitSync, services
from tidemark_client import LimitReader
from tidemark_client.keys import counter_key, limits_key
from udfs.live.counters import LiveTotal, queue
from udfs.live.publisher import HEARTBEAT

CATALOG = """
tenants:
  {tenant}:
    limits: {{sync_seats: {{cap: 100}}}}
    plans: {{gold: {{limits: {{sync_seats: {{cap: 500, mode: hard, when_unknown: fail_closed}}}}}}}}
    customers: {{alice: {{plan: gold}}, bob: {{}}}}
    meters: {{sync_seats: {{event_types: [x], aggregation: count, unit: seats}}}}
"""
USED = """
INSERT INTO {} (tenant_id, customer_id, meter, dims, period_start, period_end, n, samples, total, lo, hi)
SELECT %s, 'bob', 'sync_seats', '', date_trunc('month', now()), date_trunc('month', now()) + interval '1 month',
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
def limit_sync(run: Settings) -> Iterator[LimitSync]:
    made = LimitSync(run)
    yield made
    made.close()


def used_counter(run: Settings) -> LiveTotal:
    """Bob's counter of the running period, stored; as the job writes it before it knows the limits."""
    with postgres.connect(run.postgres) as connection:
        statement = sql.SQL(USED).format(sql.Identifier(run.names.usage_schema, "usage_period"))
        start_ms, end_ms = connection.execute(statement, (run.run_id,)).fetchone() or (0, 0)
    return LiveTotal(
        str(run.run_id), "bob", "sync_seats", start_ms, end_ms, 3, 3, "3", "1", "1", limit_status="", revision=0
    )


def write(run: Settings, server: OwnRedis, counter: LiveTotal) -> None:
    pipeline = server.client.pipeline(transaction=False)
    queue(pipeline, run.names.redis_prefix, [counter], now_ms=0, grace_ms=10**9, strict=False)
    pipeline.execute()


def stored(run: Settings, server: OwnRedis, customer: str) -> dict[str, str]:
    found: Any = server.client.hgetall(counter_key(run.names.redis_prefix, str(run.run_id), customer, "sync_seats"))
    return dict(found)


def requests(run: Settings) -> list[dict[str, Any]]:
    return [json.loads(record.value or b"") for record in dump(run.kafka, run.names.reevaluations, "read_uncommitted")]


def test_a_counter_without_usage_is_written_with_its_limit_and_a_tenant_has_its_defaults(
    run: Settings, own_redis: OwnRedis, limit_sync: LimitSync
) -> None:
    limit_sync.run_once()
    fields = stored(run, own_redis, "alice")
    names = ("n", "total", "limit", "mode", "on_unknown", "remaining", "denied")
    assert [fields[name] for name in names] == ["0", "0", "500", "hard", "fail_closed", "500", "0"]
    assert fields["rule"].startswith("plan/gold@")
    assert stored(run, own_redis, "bob") == {}
    defaults: Any = own_redis.client.hgetall(limits_key(run.names.redis_prefix, str(run.run_id)))
    shown = json.loads(defaults["sync_seats"])
    assert shown.pop("rule").startswith("tenant/@")
    assert shown == {"limit": "100", "mode": "soft", "on_unknown": "fail_open"}


def test_a_counter_with_another_limit_is_evaluated_again_until_it_has_the_one_that_holds(
    run: Settings, own_redis: OwnRedis, limit_sync: LimitSync
) -> None:
    counter = used_counter(run)
    write(run, own_redis, counter)
    limit_sync.run_once()
    limit_sync.run_once()
    sent = [request for request in requests(run) if request["tenant_id"] == run.run_id]
    assert len(sent) == 2
    assert {(request["customer_id"], request["meter"], request["period_start_ms"]) for request in sent} == {
        ("bob", "sync_seats", counter.period_start_ms)
    }
    (limit,) = limit_sync.limits.defaults(0)[str(run.run_id)]
    status = f"100\x1fsoft\x1ffail_open\x1f{limit.version}\x1f97\x1f0\x1f"
    write(run, own_redis, replace(counter, limit_status=status, revision=limit_sync.limits.revision))
    limit_sync.run_once()
    assert len([one for one in requests(run) if one["tenant_id"] == run.run_id]) == 2


MANY_USED = """
INSERT INTO {} (tenant_id, customer_id, meter, dims, period_start, period_end, n, samples, total, lo, hi)
SELECT %s, 'u-' || number, 'sync_seats', '', date_trunc('month', now()),
       date_trunc('month', now()) + (1 + number %% 2) * interval '1 month', 3, 3, 3, 1, 1
FROM generate_series(1, 10) AS number
"""
# Its calendar was changed: the running period began later, and rows from before the change was known end later.
CUT = """
INSERT INTO {} (tenant_id, customer_id, meter, dims, period_start, period_end, n, samples, total, lo, hi)
SELECT %s, 'cut', 'sync_seats', dims, date_trunc('month', now()) - days * interval '1 day',
       date_trunc('month', now()) + ends * interval '1 month', 3, 3, 3, 1, 1
FROM (VALUES ('a', 0, 1), ('b', 0, 2), ('c', 9, 3)) AS rows (dims, days, ends)
"""


def test_all_counters_are_compared_page_by_page_also_after_a_failure(
    run: Settings, own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemark.live.open_counters.PAGE_ROWS", 3)
    monkeypatch.setattr("tidemark.live.limits.PAGE_ROWS", 3)
    with postgres.connect(run.postgres) as connection:
        table = sql.Identifier(run.names.usage_schema, "usage_period")
        for text in (MANY_USED, CUT):
            connection.execute(sql.SQL(text).format(table), [run.run_id])
    # Time for one page, and then for all.
    ticks = iter([0.0, 0.0, 9.0])
    with closing(LimitSync(run, clock=lambda: next(ticks, 0.0))) as paged:
        first = paged.run_once()
        assert (first.requested, first.more) == (3, True)
        own_redis.freeze()
        with pytest.raises(UnavailableError, match="Redis"):
            paged.run_once()
        own_redis.thaw()
        done = paged.run_once()
    # The catalog is shared: customers of other tenants may be among those that are written without usage.
    assert (done.requested, done.more) == (8, False)
    sent = [one for one in requests(run) if one["tenant_id"] == run.run_id]
    assert sorted(one["customer_id"] for one in sent) == sorted(["cut", *(f"u-{number}" for number in range(1, 11))])
    (cut,) = [one for one in sent if one["customer_id"] == "cut"]
    assert (cut["period_start_ms"], cut["period_end_ms"]) == month_ms()
    assert stored(run, own_redis, "alice")["limit"] == "500"


def heartbeats(run: Settings) -> list[str]:
    return [one["meter"] for one in requests(run) if one["tenant_id"] == ""]


def test_heartbeats_come_while_neither_postgres_nor_redis_can_be_used(run: Settings) -> None:
    # Given databases that nobody answers for, when the role runs, then its sync fails and the heartbeat does not.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
        alone = run.with_changes(
            {"postgres.ops_url": f"postgresql://x@{nobody}/x", "redis.url": f"redis://{nobody}/0", "live.refresh_s": 0}
        )
        stop = threading.Event()
        supervisor = Supervisor({"live": services(alone)}, stop)
        serving = threading.Thread(target=supervisor.run)
        serving.start()
        try:
            health = {one.service: index for index, one in enumerate(supervisor.health())}
            wait_until(lambda: len(heartbeats(run)) >= 3, timeout_s=60, what="three heartbeats")
            wait_until(
                lambda: supervisor.health()[health["limits"]].failures >= 2, timeout_s=60, what="the sync to fail"
            )
        finally:
            stop.set()
            serving.join()
    assert set(heartbeats(run)) == {HEARTBEAT}
    assert supervisor.health()[health["heartbeat"]].failures == 0


def test_an_unreachable_redis_is_reported_and_used_again(
    run: Settings, own_redis: OwnRedis, limit_sync: LimitSync
) -> None:
    own_redis.kill()
    with pytest.raises(UnavailableError, match="Redis"):
        limit_sync.run_once()
    own_redis.start()
    limit_sync.run_once()
    assert stored(run, own_redis, "alice")["limit"] == "500"


def test_a_counter_of_an_ended_period_stays_as_long_as_its_limit_does(
    run: Settings, own_redis: OwnRedis, limit_sync: LimitSync
) -> None:
    # Given alice's counter of a period that has ended, compared with the limit that she has ...
    limit_sync.run_once()
    key = counter_key(run.names.redis_prefix, str(run.run_id), "alice", "sync_seats")
    own_redis.client.hset(key, mapping={"period_start": "0", "period_end": "1", "n": "7", "total": "7"})
    # ... when it is looked at again, then it stays: readers take it as zero under its limit.
    limit_sync._due_ms = 0
    assert limit_sync.run_once().seeded == 0
    assert own_redis.client.hget(key, "total") == "7"


MANY = """
INSERT INTO {} (tenant_id, customer_id, meter, dims, period_start, period_end, n, samples, total, lo, hi)
SELECT %s, 'c-' || number, 'sync_seats', '',
       date_trunc('month', now()), date_trunc('month', now()) + interval '1 month',
       100, 100, 100, 1, 1
FROM generate_series(1, 10000) AS number
"""


def test_ten_thousand_caps_are_back_after_a_flush_and_newer_totals_stay(run: Settings, own_redis: OwnRedis) -> None:
    with postgres.connect(run.postgres) as connection:
        connection.execute(sql.SQL(MANY).format(sql.Identifier(run.names.usage_schema, "usage_period")), (run.run_id,))
    with (
        closing(CounterSync(run)) as counters,
        LimitReader(run.redis.url, prefix=run.names.redis_prefix, max_age_s=None, timeout_s=5) as reader,
    ):
        assert counters.refresh().written == 10_000
        own_redis.client.flushall()
        assert reader.check(str(run.run_id), "c-7", "sync_seats").reason == "not_rebuilt"
        # Given a total that the job wrote since, when all are written back, then it stays.
        newer = LiveTotal(
            str(run.run_id), "c-8", "sync_seats", *month_ms(), 101, 101, "101", limit_status="", revision=0
        )
        pipeline = own_redis.client.pipeline(transaction=False)
        queue(pipeline, run.names.redis_prefix, [newer], now_ms=0, grace_ms=10**9, strict=False)
        pipeline.execute()
        done = counters.refresh()
        assert (done.full, done.written, done.refused) == (True, 9_999, 1)
        caps = [reader.check(str(run.run_id), f"c-{number}", "sync_seats") for number in (1, 7, 10_000)]
        assert [(cap.reason, cap.used, cap.limit) for cap in caps] == [("soft_limit_reached", 100, 100)] * 3
        assert (
            own_redis.client.hget(counter_key(run.names.redis_prefix, str(run.run_id), "c-8", "sync_seats"), "total")
            == "101"
        )


def month_ms() -> tuple[int, int]:
    """The running month in UTC, epoch ms."""
    begin = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = (begin + timedelta(days=31)).replace(day=1)
    return int(begin.timestamp() * 1_000), int(end.timestamp() * 1_000)
