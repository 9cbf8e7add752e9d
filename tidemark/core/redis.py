"""Redis for everything beside the jobs: a client with a bound on every wait, errors in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import redis
import redis.asyncio

from tidemark.core.errors import UnavailableError
from tidemark.core.settings import RedisSettings
from tidemark_client.tls import tls_of
from udfs.live import counters
from udfs.postgres import first_line

TIMEOUT_S = 5.0
_REMOVE_TIMEOUT_S = 10.0
_KEYS_AT_ONCE = 1_000


def client(server: RedisSettings, *, timeout_s: float = TIMEOUT_S) -> redis.Redis:
    """Client that connects when it is used first; no call waits longer than `timeout_s`."""
    return counters.client(server.url, server.secret, timeout_s=timeout_s)


def async_client(server: RedisSettings, *, timeout_s: float) -> redis.asyncio.Redis:
    """As `client`, for the event loop that uses it first."""
    made: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
        server.url, password=server.secret, socket_connect_timeout=timeout_s, socket_timeout=timeout_s,
        retry_on_timeout=False, decode_responses=True, **tls_of(server.url),
    )  # fmt: skip
    return made


def remove(server: RedisSettings, pattern: str, but: str = "") -> int:
    """Remove the keys that match a pattern, but for those that hold a text; how many. Raises UnavailableError."""
    count = 0
    with translated(server), client(server, timeout_s=_REMOVE_TIMEOUT_S) as connected:
        found = connected.scan_iter(match=pattern, count=_KEYS_AT_ONCE)
        keys = (key for key in found if not but or but not in key)
        while batch := list(islice(keys, _KEYS_AT_ONCE)):
            count += int(connected.unlink(*batch))
    return count


@contextmanager
def translated(server: RedisSettings, connected: redis.Redis | None = None) -> Iterator[None]:
    """Raise what Redis' client raises as an UnavailableError; `connected` then connects anew when it is used next."""
    try:
        yield
    except (redis.RedisError, OSError) as error:
        if connected is not None:
            connected.connection_pool.disconnect()
        raise unavailable(server, error) from error


def unavailable(server: RedisSettings, error: BaseException) -> UnavailableError:
    """What a person can do about an error of Redis' client."""
    return UnavailableError(
        f"Redis at {server.url} cannot be used: {first_line(error)}",
        "start it (`tidemark up`) or correct redis.url and redis.password_file.",
    )
