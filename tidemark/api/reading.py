"""Reads: connections to share, the record of each in the audit, and answers that say their version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any, TypeVar

import psycopg
from anyio import CapacityLimiter, to_thread
from psycopg import sql
from starlette.requests import Request
from starlette.responses import Response

from tidemark.api.access import authorized
from tidemark.api.answers import encoded
from tidemark.api.connections import CONNECTIONS
from tidemark.api.context import read_context_of
from tidemark.api.forms import JSON, MEDIA_TYPES, Body
from tidemark.api.key_store import SCHEMA
from tidemark.api.keys import StoredKey
from tidemark.api.problem import Problem
from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.service import logger
from tidemark.core.settings import Settings
from udfs.values import plain, rfc3339

log = logger("api")

T = TypeVar("T")
_RETRY_S = 2
_AUDIT = sql.SQL("INSERT INTO {} (tenant_id, key_id, run_id, route, asked, rows) VALUES (%s, %s, %s, %s, %s, %s)")
_TABLE = sql.Identifier(SCHEMA, "read_audit")
# A query string of any length would be kept for ever.
_LONGEST_ASKED = 2_000


@dataclass(frozen=True, slots=True)
class Asked:
    """Who reads, and with which connection."""

    key: StoredKey
    db: psycopg.Connection
    settings: Settings

    @property
    def tenant(self) -> str:
        """The one tenant whose data may be read."""
        return self.key.tenant


async def read(request: Request, work: Callable[[Asked], T], rows: Callable[[T], int] = lambda _: 1) -> T:
    """What `work` reads in a thread, for a key with the scope `read`, once the audit has it.

    Raises
    ------
    Problem
        The key may not, or 503 while the databases cannot be read; also what `work` raises, and 422 for a UsageError.
    """
    return await read_as(request, await authorized(request, "read"), work, rows)


async def read_as(
    request: Request, key: StoredKey, work: Callable[[Asked], T], rows: Callable[[T], int] = lambda _: 1
) -> T:
    """The same for a key that was found to be valid, of the tenant that it has; raises Problem as `read` does."""
    return await to_thread.run_sync(_read, request, key, work, rows, limiter=_limiter(request))


def _limiter(request: Request) -> CapacityLimiter:
    limiter: CapacityLimiter | None = getattr(request.app.state, "readers", None)
    if limiter is None:
        # Made by the event loop that it is of.
        limiter = request.app.state.readers = CapacityLimiter(2 * CONNECTIONS)
    return limiter


def _read(request: Request, key: StoredKey, work: Callable[[Asked], T], rows: Callable[[T], int]) -> T:
    context = read_context_of(request)
    try:
        with context.reads.using() as db:
            result = work(Asked(key, db, context.settings))
            route = str(getattr(request.scope.get("route"), "path", request.url.path))
            about = (key.tenant, key.key_id, context.settings.run_id, route, _asked(request), rows(result))
            db.execute(_AUDIT.format(_TABLE), about)
    except UsageError as error:
        raise Problem(422, "invalid_parameter", str(error)) from None
    except TidemarkError as error:
        log("read failed", level="error", error=str(error))
        raise Problem(503, "unavailable", "usage cannot be read now.", retry_after_s=_RETRY_S) from None
    return result


def _asked(request: Request) -> str:
    """Path and query; without a token, which whoever reads the audit could use."""
    url = request.url.remove_query_params("token") if "token" in request.query_params else request.url
    return f"{url.path}?{url.query}"[:_LONGEST_ASKED]


def versioned(
    request: Request, document: Mapping[str, Any], form: Callable[[Mapping[str, Any]], Body] | None = None
) -> Response:
    """A document (as JSON, or in another form) with the ETag of its content, which has the version `n` of every row.

    304 where that is known. `next` of the document is a link to the page after it, in a header too.
    """
    body, media_type = form(document) if form else Body(encoded(document), MEDIA_TYPES[JSON])
    tag = f'"{sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Authorization, Accept"}
    if document.get("next"):
        following = request.url.include_query_params(cursor=document["next"])
        headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    if tag in request.headers.get("if-none-match", "").replace("W/", "").split(", "):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=media_type)


def shown(value: Any) -> Any:
    """A value of a column as JSON has it: instants in RFC 3339, decimals as plain text."""
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, date):
        return value.isoformat()
    return plain(value) if isinstance(value, Decimal) else value
