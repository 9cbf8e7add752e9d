"""What is used now: the running period with its limit and projection, checks of limits, and a stream of both."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tidemark.api.access import authorized
from tidemark.api.alert_cursor import PAGE, AlertCursor, Received
from tidemark.api.answers import answer
from tidemark.api.context import ReadContext, read_context_of
from tidemark.api.keys import StoredKey
from tidemark.api.problem import Problem
from tidemark.api.projection import projected
from tidemark.api.reading import Asked, read, read_as, shown, versioned
from tidemark.api.reads import Customer, Meter, SomeMeter
from tidemark.api.usage_query import invalid
from tidemark.api.usage_rows import meters
from tidemark.core.service import logger
from tidemark.live.usage import UsageQuery, usage
from tidemark_client.decision import Decision
from udfs.values import EPOCH

log = logger("api")

EVERY_S = 1.0
# Between two of these a proxy takes a connection for idle.
KEEP_ALIVE_S = 15.0
MOST_STREAMS = 200
_ALERTS_EVERY_S = 2.0
_ALERTS = """
SELECT received_at, alert_id, source, event
FROM {schema}.alert
WHERE tenant_id = %(tenant)s AND customer_id = %(customer)s AND (%(meter)s::text IS NULL OR meter = %(meter)s)
  AND received_at >= %(since)s AND at > now() - interval '1 day'
