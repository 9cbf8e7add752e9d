"""`POST /v1/events`: what is acknowledged here was acknowledged by the brokers."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response

from tidemark.api.access import authorized
from tidemark.api.admission import Admitted, Record, admit
from tidemark.api.answers import answer
from tidemark.api.body import Inflater, events_of
from tidemark.api.context import Context, context_of
from tidemark.api.enrichment import additions
from tidemark.api.keys import StoredKey
from tidemark.api.problem import Problem
from tidemark.core.kafka.rdkafka import FullError
from tidemark.core.service import logger

log = logger("api")

# A body that takes longer is given up: whoever sends it holds memory.
BODY_S = 30.0
# The producer gives up first; this is for one that does not.
_MARGIN_S = 2.0
_RETRY_S = 1


async def post_events(request: Request) -> Response:
    """Send events: one, an array, NDJSON, or CloudEvents. Sending the same events again never counts them twice.

    An answer of 202 means that the brokers have every event with the status `accepted`. The others have a reason and
    were not kept. After 429, 503 or no answer at all, send the same bytes again.
    """
    key = await authorized(request, "ingest")
    admitted = await taken(request, key)
    if not admitted.records:
        raise _all_rejected(admitted)
    return answer(admitted.document(), status=202)


async def taken(request: Request, key: StoredKey) -> Admitted:
    """The events of a request, of which those that are accepted are acknowledged; raises Problem."""
    context = context_of(request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    events = events_of(headers, await read_body(request))
    await context.rates.take(key.tenant, len(events))
    tolerance_ms = context.settings.events.future_tolerance_s * 1_000
    added = additions(context.settings.api.enrich, headers, key)
    admitted = admit(events, key.tenant, time.time_ns() // 1_000_000, tolerance_ms, added)
    context.counts.events["rejected"] += admitted.rejected
    if admitted.records:
        await _acknowledged(context, list(admitted.records))
    return admitted


async def read_body(request: Request) -> bytes:
    """The body, decompressed; raises Problem where it is too large or takes too long."""
    inflater = Inflater(request.headers.get("content-encoding", ""))
    try:
        async with asyncio.timeout(BODY_S):
            async for piece in request.stream():
                inflater.feed(piece)
    except TimeoutError:
        raise Problem(408, "body_timeout", f"the body did not arrive within {BODY_S:.0f} s.") from None
    return inflater.body()


async def _acknowledged(context: Context, records: list[Record]) -> None:
    """Wait until the brokers have the records; raises Problem when they are too many, or it takes too long."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[str] = loop.create_future()

    def finish(failure: str) -> None:
        if not done.done():
            done.set_result(failure)

    def on_done(failure: str) -> None:
        # After a stop nobody waits any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(finish, failure)

    try:
        context.producer.send(records, len(records), on_done)
    except FullError as error:
        context.counts.events["refused"] += len(records)
        detail = f"{error.what} Send the request again, as it is."
        raise Problem(503, "queue_full", detail, retry_after_s=_RETRY_S) from None
    failure = await _wait(done, context.settings.api.ack_timeout_ms / 1_000 + _MARGIN_S)
    if failure:
        context.counts.events["unacknowledged"] += len(records)
        log("not acknowledged", level="warning", events=len(records), error=failure)
        detail = "the brokers did not acknowledge all events; send the request again, as it is."
        raise Problem(503, "not_acknowledged", detail, retry_after_s=_RETRY_S)
    context.counts.events["accepted"] += len(records)


async def _wait(done: asyncio.Future[str], within_s: float) -> str:
    try:
        return await asyncio.wait_for(done, within_s)
    except TimeoutError:
        return f"no answer within {within_s:g} s"


def _all_rejected(admitted: Admitted) -> Problem:
    status = 400 if admitted.is_unreadable else 422
    detail = f"all {admitted.rejected} events are rejected; correct them, each by its reason. Nothing was kept."
    return Problem(status, "all_events_rejected", detail, more=admitted.document())
