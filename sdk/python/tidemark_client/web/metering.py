"""One request as one use, whichever middleware saw it."""

from __future__ import annotations

import logging
import time

from tidemark_client.events.client import Client
from tidemark_client.events.errors import RecorderError
from tidemark_client.web.routes import Routes

log = logging.getLogger("tidemark_client")
# Whatever else a client writes there would be a name of its own.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})


class Metering:
    """Records requests under bounded names."""

    def __init__(self, client: Client, event_type: str, most_routes: int) -> None:
        self._client, self._event_type = client, event_type
        self._routes = Routes(most_routes)

    def record(self, customer: str | None, template: str | None, method: str, status: int, begin_ns: int) -> None:
        """Record a request that was answered; never raises for a full queue, since the answer is sent already."""
        if not customer:
            return
        try:
            self._client.record(
                self._event_type,
                customer=customer,
                route=self._routes.name(template),
                method=method if method in _METHODS else "other",
                status=status,
                duration_ms=(time.perf_counter_ns() - begin_ns) // 1_000_000,
            )
        except (RecorderError, ValueError) as error:
            log.error("A %s of customer %r was not recorded: %s", self._event_type, customer, error)  # noqa: TRY400
