"""Users of Redis on the real server: each does what it is for on the keys of Tidemark, and no more; and TLS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import redis

from infra.redis_users import rules
from infra.service_settings import REDIS_READER
from tests.integration.storage import own_run, reader_url
from tidemark.core.redis import client
from tidemark.core.settings import Settings
from tidemark_client.keys import counter_key, heartbeat_key, limits_key, suspension_key

Refused = redis.exceptions.NoPermissionError
METER, SERVICES = "tidemark_meter", "tidemark_services"


@pytest.fixture(scope="module")
def run(stack: Any) -> Iterator[Settings]:
    with own_run(stack.settings) as settings:
        yield settings


def connected(stack: Any, user: str) -> redis.Redis:
    port = int(stack.settings.redis.url.rpartition(":")[2].partition("/")[0])
    password = stack.local.paths.redis_password(user).read_text().strip()
    return redis.Redis(port=port, username=user, password=password, decode_responses=True)


@pytest.mark.parametrize("given", [{}, {"username": SERVICES, "password": "wrong"}, {"username": METER}])
def test_nobody_comes_in_without_name_and_password(stack: Any, given: dict[str, str]) -> None:
    port = int(stack.settings.redis.url.rpartition(":")[2].partition("/")[0])
    with (
        redis.Redis(port=port, **given) as somebody,
        pytest.raises((redis.AuthenticationError, redis.exceptions.NoPermissionError)),
    ):
        somebody.get("usage:marker")


def test_the_settings_of_the_stack_reach_redis_as_services_and_workers(stack: Any) -> None:
    with closing(client(stack.settings.redis)) as services:
        assert services.ping()
    url, file = stack.settings.redis.of_meter
    assert f"//{METER}@" in url
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("user", sorted(rules().keys() - {"default", "admin"}))
def test_a_user_has_the_keys_of_tidemark_alone(stack: Any, user: str) -> None:
    with connected(stack, user) as server:
        for prefix in ("usage:", "usage_trial:"):
            assert server.hmget(counter_key(prefix, "t", "nobody", "calls"), ["n"]) == [None]
        for key in ("other", "usag", "sessions:1", "usage"):
            with pytest.raises(Refused):
                server.hmget(key, ["n"])


def test_workers_write_counters_and_the_heartbeat_and_delete_nothing(stack: Any, run: Settings) -> None:
    prefix = run.names.redis_prefix
    with connected(stack, METER) as server:
        server.set(heartbeat_key(prefix), 1)
        server.hset(counter_key(prefix, "t", "c", "m"), "n", "1")
        for command in (
            ["DEL", heartbeat_key(prefix)], ["SCAN", "0"], ["CONFIG", "GET", "*"], ["FLUSHALL"], ["KEYS", "*"],
            ["ACL", "LIST"], ["CLIENT", "LIST"], ["EVAL", "return 1", "0"], ["INFO"],
        ):  # fmt: skip
            with pytest.raises(Refused):
                server.execute_command(*command)
    with connected(stack, SERVICES) as server:
        assert server.unlink(heartbeat_key(prefix), counter_key(prefix, "t", "c", "m")) == 2


@pytest.mark.parametrize(
    "command",
    [["FLUSHALL"], ["FLUSHDB"], ["CONFIG", "SET", "maxmemory", "1"], ["KEYS", "*"], ["ACL", "LIST"], ["SHUTDOWN"],
     ["MONITOR"], ["REPLICAOF", "h", "1"], ["CLIENT", "KILL", "ID", "1"]],
)  # fmt: skip
def test_services_administer_nothing(stack: Any, command: list[str]) -> None:
    with connected(stack, SERVICES) as server, pytest.raises(Refused):
        server.execute_command(*command)


def test_a_service_that_asks_for_limits_reads_and_writes_nothing(run: Settings) -> None:
    prefix = run.names.redis_prefix
    with redis.Redis.from_url(reader_url(run), decode_responses=True) as reader:
        assert reader.get(heartbeat_key(prefix)) is None
        for write in (
            ["SET", heartbeat_key(prefix), "9"], ["HSET", counter_key(prefix, "t", "c", "m"), "n", "9"],
            ["DEL", limits_key(prefix, "t")], ["HDEL", suspension_key(prefix, "t", "c"), "reason"],
            ["PEXPIRE", heartbeat_key(prefix), "1"], ["SCAN", "0"], ["SCRIPT", "LOAD", "return 1"],
        ):  # fmt: skip
            with pytest.raises(Refused):
                reader.execute_command(*write)


def test_a_reader_of_one_tenant_sees_no_other(stack: Any, run: Settings) -> None:
    """The rights that docs/security.md gives for a service of one tenant."""
    name, prefix = f"reader-{run.run_id}", run.names.redis_prefix
    keys = [f"%R~{prefix}{key}" for key in ("{t}::limits", "{t/*", "marker", "heartbeat", "switch")]
    with connected(stack, "admin") as admin:
        admin.execute_command("ACL", "SETUSER", name, "on", ">secret", *keys, *rules()[REDIS_READER].split()[3:])
        try:
            port = admin.get_connection_kwargs()["port"]
            with redis.Redis(port=port, username=name, password="secret", decode_responses=True) as own:  # noqa: S106
                assert own.hgetall(counter_key(prefix, "t", "c", "m")) == {}
                assert own.hgetall(suspension_key(prefix, "t", "c")) == {}
                # A tenant whose id begins alike, and one that tries to look so: ids are encoded.
                for tenant in ("t2", "u", "t/x", "t}", "*"):
                    with pytest.raises(Refused):
                        own.hgetall(counter_key(prefix, tenant, "c", "m"))
                    with pytest.raises(Refused):
                        own.hgetall(limits_key(prefix, tenant))
        finally:
            admin.execute_command("ACL", "DELUSER", name)