ORDER BY received_at
LIMIT %(page)s
"""
Quantity = Annotated[
    str, Query(max_length=60, pattern=r"^[0-9]{1,18}(\.[0-9]{1,9})?$", description="How much more is to be used.")
]


async def get_current(request: Request, customer: Customer, meter: SomeMeter = None) -> Response:
    """The running period of a customer: what Redis and the tables have, the limit, and where it will be at the end.

    `projected` is the value at the end of the period if use goes on as so far: for counts and sums a straight line, for
    levels the level as it is. It is null where a straight line says nothing.
    """
    return versioned(request, await current_of(request, await authorized(request, "read"), customer, meter))


async def current_of(request: Request, key: StoredKey, customer: str, meter: str | None = None) -> dict[str, Any]:
    """The running period of a customer of the tenant of a key, as `get_current` answers it; raises Problem."""

    def work(of: Asked) -> dict[str, Any]:
        return usage(of.settings, UsageQuery(of.tenant, customer, meter)).document()

    document = await read_as(request, key, work, lambda found: len(found["meters"]))
    limits, now = read_context_of(request).limits, datetime.now(UTC)
    for one in document["meters"]:
        one["limit"] = decision_document(await limits.check(key.tenant, customer, one["meter"], 0))
        one["projected"] = projected(one, now)
    return document


async def get_check(request: Request, customer: Customer, meter: Meter, quantity: Quantity = "1") -> Response:
    """Whether a customer may use so much more; `allowed` also says what the failure policy decides.

    A service that asks for each of its requests should use the SDK, which asks Redis itself.
    """
    tenant = await read(request, lambda of: of.tenant)
    decision = await read_context_of(request).limits.check(tenant, customer, meter, Decimal(quantity))
    return answer(decision_document(decision), headers={"Cache-Control": "no-store"})


async def get_stream(request: Request, customer: Customer, meter: SomeMeter = None) -> Response:
    """Server-sent events: `limit` when what a customer has used, or may use, changes, and `alert` for each alert.

    The first events say how it stands. `id` of an alert is when it was received: send it as Last-Event-ID to go on from
    there. The last one is `end`, when the key is revoked or expires.
    """

    def check() -> Awaitable[StoredKey]:
        return authorized(request, "read")

    return await stream_of(request, await check(), customer, check, meter)


async def stream_of(
    request: Request, key: StoredKey, customer: str, check: Callable[[], Awaitable[object]], meter: str | None = None
) -> Response:
    """The stream of a customer of the tenant of a key, as `get_stream` answers it, until `check` raises Problem.

    Raises
    ------
    Problem
        There is no such meter, or there are too many streams, of all or of the key.
    """
    context = read_context_of(request)
    since = _since(request)

    def work(of: Asked) -> tuple[list[str], datetime]:
        # Alerts are received by the clock of the database.
        now: datetime = of.db.execute("SELECT clock_timestamp()").fetchall()[0][0]
        return [one.name for one in meters(of.db, of.tenant, meter)], since or now

    names, after = await read_as(request, key, work)
    if not names:
        raise Problem(404, "not_found", f"there is no meter {meter!r}.")
    _check_room(context, key)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    watched = Watched(context, key.tenant, customer, meter, names, after)
    events = _counted(context.counts.streams, key.key_id, _events(context, watched, check))
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


class Watched:
    """What a stream has sent, and what is new since; for one customer.

    Parameters
    ----------
    context, tenant, customer, meter:
        Whose; `meter` narrows the alerts.
    names:
        Meters that are watched.
    after:
        Alerts that were received later are sent.
    """

    def __init__(
        self, context: ReadContext, tenant: str, customer: str, meter: str | None, names: list[str], after: datetime
    ) -> None:
        self._context = context
        self._who = {"tenant": tenant, "customer": customer, "meter": meter}
        self._names = names
        self._alerts = AlertCursor(after)
        self._sent: dict[str, str] = {}

    async def limits(self) -> list[bytes]:
        """An event for each meter whose usage or limit is another than was sent last."""
        new = []
        for name in self._names:
            tenant, customer = str(self._who["tenant"]), str(self._who["customer"])
            found = decision_document(await self._context.limits.check(tenant, customer, name, 0))
            del found["age_s"]
            text = json.dumps({"meter": name, **found}, ensure_ascii=False)
            if self._sent.get(name) != text:
                self._sent[name] = text
                new.append(event("limit", text))
        return new

    async def alerts(self) -> list[bytes]:
        """An event for each alert since the last one."""
        new = self._alerts.new(await asyncio.to_thread(self._read_alerts))
        return [event("alert", json.dumps(one.event, ensure_ascii=False), one.at.isoformat()) for one in new]

    def _read_alerts(self) -> list[Received]:
        names = self._context.settings.names
        statement = _ALERTS.format(schema=f'"{names.usage_schema}"')
        with self._context.reads.using() as db:
            rows = db.execute(statement.encode(), {**self._who, "since": self._alerts.since, "page": PAGE}).fetchall()
        return [Received(*row) for row in rows]


def _check_room(context: ReadContext, key: StoredKey) -> None:
    streams, most = context.counts.streams, context.settings.api.key_streams
    if streams.total() >= MOST_STREAMS:
        raise Problem(503, "too_many_streams", f"there are {MOST_STREAMS} streams already.", retry_after_s=10)
    if streams[key.key_id] >= most:
        detail = f"key {key.key_id} has {most} streams already (api.key_streams); end one first."
        raise Problem(429, "too_many_streams", detail, retry_after_s=10)


async def _counted(streams: Counter[str], key_id: str, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    streams[key_id] += 1
    try:
        async for one in events:
            yield one
    finally:
        streams[key_id] -= 1


async def _events(
    context: ReadContext, watched: Watched, check: Callable[[], Awaitable[object]]
) -> AsyncIterator[bytes]:
    """What a stream sends until its client, its key or the server ends it."""
    quiet_since = read_at = time.monotonic()
    yield b"retry: 2000\n\n"
    while not context.counts.stopping:
        new = await watched.limits()
        if time.monotonic() >= read_at:
            read_at = time.monotonic() + _ALERTS_EVERY_S
            try:
                await check()
            except Problem as problem:
                yield event("end", json.dumps(problem.document(), ensure_ascii=False))
                return
            new += await watched.alerts()
        for one in new:
            yield one
        if new:
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since > KEEP_ALIVE_S:
            quiet_since = time.monotonic()
            yield b": alive\n\n"
        await asyncio.sleep(EVERY_S)


def event(name: str, data: str, event_id: str = "") -> bytes:
    """One server-sent event; `data` is JSON, which has no line end."""
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {name}\ndata: {data}\n\n".encode()


def decision_document(decision: Decision) -> dict[str, Any]:
    """A decision as JSON values: decimals and instants are text."""
    found: Mapping[str, Any] = asdict(decision)
    return {name: shown(value) for name, value in found.items() if name != "detail"} | {"detail": decision.detail}


def _since(request: Request) -> datetime | None:
    given = request.headers.get("last-event-id")
    if not given:
        return None
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        raise invalid("Last-Event-ID", "it is not the id of an alert of this stream.") from None
    if at.tzinfo is None:
        raise invalid("Last-Event-ID", "it is not the id of an alert of this stream.")
    # No alert is older; the overlap before the first instant of all would be none.
    return max(at, EPOCH)
