"""WSGI middleware, for Flask, Django and whatever else speaks WSGI; it needs none of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tidemark_client.client import LimitReader
from tidemark_client.events.client import Client
from tidemark_client.web.denial import denial
from tidemark_client.web.metering import Metering
from tidemark_client.web.routes import MOST, template_of

Environ = dict[str, Any]
App = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
# Where a framework may leave the template of the route: WSGI has no place for it.
ROUTE = "tidemark.route"


def route_of(environ: Environ) -> str | None:
    """What the app left in `tidemark.route`, else the path without what looks like ids."""
    left = environ.get(ROUTE)
    return str(left) if left else template_of(environ.get("PATH_INFO", ""))


class MeterWsgi:
    """Records a use for each request that has a customer, and answers those that a limit denies.

    Parameters are those of `MeterAsgi`, with the environ for the scope and a `LimitReader`. A request is recorded when
    its answer has been sent.
    """

    def __init__(
        self,
        app: App,
        *,
        client: Client,
        customer: Callable[[Environ], str | None],
        event_type: str = "request",
        route: Callable[[Environ], str | None] = route_of,
        limits: LimitReader | None = None,
        meter: str = "requests",
        most_routes: int = MOST,
    ) -> None:
        self._app, self._customer, self._route = app, customer, route
        self._limits, self._meter, self._tenant = limits, meter, client.tenant
        self._metering = Metering(client, event_type, most_routes)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        if self._limits is None:
            return self._metered(environ, start_response, None)
        customer = self._customer(environ)
        if not customer:
            return self._app(environ, start_response)
        decision = self._limits.check(self._tenant, customer, self._meter)
        if decision:
            return self._metered(environ, start_response, customer)
        status, headers, body = denial(decision)
        start_response(f"{int(status)} {status.phrase}", headers)
        return [body]

    def _metered(self, environ: Environ, start_response: Callable[..., Any], customer: str | None) -> Iterator[bytes]:
        begin_ns, status = time.perf_counter_ns(), 500

        def watched(line: str, *rest: Any) -> Any:
            nonlocal status
            status = int(line.partition(" ")[0])
            return start_response(line, *rest)

        answer: Iterable[bytes] = ()
        # A generator: servers close it when the answer is sent, or its receiver is gone.
        try:
            answer = self._app(environ, watched)
            yield from answer
        finally:
            if hasattr(answer, "close"):
                answer.close()
            whose = customer or self._customer(environ)
            self._metering.record(whose, self._route(environ), environ["REQUEST_METHOD"], status, begin_ns)
