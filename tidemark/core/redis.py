"""Redis for everything beside the jobs: a client with a bound on every wait, errors in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis
import redis.asyncio

from tidemark.core.errors import UnavailableError
from tidemark.core.settings import RedisSettings
from tidemark_client.tls import tls_of
from udfs.live import counters
from udfs.postgres import first_line

TIMEOUT_S = 5.0


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
