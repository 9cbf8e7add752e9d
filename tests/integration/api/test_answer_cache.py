"""Cached answers are never older than what `meter` has written, in whatever order it, `rollup` and readers come."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql

from tests.integration.api.test_reads import insert
from tests.integration.storage import own_run
from tidemark.api.answer_cache import AnswerCache
from tidemark.api.cached_usage import cached
from tidemark.api.keys import StoredKey
from tidemark.api.reading import Asked
from tidemark.api.usage_query import UsageAsked
from tidemark.api.usage_rows import buckets, the_meter
from tidemark.catalog import tool as catalog_tool
from tidemark.core import migrate, postgres, redis, rollup_views
from tidemark.core.settings import Settings
from tidemark_client.keys import counter_key, heartbeat_key, marker_key
from udfs.live.counters import LiveTotal, queue
from udfs.values import epoch_ms

TENANT = "answers"
FEBRUARY, MARCH, APRIL = (datetime(2024, month, 1, tzinfo=UTC) for month in (2, 3, 4))
TABLES = {
    "usage_minute": "minute_start",
    "usage_hour": "hour_start",
    "usage_day": "day",
    "usage_period": "period_start",
}
QUESTIONS = [
    {"grain": "day"}, {"grain": "day", "start": "2024-03-01"}, {"grain": "hour", "start": "2024-03-01"},
    {"grain": "minute", "start": "2024-03-01T01:00:00Z", "end": "2024-03-04"}, {"grain": "period"},
    {"grain": "period", "start": "2024-03-01"}, {"grain": "total", "start": "2024-03-01"},
    {"grain": "hour", "start": "2024-03-01", "group_by": ("region",), "where": {"region": ("eu",)}},
    {"grain": "day", "start": "2024-03-01", "zone": "Asia/Kolkata"}, {"grain": "month"},
]  # fmt: skip


class World:
    """What `meter` and `rollup` do to one run, a step at a time: counters at once, each table whenever it is due."""

    def __init__(self, run: Settings, db: psycopg.Connection) -> None:
        self.run, self.db = run, db
        self.redis = redis.client(run.redis)
        self.prefix = run.names.redis_prefix
        self.cache = AnswerCache(run, Counter())
        self.of = Asked(StoredKey("k", TENANT, "", frozenset({"read"}), b""), db, run)
        self.totals: Counter[tuple[str, datetime, str]] = Counter()
        self.due: dict[str, list[tuple[str, datetime, int]]] = defaultdict(list)
        self.trusted()

    def trusted(self, age_s: float = 0) -> None:
        """Redis as the role `live` leaves it: written whole by this process, with a heartbeat."""
        info: Any = self.redis.info("server")
        self.redis.set(marker_key(self.prefix), info["run_id"])
        self.redis.set(heartbeat_key(self.prefix), int((time.time() - age_s) * 1_000))

    def count(self, customer: str, at: datetime, amount: int) -> None:
        """An event: the counter, unless it is late for its period, and then what the tables will get."""
        start, end = (MARCH, APRIL) if at >= MARCH else (FEBRUARY, MARCH)
        self.totals[customer, start, "n"] += 1
        self.totals[customer, start, "total"] += amount
        n, total = (self.totals[customer, start, name] for name in ("n", "total"))
        written = LiveTotal(TENANT, customer, "calls", epoch_ms(start), epoch_ms(end), n, n, str(total))
        pipeline = self.redis.pipeline(transaction=False)
        queue(pipeline, self.prefix, [written], now_ms=epoch_ms(at), grace_ms=10**12, strict=False)
        assert set(pipeline.execute()[1:]) <= {0, 1}
        for table in TABLES:
            self.due[table].append((customer, at, amount))

    def roll_up(self, table: str, most: int) -> None:
        """Add the next deltas to a table, as the job does, in one transaction."""
        now, self.due[table] = self.due[table][:most], self.due[table][most:]
        with self.db.transaction():
            for customer, at, amount in now:
                self._add(table, customer, at, amount)

    def _add(self, table: str, customer: str, at: datetime, amount: int) -> None:
        period = (MARCH, APRIL) if at >= MARCH else (FEBRUARY, MARCH)
        bucket: dict[str, Any] = {
            "usage_minute": at.replace(second=0), "usage_hour": at.replace(minute=0, second=0), "usage_day": at.date(),
            "usage_period": period[0],
        }  # fmt: skip
        ends = {"period_end": period[1]} if table == "usage_period" else {}
        row = {
            "tenant_id": TENANT, "customer_id": customer, "meter": "calls", TABLES[table]: bucket[table], **ends,
            "dims": '{"region":"eu"}' if amount % 2 else '{"region":"us"}', "n": 1, "samples": 1, "total": amount,
        }  # fmt: skip
        statement = sql.SQL(
            "INSERT INTO {table} AS t ({columns}) VALUES ({values}) ON CONFLICT (tenant_id, customer_id, meter, dims,"
            " part, {at}) DO UPDATE SET n = t.n + 1, samples = t.samples + 1, total = t.total + excluded.total"
        ).format(
            table=sql.Identifier(self.run.names.usage_schema, table), at=sql.Identifier(TABLES[table]),
            columns=sql.SQL(", ").join(map(sql.Identifier, row)),
            values=sql.SQL(", ").join(map(sql.Placeholder, row)),
        )  # fmt: skip
        self.db.execute(statement, row)

    def read(self, customer: str, **question: Any) -> str:
        """Ask with the cache and without it: the same, or it is stale. What came of the cache."""
        asked = UsageAsked("calls", customers=(customer,), **question)
        meter = the_meter(self.db, TENANT, "calls")

        def made() -> dict[str, Any]:
            return {"rows": buckets(self.of, asked, meter).rows}

        before = self.cache.counts.copy()
        assert cached(self.of, asked, meter, self.cache, made) == made(), (customer, question)
        new = self.cache.counts - before
        return "unkept" if new["unkept"] else next(iter(new))

    def caught_up(self) -> None:
        for table in TABLES:
            self.roll_up(table, 10**6)


@pytest.fixture
def world(stack: Any, tmp_path: Path) -> Iterator[World]:
    with own_run(stack.settings) as run, postgres.connect(run.postgres) as db:
        calendar = {"anchor": "2024-01-01T00:00:00", "interval": "P1M", "timezone": "Etc/UTC"}
        meters = {"calls": {"event_types": ["call"], "aggregation": "sum", "unit": "calls", "group_by": ["region"]}}
        file = tmp_path / "catalog.yaml"
        content = {"valid_from": "beginning", "calendars": {TENANT: calendar},
                   "tenants": {TENANT: {"calendar": TENANT, "meters": meters}}}  # fmt: skip
        file.write_text(yaml.safe_dump(content))
        catalog_tool.apply(run, file, backdate=True, prune=True, all_tenants=True)
        postgres.use_schema(db, run.names.billing_schema)
        made = World(run, db)
        yield made
        made.cache.close()
        made.redis.close()
        other = sql.Identifier(run.with_changes({"run_id": f"{run.run_id}r"}).names.usage_schema)
        db.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(other))


@pytest.mark.parametrize("seed", range(3))
def test_no_answer_is_older_than_a_write(world: World, seed: int) -> None:
    chosen = random.Random(seed)
    outcomes: Counter[str] = Counter()
    for _ in range(150):
        customer = chosen.choice(["alice", "bob"])
        match chosen.choice(["count", "late", "rollup", "rollup", "all", "read", "read", "read", "read"]):
            case "count":
                world.count(customer, MARCH + timedelta(minutes=chosen.randrange(5_000)), chosen.randrange(9))
            case "late":
                world.count(customer, MARCH - timedelta(minutes=1 + chosen.randrange(900)), chosen.randrange(9))
            case "rollup":
                world.roll_up(chosen.choice([*TABLES]), chosen.randrange(4))
            case "all":
                world.caught_up()
            case _:
                question = chosen.choice(QUESTIONS)
                outcomes[world.read(customer, **question)] += 1
                outcomes[world.read(customer, **question)] += 1
    # Else it has shown nothing.
    assert outcomes["hit"] > 20
    assert outcomes["unkept"] > 5


def test_what_changes_answers_without_meter_is_in_the_key(world: World) -> None:
    hour = {"grain": "hour", "start": "2024-03-01"}
    world.count("alice", MARCH, 5)
    assert world.read("alice", **hour) == "unkept"
    world.caught_up()
    assert [world.read("alice", **hour) for _ in range(2)] == ["miss", "hit"]
    # A replay that is promoted has other figures; so it has after it is promoted again, or reverted.
    _promote(world, total=7)
    assert [world.read("alice", **hour) for _ in range(2)] == ["miss", "hit"]
    _decide(world, "revert", "DELETE FROM overlay")
    assert [world.read("alice", **hour) for _ in range(2)] == ["miss", "hit"]
    # A close, a correction, and another catalog are new versions too.
    who = {"tenant_id": TENANT, "customer_id": "alice", "period_start": FEBRUARY, "period_end": MARCH, "run_id": "",
           "rests_on": "{}", "content_hash": "0" * 64}  # fmt: skip
    insert(world.db, world.run.names.billing_schema, "period_close", **who, closed_by="t", catalog_revision=1,
           watermark=MARCH, dead_letters=0, lines=1)  # fmt: skip
    assert [world.read("alice", **hour) for _ in range(2)] == ["miss", "hit"]
    insert(
        world.db, world.run.names.billing_schema, "correction", **who, correction_no=1, cause="late_events", made_by="t"
    )
    assert [world.read("alice", **hour) for _ in range(2)] == ["miss", "hit"]
    # A counter that nobody answers for versions nothing: an old heartbeat, or a Redis that came back with a snapshot.
    world.trusted(age_s=100)
    assert world.read("alice", **hour) == "unversioned"
    world.trusted()
    world.redis.set(marker_key(world.prefix), "another process")
    assert world.read("alice", **hour) == "unversioned"
    world.trusted()
    assert world.read("alice", **hour) == "hit"
    world.redis.delete(counter_key(world.prefix, TENANT, "alice", "calls"))
    assert world.read("alice", **hour) == "unversioned"


def _promote(world: World, total: int) -> None:
    replay = world.run.with_changes({"run_id": f"{world.run.run_id}r"})
    migrate.migrate(replay, ledger=False)
    insert(world.db, replay.names.usage_schema, "usage_hour", tenant_id=TENANT, customer_id="alice", meter="calls",
           dims="", hour_start=MARCH, n=1, samples=1, total=total)  # fmt: skip
    scope = {"replay_id": "r", "scope_start": FEBRUARY, "scope_end": APRIL}
    insert(world.db, world.run.names.billing_schema, "replay", **scope, state="promoted", events_topic="e",
           late_until=APRIL, starts="{}", target="{}", started_by="t")  # fmt: skip
    insert(world.db, world.run.names.billing_schema, "overlay", **scope, usage_schema=replay.names.usage_schema)
    _decide(world, "promote", "SELECT 1")


def _decide(world: World, decision: str, statement: str) -> None:
    with world.db.transaction():
        world.db.execute(statement.encode())
        insert(world.db, world.run.names.billing_schema, "replay_decision", replay_id="r", decision=decision, by="t")
        rollup_views.apply(world.db, world.run.names)


def test_what_begins_before_the_period_or_shares_a_bucket_with_another_is_not_kept(world: World) -> None:
    world.count("alice", MARCH, 5)
    world.caught_up()
    assert world.read("alice", grain="day", start="2024-03-01") == "miss"
    assert world.read("alice", grain="day") == "unkept"
    start = MARCH + timedelta(minutes=30)
    written = LiveTotal(TENANT, "bob", "calls", epoch_ms(start), epoch_ms(APRIL), 1, 1, "5")
    pipeline = world.redis.pipeline(transaction=False)
    queue(pipeline, world.prefix, [written], now_ms=epoch_ms(start), grace_ms=10**12, strict=False)
    pipeline.execute()
    assert [world.read("bob", grain=grain, start="2024-03-02") for grain in ("hour", "minute")] == ["unkept", "unkept"]
