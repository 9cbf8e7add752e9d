"""Live counters on a real Redis: the guard, losing it and getting it back, the sync with 10 000 idle customers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from tests.integration.storage import OwnRedis, own_run
from tests.sessions import end_sessions
from tests.unit.limits.limit_parts import NOW_MS, Clock, Limits, limit
from tidemark.catalog import tool as catalog_tool
from tidemark.core import postgres, topics
from tidemark.core.errors import UnavailableError
from tidemark.core.settings import Settings
from tidemark.live import counters as counter_sync
from tidemark.live.usage import UsageQuery, usage
from tidemark_client.keys import heartbeat_key, marker_key, rebuilding_key
from udfs.limits.watch import LimitWatch
from udfs.live.counters import LIMIT_FIELDS, LiveTotal, queue
from udfs.live.publisher import HEARTBEAT, Change, LivePublisher, LiveSettings, Outcome

JAN, FEB, MAR = 1_356_998_400_000, 1_359_676_800_000, 1_362_096_000_000
KEY = "usage:{EWR/UA}:miles"
SERVE = [sys.executable, "-c", "from tidemark.cli.main import main; main()", "serve", "--roles", "live"]


def total(n: int, *, customer: str = "UA", start: int = JAN, end: int = FEB) -> LiveTotal:
    return LiveTotal("EWR", customer, "miles", start, end, n, n, f"{n}.5", "0.5", "1")


def change(n: int, *, customer: str = "UA", start: int = JAN, end: int = FEB) -> Change:
    return Change(total(n, customer=customer, start=start, end=end), Decimal(1), start + 1, "")


def redis_alerts(outcome: Outcome) -> list[str]:
    """Whether Redis was lost or came back with a batch."""
    return [one.status for row in outcome.alerts for one in row if one.type == "pipeline.live_counters"]


@pytest.fixture
def publisher(own_redis: OwnRedis) -> Iterator[LivePublisher]:
    live = LivePublisher(LiveSettings(own_redis.url, "usage:", grace_ms=5_000, timeout_ms=250, retry_ms=100))
    yield live
    live.close()


@pytest.fixture
def run(stack: Any, own_redis: OwnRedis) -> Iterator[Settings]:
    with own_run(stack.settings, own_redis.url) as settings:
        yield settings


def store(run: Settings, rows: str) -> None:
    """Put rows into usage_period: an SQL text of (customer, dims, period_start, period_end, n, total) tuples."""
    with postgres.connect(run.postgres) as connection:
        connection.execute(
            sql.SQL(
                "INSERT INTO {} (tenant_id, customer_id, meter, dims, period_start, period_end, n, samples, "
                "total, lo, hi) "
                "SELECT 'EWR', customer, 'miles', dims, s::timestamptz, e::timestamptz, n, n, total, 1, 9 FROM ({}) "
                "AS rows (customer, dims, s, e, n, total) ON CONFLICT (tenant_id, customer_id, meter, dims, part, "
                "period_start) DO UPDATE SET n = EXCLUDED.n, samples = EXCLUDED.n, total = EXCLUDED.total"
            ).format(sql.Identifier(run.names.usage_schema, "usage_period"), sql.SQL(rows)),  # type: ignore[arg-type]
        )


def many(n: int, customers: int = 10_000) -> str:
    return f"SELECT 'c' || i, '', '2013-01-01', '2013-02-01', {n}, {n} FROM generate_series(1, {customers}) i"


def live_n(run: Settings, server: OwnRedis, customer: str) -> str | None:
    found: Any = server.client.hget(f"{run.names.redis_prefix}{{EWR/{customer}}}:miles", "n")
    return found


def test_a_counter_holds_every_field_and_lives_for_the_period_and_the_grace(
    own_redis: OwnRedis, publisher: LivePublisher
) -> None:
    outcome = publisher.publish([change(2), change(3)])
    assert (outcome.written, outcome.refused, outcome.dropped) == (1, 0, 0)
    fields: Any = own_redis.client.hgetall(KEY)
    assert abs(int(fields.pop("updated_at")) / 1_000 - time.time()) < 60
    assert fields == {
        "period_start": str(JAN), "period_end": str(FEB), "n": "3", "samples": "3", "total": "3.5", "lo": "0.5",
        "hi": "1", "latest": "",
    }  # fmt: skip
    left: Any = own_redis.client.pttl(KEY)
    assert FEB - JAN - 60_000 < left <= FEB - JAN + 5_000


@pytest.mark.parametrize(
    ("row", "written"),
    [
        (change(4), 0),
        (change(5), 1),
        (change(6), 1),
        (change(1, start=FEB, end=MAR), 1),
        (change(99, start=JAN - 1, end=JAN), 0),
    ],
)
def test_the_guard_writes_only_what_is_not_older(publisher: LivePublisher, row: Change, written: int) -> None:
    publisher.publish([change(5)])
    outcome = publisher.publish([row])
    assert (outcome.written, outcome.refused) == (written, 1 - written)


def test_the_guard_compares_numbers_not_text(publisher: LivePublisher) -> None:
    publisher.publish([change(9)])
    assert publisher.publish([change(10)]).written == 1
    assert publisher.publish([change(2**53 - 2)]).written == 1
    assert publisher.publish([change(2**53 - 3)]).refused == 1


def test_other_fields_of_a_counter_stay(own_redis: OwnRedis, publisher: LivePublisher) -> None:
    own_redis.client.hset(KEY, "limit", "100")
    publisher.publish([change(1)])
    assert own_redis.client.hget(KEY, "limit") == "100"


def test_a_key_of_another_type_costs_its_own_row_alone(own_redis: OwnRedis, publisher: LivePublisher) -> None:
    own_redis.client.set(KEY, "not a counter")
    outcome = publisher.publish([change(1), change(1, customer="AA")])
    assert (outcome.written, outcome.dropped, outcome.detail) == (1, 1, "a key is not a counter")


def test_a_redis_out_of_memory_fires_and_resolves(own_redis: OwnRedis, publisher: LivePublisher) -> None:
    own_redis.client.config_set("maxmemory", 1)
    lost = publisher.publish([change(1)])
    assert (lost.dropped, redis_alerts(lost)) == (1, ["firing"])
    assert "OutOfMemory" in lost.detail
    own_redis.client.config_set("maxmemory", 0)
    back = published(publisher, change(2))
    assert redis_alerts(back) == ["resolved"]


def test_a_read_only_replica_is_a_failure(own_redis: OwnRedis, publisher: LivePublisher) -> None:
    own_redis.client.replicaof("127.0.0.1", 9)
    assert redis_alerts(publisher.publish([change(1)])) == ["firing"]


def test_the_first_success_after_a_start_resolves_alerts_of_an_earlier_worker(
    publisher: LivePublisher,
) -> None:
    assert redis_alerts(publisher.publish([change(1)])) == ["resolved"]
    assert redis_alerts(publisher.publish([change(2)])) == []


def published(publisher: LivePublisher, row: Change) -> Outcome:
    """Publish until it is written, at most 5 s."""
    deadline = time.monotonic() + 5
    while True:
        outcome = publisher.publish([row])
        if outcome.written:
            return outcome
        assert time.monotonic() < deadline, outcome
        time.sleep(0.02)


def test_a_restarted_redis_is_found_again_without_help(own_redis: OwnRedis, publisher: LivePublisher) -> None:
    publisher.publish([change(1)])
    own_redis.kill()
    lost = publisher.publish([change(2), change(1, customer="AA")])
    assert (lost.dropped, redis_alerts(lost)) == (2, ["firing"])
    own_redis.start()
    back = published(publisher, change(3))
    assert redis_alerts(back) == ["resolved"]
    assert back.alerts[0][0].evidence["dropped"] >= 2


def test_a_frozen_redis_costs_one_time_out_and_never_mixes_up_replies(
    own_redis: OwnRedis, publisher: LivePublisher
) -> None:
    publisher.publish([change(1)])
    own_redis.freeze()
    began = time.monotonic()
    assert publisher.publish([change(2)]).dropped == 1
    assert time.monotonic() - began < 0.6
    own_redis.thaw()
    assert published(publisher, change(3)).written == 1
    assert own_redis.client.hget(KEY, "n") == "3"


def test_a_counter_that_only_shows_a_limit_yields_to_usage_of_an_earlier_period(
    own_redis: OwnRedis, publisher: LivePublisher
) -> None:
    empty = replace(change(1).total, n=0, samples=0, total="0", period_start_ms=FEB, period_end_ms=FEB + 10**9)
    pipeline = own_redis.client.pipeline(transaction=False)
    queue(pipeline, "usage:", [empty], now_ms=0, grace_ms=10**9, strict=False)
    pipeline.execute()
    assert publisher.publish([change(2)]).written == 1
    assert own_redis.client.hget(KEY, "period_start") == str(JAN)


def test_forgotten_scripts_are_loaded_again(own_redis: OwnRedis, publisher: LivePublisher) -> None:
    publisher.publish([change(1)])
    own_redis.client.script_flush()
    assert publisher.publish([change(2)]).written == 1


def held_publisher(server: OwnRedis, limits: Limits, clock: Clock) -> LivePublisher:
    """A publisher that knows limits; `clock` is that of the book."""
    watch = LimitWatch(limits.book(clock), lambda: NOW_MS)
    return LivePublisher(LiveSettings(server.url, "usage:", grace_ms=5_000, timeout_ms=250, retry_ms=100), watch)


def limit_fields(server: OwnRedis) -> dict[str, str]:
    fields: Any = server.client.hgetall(KEY)
    return {name: fields[name] for name in (*LIMIT_FIELDS, "revision") if name in fields}


def test_a_counter_has_the_status_of_its_limit(own_redis: OwnRedis) -> None:
    held = limit("4.25", mode="hard", on_unknown="fail_closed")
    live = held_publisher(own_redis, Limits([held]), Clock())
    live.publish([change(2)])
    fields = limit_fields(own_redis)
    assert int(fields.pop("projected_exhaustion_at")) > JAN
    assert fields == {
        "limit": "4.25", "mode": "hard", "on_unknown": "fail_closed", "rule": held.version, "used": "2.5",
        "remaining": "1.75", "denied": "0", "revision": "1",
    }  # fmt: skip
    live.publish([change(4)])
    fields = limit_fields(own_redis)
    assert (fields["used"], fields["remaining"], fields["denied"], fields["projected_exhaustion_at"]) == (
        "4.5", "0", "1", "",
    )  # fmt: skip
    live.close()


def test_a_raised_cap_clears_denied_without_usage_and_no_limit_removes_it(own_redis: OwnRedis) -> None:
    clock, limits = Clock(), Limits([limit("4.25", mode="hard")])
    live = held_publisher(own_redis, limits, clock)
    live.publish([change(4)])
    request = change(4)._replace(added=Decimal(0), at_ms=JAN + 9)
    limits.state(JAN + 5, "customer", limit(100, mode="hard"))
    assert live.publish([request]).written == 1
    fields = limit_fields(own_redis)
    assert (fields["limit"], fields["denied"]) == ("100", "0")
    assert fields["rule"].startswith("customer/UA@2013-01-01T00:00:00.005Z-")
    limits.state(JAN + 8, "customer", None)
    assert live.publish([request]).written == 1
    assert limit_fields(own_redis) == {"revision": "3"}
    assert own_redis.client.hget(KEY, "total") == "4.5"
    live.close()


def test_while_limits_are_unknown_those_written_before_stay(own_redis: OwnRedis) -> None:
    clock, limits = Clock(), Limits([limit("4.25", mode="hard")])
    live = held_publisher(own_redis, limits, clock)
    live.publish([change(4)])
    known = limit_fields(own_redis)
    limits.away = True
    unknowing = held_publisher(own_redis, limits, clock)
    outcome = unknowing.publish([change(5)])
    assert (outcome.written, outcome.unknown) == (1, 1)
    assert (limit_fields(own_redis), own_redis.client.hget(KEY, "total")) == (known, "5.5")
    assert unknowing.publish([change(5)]).refused == 1, "an equal n that knows less is no news"
    live.close()
    unknowing.close()


@pytest.mark.parametrize(
    ("stored", "row", "strict", "written"),
    [
        # (period, n, revision): first by period, then by n, then by revision.
        ((JAN, 5, 3), (JAN, 5, 3), False, 1),
        ((JAN, 5, 3), (JAN, 5, 3), True, 0),
        ((JAN, 5, 3), (JAN, 5, 4), True, 1),
        ((JAN, 5, 3), (JAN, 5, 2), False, 0),
        ((JAN, 5, 3), (JAN, 5, -1), False, 0),
        ((JAN, 5, 3), (JAN, 6, 2), True, 1),
        ((JAN, 5, 3), (JAN, 4, 9), False, 0),
        ((FEB, 1, 3), (JAN, 9, 9), False, 0),
        ((JAN, 9, 9), (FEB, 0, 1), True, 1),
        ((JAN, 0, 9), (JAN, 0, 10), True, 1),
    ],
)  # fmt: skip
def test_the_guard_compares_the_period_then_n_then_the_revision_of_the_limits(
    own_redis: OwnRedis, stored: tuple[int, int, int], row: tuple[int, int, int], strict: bool, written: int
) -> None:
    def write(version: tuple[int, int, int], limit_status: str, strict: bool) -> int:
        start, n, revision = version
        counter = replace(total(n, start=start, end=start + 1_000), revision=revision, limit_status=limit_status)
        pipeline = own_redis.client.pipeline(transaction=False)
        queue(pipeline, "usage:", [counter], now_ms=1, grace_ms=60_000, strict=strict)
        answer: Any = pipeline.execute()[1]
        return int(answer)

    old, new = (f"{cap}\x1fhard\x1ffail_open\x1frule\x1f1\x1f0\x1f" for cap in ("10", "20"))
    assert write(stored, old, strict=False) == 1
    assert write(row, new, strict) == written
    assert own_redis.client.hget(KEY, "limit") == ("20" if written else "10")


def test_a_heartbeat_writes_its_key_and_no_counter(own_redis: OwnRedis, publisher: LivePublisher) -> None:
    def beat(at_ms: int) -> Change:
        return Change(LiveTotal("", "", HEARTBEAT, 0, FEB, 0, 0, "0"), Decimal(0), at_ms, "")

    outcome = publisher.publish([beat(JAN + 2), beat(JAN + 1)])
    assert (outcome.written, outcome.refused, outcome.dropped) == (0, 0, 0)
    assert own_redis.client.get(heartbeat_key("usage:")) == str(JAN + 2)
    publisher.publish([beat(JAN + 3), change(1)])
    assert own_redis.client.get(heartbeat_key("usage:")) == str(JAN + 3)
    assert set(own_redis.client.scan_iter()) == {KEY, heartbeat_key("usage:")}


def test_a_heartbeat_that_redis_refuses_does_not_say_that_it_is_back(own_redis: OwnRedis) -> None:
    clock = Clock()
    live = LivePublisher(LiveSettings(own_redis.url, "usage:", 0, 250, 100), clock=clock)
    beat = Change(LiveTotal("", "", HEARTBEAT, 0, FEB, 0, 0, "0"), Decimal(0), JAN, "")
    live.publish([change(1)])
    own_redis.client.config_set("maxmemory", 1)
    found = []
    for _ in range(3):
        clock.now += 1
        found += redis_alerts(live.publish([beat]))
    assert found == ["firing"]
    live.close()


def test_alerts_of_limits_come_while_redis_is_frozen(own_redis: OwnRedis) -> None:
    live = held_publisher(own_redis, Limits([limit(3)]), Clock())
    live.publish([change(2)])
    own_redis.freeze()
    outcome = live.publish([change(3)])
    own_redis.thaw()
    assert [one.type for one in outcome.alerts[0]] == ["limit.exceeded", "pipeline.live_counters"]
    live.close()


def test_the_sync_writes_the_latest_period_summed_over_dimensions(run: Settings, own_redis: OwnRedis) -> None:
    store(
        run,
        """VALUES ('UA', 'a', '2013-01-01', '2013-02-01', 90, 90.5), ('UA', 'a', '2013-02-01', '2013-03-01', 2, 2.25),
                  ('UA', 'b', '2013-02-01', '2013-03-01', 3, 0.000000001)""",
    )
    done = counter_sync.refresh(run)
    assert (done.full, done.read, done.written, done.failed) == (True, 1, 1, 0)
    fields: Any = own_redis.client.hgetall(f"{run.names.redis_prefix}{{EWR/UA}}:miles")
    assert (fields["period_start"], fields["n"], fields["total"]) == (str(FEB), "5", "2.250000001")
    assert counter_sync.refresh(run).refused == 1, "what Redis has is not written again"


def test_the_sync_never_turns_a_live_counter_back(run: Settings, own_redis: OwnRedis) -> None:
    settings = LiveSettings(own_redis.url, run.names.redis_prefix, grace_ms=0, timeout_ms=250, retry_ms=100)
    LivePublisher(settings).publish([change(7)])
    store(run, "VALUES ('UA', '', '2013-01-01', '2013-02-01', 5, 5)")
    assert counter_sync.refresh(run).refused == 1
    assert live_n(run, own_redis, "UA") == "7"


def test_the_sync_follows_changes_and_leaves_the_rest_alone(run: Settings, own_redis: OwnRedis) -> None:
    store(run, many(1, customers=50))
    watcher = counter_sync.CounterSync(run)
    assert watcher.refresh().written == 50
    store(run, many(2, customers=3))
    done = watcher.refresh()
    assert (done.full, done.written, done.refused) == (False, 3, 0)
    assert (live_n(run, own_redis, "c3"), live_n(run, own_redis, "c4")) == ("2", "1")
    watcher.close()


@pytest.mark.parametrize("loss", ["emptied", "restarted", "restarted with an old snapshot"])
def test_ten_thousand_idle_customers_are_back_after_redis_lost_them(
    run: Settings, own_redis: OwnRedis, loss: str
) -> None:
    store(run, many(1))
    watcher = counter_sync.CounterSync(run)
    assert watcher.refresh().written == 10_000
    if loss == "restarted with an old snapshot":
        own_redis.client.save()
    store(run, many(2))
    assert watcher.refresh().written == 10_000
    # From here on nobody sends an event.
    if loss == "emptied":
        own_redis.client.flushall()
    else:
        own_redis.kill()
        with pytest.raises(UnavailableError):
            watcher.refresh()
        own_redis.start()
    began = time.monotonic()
    done = watcher.refresh()
    assert (done.full, done.written) == (True, 10_000)
    assert time.monotonic() - began < 15
    assert live_n(run, own_redis, "c10000") == "2"
    watcher.close()


def test_the_sync_begins_again_where_a_failure_stopped_it(run: Settings, own_redis: OwnRedis) -> None:
    store(run, many(1, customers=5))
    watcher = counter_sync.CounterSync(run)
    watcher.refresh()
    own_redis.freeze()
    store(run, many(2, customers=5))
    with pytest.raises(UnavailableError, match="Redis"):
        watcher.refresh()
    own_redis.thaw()
    assert watcher.refresh().written == 5
    watcher.close()


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every refresh writes one part of three counters or rows."""
    monkeypatch.setattr("tidemark.live.stored_totals.PAGE_KEYS", 3)
    monkeypatch.setattr("tidemark.live.stored_totals.SLICE_ROWS", 3)
    monkeypatch.setattr(counter_sync, "STEP_S", 0.0)


