"""Reservations on a real Redis: never more than fits, whoever asks at once, with the rights that are documented."""

from __future__ import annotations

import asyncio
import re
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import NoPermissionError

from tests.integration.sdk.test_reader import ID, PATIENT_S, fill
from tests.integration.storage import OwnRedis
from tidemark_client import AsyncLimitReader, LimitReader, Reservation
from tidemark_client.keys import reservations_key

DOCS = Path(__file__).parents[3] / "docs" / "reader.md"
KEY = reservations_key("usage:", "t", "c/1", "m")


@pytest.fixture
def reader(own_redis: OwnRedis) -> Any:
    # 4 of 10 are used.
    fill(own_redis)
    with LimitReader(own_redis.url, on_unknown="fail_closed", timeout_s=PATIENT_S) as made:
        yield made


def test_what_is_reserved_counts_until_it_is_settled_released_or_over(reader: LimitReader, own_redis: OwnRedis) -> None:
    first = reader.reserve(*ID, 4)
    assert (first.decision.reason, first.decision.remaining) == ("within_limit", 6)
    second = reader.reserve(*ID, 3)
    assert (second.decision.reason, second.reserved, second.decision.remaining) == ("would_exceed", 4, 2)
    # It took less: the rest is free at once, what was used stays until its event is counted.
    assert reader.settle(first, "1.5")
    third = reader.reserve(*ID, 4)
    assert (bool(third), third.reserved) == (True, Decimal("1.5"))
    assert reader.release(third)
    assert reader.reserve(*ID, "4.5")
    # A denied one leaves nothing behind.
    assert len(own_redis.client.xrange(KEY)) == 2
    assert 0 < own_redis.client.pttl(KEY) <= 3_600_000
    assert reader.check(*ID).used == 4


def test_a_reservation_that_nobody_settles_ends(reader: LimitReader, own_redis: OwnRedis) -> None:
    assert reader.reserve(*ID, 6, holds_s=0.001)
    late = reader.reserve(*ID, 6)
    while not late:
        late = reader.reserve(*ID, 6)
    assert len(late.expired) == 1
    assert reader.settle(late, 7)
    assert [fields["amount"] for _, fields in own_redis.client.xrange(KEY)] == ["7"]


def test_many_at_once_get_what_fits_and_not_one_more(reader: LimitReader, own_redis: OwnRedis) -> None:
    made: list[Reservation] = []

    def ask() -> None:
        for _ in range(5):
            made.append(reader.reserve(*ID, "0.5"))
            if made[-1]:
                reader.settle(made[-1], "0.5", counted_within_s=60)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 40
    assert sum(map(bool, made)) <= 12
    # One alone, after those that were denied have gone: the room is used up or it is given.
    while reader.reserve(*ID, "0.5"):
        pass
    assert sum(Decimal(fields["amount"]) for _, fields in own_redis.client.xrange(KEY)) == 6


def test_tasks_reserve_as_threads_do(reader: LimitReader, own_redis: OwnRedis) -> None:
    async def ask() -> list[Any]:
        async with AsyncLimitReader(own_redis.url, timeout_s=PATIENT_S) as other:
            first = await other.reserve(*ID, 6)
            second = await other.reserve(*ID, 1)
            return [bool(first), bool(second), await other.settle(first, 2), bool(await other.reserve(*ID, 4))]

    assert asyncio.run(ask()) == [True, False, True, True]
    assert reader.reserve(*ID, 1).decision.reason == "would_exceed"


def test_without_redis_the_policy_answers_and_nothing_is_reserved(own_redis: OwnRedis) -> None:
    own_redis.kill()
    with LimitReader(own_redis.url, on_unknown="fail_open", timeout_s=PATIENT_S) as reader:
        found = reader.reserve(*ID, 6)
        assert (bool(found), found.id, found.decision.reason) == (True, "", "redis_unreachable")
        assert not reader.settle(found, 5)


@pytest.mark.usefixtures("reader")
def test_the_documented_rights_are_enough_and_no_more(own_redis: OwnRedis) -> None:
    rights = re.search(r"reserves needs `(.+?)` too", DOCS.read_text())
    base = re.search(r"no more than `(.+?)`;", DOCS.read_text())
    assert rights
    assert base
    own_redis.client.execute_command("ACL", "SETUSER", "svc", "on", ">pw", *base[1].split(), rights[1])
    url = own_redis.url.replace("redis://", "redis://svc:pw@")
    with LimitReader(url, on_unknown="fail_closed", timeout_s=PATIENT_S) as service:
        first = service.reserve(*ID, 5)
        assert (first.decision.reason, bool(service.settle(first, 1))) == ("within_limit", True)
    client = redis.Redis.from_url(url)
    for command in (("HSET", "usage:{t/c%2F1}:m", "total", "0"), ("XADD", "usage:{t/c%2F1}:m", "*", "a", "b"),
                    ("PEXPIRE", "usage:{t/c%2F1}:m", "1"), ("DEL", KEY)):  # fmt: skip
        with pytest.raises(NoPermissionError):
            client.execute_command(*command)
    client.close()


@pytest.mark.usefixtures("reader")
def test_the_example_of_the_documentation_runs(own_redis: OwnRedis) -> None:
    _, code = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace("redis://127.0.0.1:6379/0", own_redis.url).replace('"tokens"', '"m"'), names)  # noqa: S102
    names["limits"]._client.connection_pool.connection_kwargs.update(socket_timeout=PATIENT_S)
    complete = names["complete"]
    assert complete(*ID[:2], 7, lambda: 7) == "402 would_exceed"
    with pytest.raises(ZeroDivisionError):
        complete(*ID[:2], 6, lambda: 1 // 0)
    assert complete(*ID[:2], 6, lambda: 5) == "200"
    assert complete(*ID[:2], 2, lambda: 2) == "402 would_exceed"
    names["limits"].close()
