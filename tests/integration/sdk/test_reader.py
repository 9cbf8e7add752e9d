"""The readers on a real Redis: one round trip, switches followed, an answer by the policy whatever happens to it."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis

from jobs.flink.rest import wait_until
from tests.integration.relay import Relay
from tests.integration.storage import OwnRedis
from tidemark_client import AsyncLimitReader, Decision, LimitReader
from udfs.limits.rule import Limit
from udfs.live import counters

DAY_MS = 86_400_000
DOCS = Path(__file__).parents[3] / "docs" / "reader.md"
COUNTER, SUSPENSION, DEFAULTS = "usage:{t/c%2F1}:m", "usage:{t/c%2F1}::suspended", "usage:{t}::limits"
SWITCH = "usage:switch"
ID = ("t", "c/1", "m")
# Longer than a busy machine is ever away: no test waits for it but those in which Redis is mute.
READ = ("hmget", "hgetall", "hget", "mget")
PATIENT_S, SHORT_S = 10.0, 0.2


class Both:
    """A synchronous and an asynchronous reader of one Redis, asked the same and held to the same answer."""

    def __init__(self, url: str, **options: Any) -> None:
        options = {"timeout_s": PATIENT_S, "on_unknown": "fail_closed", **options}
        self.sync = LimitReader(url, **options)
        self._runner = asyncio.Runner()
        self.answers: list[Decimal | None] = []
        self.other = AsyncLimitReader(url, **options)

    def ask_async(self, *question: Any) -> Decision:
        return self._runner.run(self.other.check(*question))

    def check(self, *question: Any) -> Decision:
        one, other = self.sync.check(*question), self.ask_async(*question)
        assert [getattr(one, name) for name in SAME] == [getattr(other, name) for name in SAME]
        return one

    def reach(self, *question: str) -> bool:
        """Whether both are answered in time; what they were answered is in `answers`."""
        found = [ask(*(question or ID)) for ask in (self.sync.check, self.ask_async)]
        self.answers = [decision.used for decision in found]
        return all(decision.known for decision in found)

    def close(self) -> None:
        self.sync.close()
        self._runner.run(self.other.aclose())
        self._runner.close()


# Age and detail differ by the time that passes and by the words of the two clients.
SAME = [name for name in Decision.__dataclass_fields__ if name not in {"age_s", "detail"}]


@pytest.fixture
def open_readers() -> Iterator[Callable[..., Both]]:
    made: list[Both] = []

    def make(url: str, **options: Any) -> Both:
        made.append(Both(url, **options))
        return made[-1]

    yield make
    for both in made:
        both.close()


def now_ms() -> int:
    return int(time.time() * 1_000)


def fill(server: OwnRedis, used: str = "4", on_unknown: str = "fail_closed", prefix: str = "usage:") -> None:
    """A counter under a hard cap of 10, all that a pipeline that moves leaves behind."""
    begin = now_ms() - DAY_MS
    fields = {"period_start": begin, "period_end": begin + 30 * DAY_MS, "n": 4, "total": used,
              "limit": "10", "mode": "hard", "on_unknown": on_unknown, "rule": "customer/c@0", "denied": 0,
              "remaining": "6", "projected_exhaustion_at": ""}  # fmt: skip
    server.client.hset(COUNTER.replace("usage:", prefix), mapping=fields)
    server.client.mset({f"{prefix}marker": "run", f"{prefix}heartbeat": now_ms()})


def port_of(server: OwnRedis) -> int:
    return int(server.url.rsplit(":", 1)[1].split("/")[0])


def test_a_check_is_one_round_trip_also_the_first_of_a_connection(
    own_redis: OwnRedis, open_readers: Callable[..., Both]
) -> None:
    fill(own_redis)
    own_redis.client.config_resetstat()
    with Relay(port_of(own_redis)) as relay:
        both = open_readers(relay.url)
        for ask in (both.sync.check, both.ask_async):
            for _ in range(3):
                assert ask(*ID).reason == "within_limit"
                assert relay.round_trips() == 1
    commands: Any = own_redis.client.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): figures["calls"] for name, figures in commands.items()}
    assert {name: calls[name] for name in READ} == dict.fromkeys(READ, 6)
    assert set(calls) <= {*READ, "info", "config|resetstat"}


def test_a_switch_of_versions_is_followed_there_and_back_with_one_round_trip_more(
    own_redis: OwnRedis, open_readers: Callable[..., Both]
) -> None:
    fill(own_redis, used="4")
    fill(own_redis, used="9", prefix="usage_r:")
    with Relay(port_of(own_redis)) as relay:
        both = open_readers(relay.url)

        def asked() -> list[tuple[Decimal | None, int]]:
            return [(ask(*ID).used, relay.round_trips()) for ask in (both.sync.check, both.ask_async)]

        assert asked() == [(4, 1)] * 2
        own_redis.client.set(SWITCH, json.dumps({"*": "usage_r:"}))
        assert asked() == [(9, 2)] * 2
        assert asked() == [(9, 1)] * 2
        own_redis.client.delete(SWITCH)
        assert asked() == [(4, 2)] * 2
        assert asked() == [(4, 1)] * 2


def test_a_switch_of_one_tenant_moves_its_counters_and_leaves_its_suspensions(
    own_redis: OwnRedis, open_readers: Callable[..., Both]
) -> None:
    fill(own_redis)
    default = {"limit": "1", "mode": "soft", "on_unknown": "fail_open", "rule": "tenant/@0"}
    own_redis.client.hset(DEFAULTS.replace("usage:", "usage_r:"), "m", json.dumps(default))
    own_redis.client.mset({"usage_r:marker": "run", SWITCH: json.dumps({"t": "usage_r:"})})
    both = open_readers(own_redis.url)
    # The other version has no heartbeat: nobody keeps it.
    assert both.check(*ID).reason == "stale"
    own_redis.client.set("usage_r:heartbeat", now_ms())
    assert both.check("t", "new", "m", 2).reason == "would_exceed_soft"
    assert both.check("u", "new", "m", 2).reason == "no_limit"
    own_redis.client.hset(SUSPENSION, mapping={"reason": "fraud", "by": "ops", "at": now_ms(), "until": ""})
    assert both.check(*ID).reason == "suspended"


@pytest.mark.parametrize("broken", ["{", "[]", '{"*": 5}', "usage_r:", None])
def test_a_switch_that_cannot_be_read_leaves_the_readers_where_they_were_configured(
    own_redis: OwnRedis, open_readers: Callable[..., Both], broken: str | None
) -> None:
    fill(own_redis, used="4")
    fill(own_redis, used="9", prefix="usage_r:")
    if broken is None:
        own_redis.client.hset(SWITCH, "*", "usage_r:")
    else:
        own_redis.client.set(SWITCH, broken)
    assert open_readers(own_redis.url).check(*ID).used == 4


def test_both_readers_answer_alike(own_redis: OwnRedis, open_readers: Callable[..., Both]) -> None:
    fill(own_redis)
    default = {"limit": "1", "mode": "soft", "on_unknown": "fail_open", "rule": "tenant/@0"}
    own_redis.client.hset(DEFAULTS, "m", json.dumps(default))
    both = open_readers(own_redis.url)
    assert both.check(*ID, 6).reason == "within_limit"
    assert both.check(*ID, "6.000000001").reason == "would_exceed"
    assert both.check("t", "new", "m", 2).reason == "would_exceed_soft"
    assert both.check("u", "new", "m").reason == "no_limit"
    own_redis.client.hset(SUSPENSION, mapping={"reason": "fraud", "by": "ops", "at": now_ms(), "until": ""})
    assert both.check(*ID, 0).detail == "ops: fraud"


def test_a_total_that_the_pipeline_published_is_read(own_redis: OwnRedis, open_readers: Callable[..., Both]) -> None:
    begin, end = now_ms() - DAY_MS, now_ms() + DAY_MS
    limit = Limit("t", "customer", "c/1", "m", Decimal(4), "hard", on_unknown="fail_closed")

    def publish(n: int, total: str, limit_status: str | None, revision: int) -> None:
        row = counters.LiveTotal(*ID, begin, end, n, n, total, limit_status=limit_status, revision=revision)
        pipeline = own_redis.client.pipeline(transaction=False)
        counters.queue(pipeline, "usage:", [row], now_ms=now_ms(), grace_ms=0, strict=False)
        pipeline.execute()

    own_redis.client.set("usage:heartbeat", now_ms())
    both = open_readers(own_redis.url)
    publish(1, "3.5", counters.limit_status_of(limit, Decimal("3.5"), (begin, end), now_ms()), 1)
    decision = both.check(*ID, "0.5")
    assert (decision.used, decision.remaining, decision.reason) == (Decimal("3.5"), Decimal("0.5"), "within_limit")
    assert (decision.rule, decision.mode) == (limit.version, "hard")
    # The writer has lost sight of the limits for a while: the total moves on under the last ones.
    publish(2, "4.5", None, counters.UNKNOWN_REVISION)
    assert both.check(*ID).reason == "limit_reached"
    publish(3, "5.5", "", 2)
    assert both.check(*ID).reason == "no_limit"


@pytest.mark.parametrize("on_unknown", ["fail_open", "fail_closed"])
def test_a_killed_redis_is_answered_by_the_policy_it_last_declared_until_it_is_back(
    own_redis: OwnRedis, open_readers: Callable[..., Both], on_unknown: str
) -> None:
    # Against the policy of the reader, so that the one of the counter shows.
    other = "fail_closed" if on_unknown == "fail_open" else "fail_open"
    both = open_readers(own_redis.url, on_unknown=other)
    fill(own_redis, on_unknown=on_unknown)
    assert both.check(*ID).known
    own_redis.kill()
    for _ in range(2):
        decision = both.check(*ID)
        assert (decision.reason, decision.allowed) == ("redis_unreachable", on_unknown == "fail_open")
    assert both.check("t", "never seen", "m").allowed == (other == "fail_open")
    # It comes back empty: no heartbeat, no marker, no counter.
    own_redis.start()
    decision = both.check(*ID)
    assert (decision.reason, decision.allowed) == ("not_rebuilt", on_unknown == "fail_open")
    fill(own_redis)
    assert both.check(*ID).reason == "within_limit"


def test_a_frozen_redis_costs_one_time_out_and_its_late_answers_go_to_nobody(
    own_redis: OwnRedis, open_readers: Callable[..., Both]
) -> None:
    fill(own_redis)
    own_redis.client.hset("usage:{t/c%2F1}:other", mapping={"total": "77", "revision": "1"})
    both = open_readers(own_redis.url, timeout_s=SHORT_S, max_age_s=None)
    wait_until(both.reach, 20, "a first answer in time")
    own_redis.freeze()
    for _ in range(2):
        decision = both.check(*ID)
        assert (decision.reason, decision.allowed) == ("redis_unreachable", False)
    own_redis.thaw()
    other = ("t", "c/1", "other")
    wait_until(lambda: both.reach(*other), 20, "an answer after the thaw")
    assert both.answers == [77, 77]


def test_answers_that_come_too_late_are_answered_by_the_policy(
    own_redis: OwnRedis, open_readers: Callable[..., Both]
) -> None:
    fill(own_redis)
    with Relay(port_of(own_redis)) as relay:
        both = open_readers(relay.url, timeout_s=SHORT_S)
        wait_until(both.reach, 20, "a first answer in time")
        relay.hold()
        assert both.check(*ID).reason == "redis_unreachable"
        relay.release()
        wait_until(both.reach, 20, "an answer in time again")


def test_a_flushed_redis_is_unknown_not_unused(own_redis: OwnRedis, open_readers: Callable[..., Both]) -> None:
    fill(own_redis, used="10")
    both = open_readers(own_redis.url)
    assert both.check(*ID).reason == "limit_reached"
    own_redis.client.flushall()
    own_redis.client.set("usage:heartbeat", now_ms())
    decision = both.check(*ID)
    assert (decision.reason, decision.allowed, decision.used) == ("not_rebuilt", False, None)
    own_redis.client.set("usage:marker", "run")
    assert both.check(*ID).reason == "no_limit"


def test_a_full_redis_is_read_until_its_counters_are_stale(
    own_redis: OwnRedis, open_readers: Callable[..., Both]
) -> None:
    fill(own_redis)
    own_redis.client.config_set("maxmemory", "1")
    with pytest.raises(redis.OutOfMemoryError):
        own_redis.client.set("usage:heartbeat", now_ms())
    assert open_readers(own_redis.url).check(*ID).known
    later = open_readers(own_redis.url, wall_clock=lambda: time.time() + 61)
    decision = later.check(*ID)
    assert (decision.reason, decision.allowed, decision.used) == ("stale", False, 4)


@pytest.mark.parametrize("broken", [COUNTER, SUSPENSION, DEFAULTS])
def test_a_key_of_another_type_is_answered_by_the_policy(
    own_redis: OwnRedis, open_readers: Callable[..., Both], broken: str
) -> None:
    fill(own_redis)
    own_redis.client.delete(broken)
    own_redis.client.set(broken, "text")
    decision = open_readers(own_redis.url).check(*ID)
    assert (decision.reason, decision.allowed) == ("redis_error", False)
    assert "WRONGTYPE" in decision.detail


def test_a_redis_that_answers_with_errors_is_answered_by_the_policy(
    own_redis: OwnRedis, open_readers: Callable[..., Both]
) -> None:
    fill(own_redis)
    # A replica without a master refuses reads, as one that is loading does.
    own_redis.client.config_set("replica-serve-stale-data", "no")
    own_redis.client.replicaof("127.0.0.1", "1")
    decision = open_readers(own_redis.url).check(*ID)
    assert (decision.reason, decision.allowed) == ("redis_error", False)
    assert "MASTERDOWN" in decision.detail


def test_a_user_with_the_documented_rights_can_check_and_no_password_is_an_error(
    own_redis: OwnRedis, open_readers: Callable[..., Both]
) -> None:
    fill(own_redis)
    rights = re.search(r"no more than `([^`]+)`", DOCS.read_text())
    assert rights
    own_redis.client.execute_command("ACL", "SETUSER", "shop", "on", ">word", *rights[1].split())
    own_redis.client.config_set("requirepass", "secret")
    allowed = open_readers(own_redis.url.replace("//", "//shop:word@"))
    assert allowed.check(*ID).used == 4
    fill(own_redis, used="9", prefix="usage_r:")
    own_redis.client.set(SWITCH, json.dumps({"*": "usage_r:"}))
    assert allowed.check(*ID).used == 9
    decision = open_readers(own_redis.url).check(*ID)
    assert decision.reason == "redis_error"
    assert "Authentication required" in decision.detail


def test_clients_of_the_caller_are_used_and_left_open(own_redis: OwnRedis) -> None:
    fill(own_redis)
    # Undecoded answers, as redis-py gives them by itself.
    client = redis.Redis.from_url(own_redis.url, socket_timeout=PATIENT_S)
    with LimitReader(client) as reader:
        assert reader.check(*ID).used == 4
    assert client.ping()
    client.close()

    async def ask() -> bool:
        async with redis.asyncio.Redis.from_url(own_redis.url) as shared:
            async with AsyncLimitReader(shared, timeout_s=PATIENT_S) as other:
                assert (await other.check(*ID)).used == 4
            return bool(await shared.ping())

    assert asyncio.run(ask())


def test_many_tasks_and_a_cancelled_one_share_a_reader(own_redis: OwnRedis) -> None:
    fill(own_redis)
    own_redis.client.hset("usage:{t/c%2F1}:other", mapping={"total": "77", "revision": "1"})

    async def ask() -> list[Decimal | None]:
        async with AsyncLimitReader(own_redis.url, timeout_s=PATIENT_S) as reader:
            tasks = [asyncio.create_task(reader.check("t", "c/1", ("m", "other")[index % 2])) for index in range(60)]
            await asyncio.sleep(0)
            for task in tasks[::3]:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(one, asyncio.CancelledError) for one in done[::3])
            return [(await reader.check("t", "c/1", meter)).used for meter in ("m", "other", "m")]

    assert asyncio.run(ask()) == [4, 77, 4]


def test_the_example_of_the_documentation_runs(own_redis: OwnRedis) -> None:
    fill(own_redis)
    code = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert code
    names: dict[str, Any] = {}
    exec(code[1].replace("redis://127.0.0.1:6379/0", own_redis.url).replace('"storage"', '"m"'), names)  # noqa: S102
    names["limits"]._client.connection_pool.connection_kwargs.update(socket_timeout=PATIENT_S)
    assert names["upload"](ID[0], ID[1], "6") == "200"
    assert names["upload"](ID[0], ID[1], "7").startswith("402 would_exceed: 4 of 10 used until 20")
    names["limits"].close()