def live_customers(run: Settings, server: OwnRedis) -> int:
    return sum("EWR" in key for key in server.client.scan_iter(match=f"{run.names.redis_prefix}*"))


@pytest.mark.usefixtures("small_parts")
def test_a_sync_of_all_goes_on_where_a_failure_stopped_it(run: Settings, own_redis: OwnRedis) -> None:
    store(run, many(1, customers=10))
    watcher = counter_sync.CounterSync(run)
    parts = [watcher.refresh(), watcher.refresh()]
    assert [(part.full, part.read, part.more) for part in parts] == [(True, 3, True)] * 2
    assert own_redis.client.get(marker_key(run.names.redis_prefix)) is None
    # When Redis does not answer for a while, then what was written stays written.
    own_redis.freeze()
    with pytest.raises(UnavailableError):
        watcher.refresh()
    own_redis.thaw()
    while parts[-1].more:
        parts.append(watcher.refresh())
    assert [part.read for part in parts] == [3, 3, 3, 1, 0]
    assert (live_customers(run, own_redis), sum(part.written for part in parts)) == (10, 10)
    assert own_redis.client.get(marker_key(run.names.redis_prefix)) is not None
    assert own_redis.client.get(rebuilding_key(run.names.redis_prefix)) is None
    watcher.close()


