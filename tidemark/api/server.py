"""The service of the role `api`: an HTTP server in a thread of its own, which drains before it ends."""

from __future__ import annotations

from tidemark.api.answer_cache import AnswerCache
from tidemark.api.app import build
from tidemark.api.connections import Connections
from tidemark.api.context import Context, Counts
from tidemark.api.http_thread import HttpThread, bound
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
# Less than a stop may take.
CHECK_TIMEOUT_S = 3.0
# Of the 8 s of a stop, after requests that are being answered: what the brokers have not acknowledged.
FLUSH_S = 2.0


class Server:
    """Answers until it is closed; raises UnavailableError where its address is taken or Kafka does not answer."""

    def __init__(self, settings: Settings, address: tuple[str, int], counts: Counts) -> None:
        taken = bound(address, "api.listen")
        try:
            self._context = _context(settings, counts)
        except BaseException:
            taken.close()
            raise
        self._http = HttpThread("api", build(self._context), taken, self._end)
        log("listening", address=self._http.address)

    def step(self) -> Counts:
        """What was counted so far.

        Raises
        ------
        RuntimeError
            It answers no more, so that it is made again.
        UnavailableError
            Kafka does not answer, so that events are refused; it goes on answering. While Postgres is down it is ready:
            it takes events of keys that it knows.
        """
        self._http.check()
        self._context.producer.check()
        self._context.keys.write_used()
        self._context.producer.require_topic(CHECK_TIMEOUT_S)
        self._context.counts.pending = self._context.producer.pending
        return self._context.counts

    def close(self) -> None:
        """Take no more requests, answer those that are here, and wait until the brokers have their events."""
        self._context.counts.stopping = True
        self._http.stop()
        left = self._context.producer.close(FLUSH_S)
        self._context.close()
        log("drained", level="warning" if left else "info", unacknowledged=left)

    async def _end(self) -> None:
        await self._context.rates.close()
        await self._context.limits.aclose()


def service(settings: Settings) -> Service[Server, Counts]:
    """Answers at `api.listen`, which is set; figures go on over restarts of the server."""
    address, counts = settings.api.address, Counts()
    assert address is not None  # noqa: S101  the role is not configured without
    return Service("api", CHECK_S, lambda: Server(settings, address, counts), Server.step, log)


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
        settings=settings, keys=KeyRing(settings.postgres.ops, api.key_cache_s), rates=RateLimit(settings),
        producer=producer, reads=Connections(settings), limits=limits_of(settings),
        answers=AnswerCache(settings, counts.answers), counts=counts,
    )  # fmt: skip


def limits_of(settings: Settings) -> AsyncLimitReader:
    """Checks limits in Redis, for one event loop."""
    wait_s = settings.redis.timeout_ms / 1_000
    return AsyncLimitReader(
        async_client(settings.redis, timeout_s=wait_s), settings.names.redis_prefix, timeout_s=2 * wait_s
    )
