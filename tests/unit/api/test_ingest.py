"""A queue that is full and brokers that do not answer are said as 503, and what was refused can be sent again."""

from __future__ import annotations

import asyncio
import json
import time

import httpx

from tidemark.api.answer_cache import AnswerCache
from tidemark.api.app import build
from tidemark.api.connections import Connections
from tidemark.api.context import Context, Counts
from tidemark.api.key_ring import KeyRing
from tidemark.api.keys import StoredKey, new_key
from tidemark.api.rate import RateLimit
from tidemark.api.server import limits_of
from tidemark.core.kafka.rdkafka import AckProducer
from tidemark.core.settings import Settings

# Nobody listens there.
NOBODY = {"redis.url": "redis://127.0.0.1:1/0", "kafka.bootstrap": "127.0.0.1:1", "api.tenant_burst_events": 10_000}


def batch(count: int) -> bytes:
    event = {"customer_id": "c", "event_type": "t", "timestamp": "2024-03-01T12:00:00Z"}
    return json.dumps([{"event_id": f"e-{place}", **event} for place in range(count)]).encode()


def app_of(settings: Settings, counts: Counts) -> tuple[Context, str]:
    """A context whose one key is known, and whose brokers, tables and Redis are away; and the key."""
    made, keys = new_key(), KeyRing(settings.postgres, 60)
    stored = StoredKey(made.key_id, "acme", "", frozenset({"ingest"}), made.secret_hash)
    keys._entries[made.key_id] = stored, time.monotonic()
    producer = AckProducer(settings.kafka, "events", settings.api.queue_events, settings.api.ack_timeout_ms)
    context = Context(
        settings=settings, keys=keys, reads=Connections(settings), limits=limits_of(settings), counts=counts,
        answers=AnswerCache(settings, counts.answers), rates=RateLimit(settings), producer=producer,
    )  # fmt: skip
    return context, made.text


async def refusals(context: Context, key: str) -> list[httpx.Response]:
    """What a request gets while another one fills the queue, and what that one gets."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    transport = httpx.ASGITransport(build(context))
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as sender:
        filling = asyncio.create_task(sender.post("/v1/events", content=batch(1_000)))
        while not context.producer.pending:  # noqa: ASYNC110  counted by a thread of librdkafka's callbacks
            await asyncio.sleep(0.001)
        return [await sender.post("/v1/events", content=batch(1)), await filling]


def test_what_finds_no_room_is_refused_at_once_and_what_is_not_acknowledged_when_time_is_up():
    counts = Counts()
    settings = Settings().with_changes({**NOBODY, "api.queue_events": 1_000, "api.ack_timeout_ms": 300})
    context, key = app_of(settings, counts)
    full, late = asyncio.run(refusals(context, key))
    assert context.producer.close(1) == 0
    assert (full.status_code, full.json()["code"], full.headers["retry-after"]) == (503, "queue_full", "1")
    assert (late.status_code, late.json()["code"], late.headers["retry-after"]) == (503, "not_acknowledged", "1")
    assert counts.events == {"rejected": 0, "refused": 1, "unacknowledged": 1_000}