@pytest.mark.usefixtures("small_parts")
def test_a_sync_of_all_begins_again_when_redis_loses_what_was_written_meanwhile(
    run: Settings, own_redis: OwnRedis
) -> None:
    store(run, many(1, customers=10))
    watcher = counter_sync.CounterSync(run)
    watcher.refresh()
    own_redis.client.flushall()
    while watcher.refresh().more:
        pass
    assert live_customers(run, own_redis) == 10
    watcher.close()


@pytest.mark.usefixtures("small_parts")
def test_changes_are_followed_in_parts_and_none_is_left_out(run: Settings, own_redis: OwnRedis) -> None:
    store(run, many(1, customers=10))
    watcher = counter_sync.CounterSync(run)
    while watcher.refresh().more:
        pass
    store(run, many(2, customers=8))
    parts = [watcher.refresh()]
    # Written meanwhile: the next pass has it.
    store(run, many(3, customers=1))
    while parts[-1].more:
        parts.append(watcher.refresh())
    assert (len(parts) > 2, {part.full for part in parts}) == (True, {False})
    assert [live_n(run, own_redis, f"c{number}") for number in (2, 8, 9)] == ["2", "2", "1"]
    while watcher.refresh().more:
        pass
    assert live_n(run, own_redis, "c1") == "3"
    watcher.close()


