"""The service of the role `api`: an HTTP server in a thread of its own, which drains before it ends."""

from __future__ import annotations

import asyncio
import socket
import threading

import uvicorn

from tidemark.api.app import build
from tidemark.api.connections import Connections
from tidemark.api.context import Context, Counts
from tidemark.api.key_ring import KeyRing
from tidemark.api.rate import RateLimit
from tidemark.core.errors import UnavailableError
from tidemark.core.kafka.rdkafka import AckProducer
from tidemark.core.redis import async_client
from tidemark.core.service import Service, logger
from tidemark.core.settings import Settings
from tidemark_client import AsyncLimitReader

log = logger("api")

CHECK_S = 5.0
# Of the 8 s of a stop: requests that are being answered, then what the brokers have not acknowledged.
DRAIN_S = 4
FLUSH_S = 2.0
_BACKLOG = 2_048


class Server:
    """Answers until it is closed; raises UnavailableError where its address is taken or Kafka does not answer."""

    def __init__(self, settings: Settings, address: tuple[str, int], counts: Counts) -> None:
        self._socket = _bound(address)
        try:
            self._context = _context(settings, counts)
        except BaseException:
            self._socket.close()
            raise
        config = uvicorn.Config(
            build(self._context), log_config=None, access_log=False, lifespan="off", server_header=False,
            timeout_graceful_shutdown=DRAIN_S, timeout_keep_alive=75, backlog=_BACKLOG,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="api", daemon=True)
        self._thread.start()
        log("listening", address=self.address)

    @property
    def address(self) -> str:
        """host:port, with the port that was chosen."""
        host, port = self._socket.getsockname()[:2]
        return f"{host!s}:{port}"

    def step(self) -> Counts:
        """What was counted so far; raises RuntimeError when it answers no more, so that it is made again."""
        if not self._thread.is_alive():
            raise RuntimeError(f"the thread that answers at {self.address} has ended")
        self._context.producer.check()
        self._context.keys.write_used()
        self._context.counts.pending = self._context.producer.pending
        return self._context.counts

    def close(self) -> None:
        """Take no more requests, answer those that are here, and wait until the brokers have their events."""
        self._context.counts.stopping = self._server.should_exit = True
        self._thread.join(DRAIN_S + 1)
        left = self._context.producer.close(FLUSH_S)
        self._context.keys.close()
        self._context.reads.close()
        self._socket.close()
        log("drained", level="warning" if left else "info", unacknowledged=left)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            await self._context.rates.close()
            await self._context.limits.aclose()


def service(settings: Settings) -> Service[Server, Counts]:
    """Answers at `api.listen`, which is set; figures go on over restarts of the server."""
    address, counts = settings.api.address, Counts()
    assert address is not None  # noqa: S101  the role is not configured without
    return Service("api", CHECK_S, lambda: Server(settings, address, counts), Server.step, log)


def _bound(address: tuple[str, int]) -> socket.socket:
    try:
        return socket.create_server(address, family=socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    except OSError as error:
        host, port = address
        raise UnavailableError(
            f"{host}:{port} cannot be listened on: {error.strerror or error}.",
            "set api.listen to another address, or to port 0.",
        ) from error


def _context(settings: Settings, counts: Counts) -> Context:
    api = settings.api
    producer = AckProducer(settings.kafka, settings.topics.events, api.queue_events, api.ack_timeout_ms)
    try:
        producer.require_topic()
    except UnavailableError:
        producer.close(0)
        raise
    counts.stopping = False
    return Context(
        settings, KeyRing(settings.postgres.ops, api.key_cache_s), RateLimit(settings), producer, Connections(settings),
        _limits(settings), counts,
    )  # fmt: skip


def _limits(settings: Settings) -> AsyncLimitReader:
    wait_s = settings.redis.timeout_ms / 1_000
    return AsyncLimitReader(
        async_client(settings.redis, timeout_s=wait_s), settings.names.redis_prefix, timeout_s=2 * wait_s
    )
