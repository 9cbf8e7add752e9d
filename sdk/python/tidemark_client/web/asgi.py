"""ASGI middleware, for Starlette, FastAPI and whatever else speaks ASGI; it needs none of them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from tidemark_client.async_client import AsyncLimitReader
from tidemark_client.events.client import Client
from tidemark_client.web.denial import denial
from tidemark_client.web.metering import Metering
from tidemark_client.web.routes import MOST, template_of

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Any, Send], Awaitable[None]]


def route_of(scope: Scope) -> str | None:
    """The template of the route that took a request; None where a framework had none."""
    if (route := scope.get("route")) is not None:
        return str(getattr(route, "path_format", None) or getattr(route, "path", None) or "")
    return None if "router" in scope or "app" in scope else template_of(scope.get("path", ""))


class MeterAsgi:
    """Records a use for each request that has a customer, and answers those that a limit denies.

    Parameters
    ----------
    app:
        What answers requests.
    client, event_type:
        Where and as what requests are recorded, with the properties `route`, `method`, `status` and `duration_ms`.
    customer:
        The customer of a scope, or None: not metered. Called before the app where limits are asked, else after it,
        when what identifies users has done its work.
    route:
        The template of the route of a scope, after the app.
    limits, meter:
        Who is asked, before the app, whether the customer may go on, and by which meter.
    most_routes:
        How many names of routes there may be.
    """

    def __init__(
        self,
        app: App,
        *,
        client: Client,
        customer: Callable[[Scope], str | None],
        event_type: str = "request",
        route: Callable[[Scope], str | None] = route_of,
        limits: AsyncLimitReader | None = None,
        meter: str = "requests",
        most_routes: int = MOST,
    ) -> None:
        self._app, self._customer, self._route = app, customer, route
        self._limits, self._meter, self._tenant = limits, meter, client.tenant
        self._metering = Metering(client, event_type, most_routes)

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._limits is None:
            await self._metered(scope, receive, send, None)
        elif customer := self._customer(scope):
            await self._limited(self._limits, scope, receive, send, customer)
        else:
            await self._app(scope, receive, send)

    async def _limited(self, limits: AsyncLimitReader, scope: Scope, receive: Any, send: Send, customer: str) -> None:
        decision = await limits.check(self._tenant, customer, self._meter)
        if decision:
            await self._metered(scope, receive, send, customer)
            return
        status, headers, body = denial(decision)
        raw = [(name.encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": int(status), "headers": raw})
        await send({"type": "http.response.body", "body": body})

    async def _metered(self, scope: Scope, receive: Any, send: Send, customer: str | None) -> None:
        begin_ns, status = time.perf_counter_ns(), 500

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            whose = customer or self._customer(scope)
            self._metering.record(whose, self._route(scope), scope["method"], status, begin_ns)