def test_a_dropped_database_session_is_made_again(run: Settings) -> None:
    watcher = counter_sync.CounterSync(run)
    watcher.refresh()
    assert end_sessions(run, "live")
    with pytest.raises(UnavailableError, match="Postgres"):
        watcher.refresh()
    watcher.refresh()
    watcher.close()


def test_the_running_role_restores_and_ends_cleanly_on_sigterm(
    run: Settings, own_redis: OwnRedis, tmp_path: Path
) -> None:
    store(run, many(1, customers=10))
    topics.apply(run)
    watched = run.with_changes({"redis.url": own_redis.url, "live.refresh_s": 1})
    environment = {**os.environ, **watched.environment()}
    log = tmp_path / "limit-sync.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(SERVE, env=environment, stderr=stderr)
        try:
            deadline = time.monotonic() + 20
            while live_n(run, own_redis, "c10") != "1":
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["event"] for line in lines if line["component"] == "live"] == ["refreshed"]
    assert [line["event"] for line in lines if line["component"] == "serve"] == ["started", "stopping", "stopped"]


def test_usage_shows_live_and_stored_side_by_side(run: Settings, own_redis: OwnRedis, tmp_path: Path) -> None:
    file = tmp_path / "catalog.yaml"
    file.write_text("{tenants: {EWR: }, meters: {miles: {event_types: [x], aggregation: sum, unit: miles}}}")
    catalog_tool.apply(run, file, backdate=True, prune=True, all_tenants=True)
    store(run, "VALUES ('UA', '', '2013-01-01', '2013-02-01', 3, 3.5)")
    settings = LiveSettings(own_redis.url, run.names.redis_prefix, grace_ms=0, timeout_ms=250, retry_ms=100)
    publisher = LivePublisher(settings)
    publisher.publish([change(3)])
    (meter,) = usage(run, UsageQuery("EWR", "UA")).meters
    assert meter.equal
    assert meter.live is not None
    assert (meter.meter, meter.live.samples, meter.live.value) == ("miles", 3, "3.5")
    publisher.publish([change(4)])
    assert not usage(run, UsageQuery("EWR", "UA")).meters[0].equal
    publisher.close()


def test_usage_of_an_unknown_customer_is_empty(run: Settings) -> None:
    assert usage(run, UsageQuery("EWR", "nobody")).meters == ()


def test_usage_reports_that_redis_is_down_and_shows_what_is_stored(run: Settings, own_redis: OwnRedis) -> None:
    store(run, "VALUES ('UA', '', '2013-01-01', '2013-02-01', 3, 3.5)")
    own_redis.kill()
    found = usage(run, UsageQuery("EWR", "UA"))
    assert found.meters[0].stored is not None
    assert "cannot be used" in found.unavailable["live"]
