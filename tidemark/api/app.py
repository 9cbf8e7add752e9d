"""The app: its routes, its refusals, and its OpenAPI document."""

from __future__ import annotations

import traceback
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidemark.api import shapes
from tidemark.api.answers import refusal
from tidemark.api.context import Context, Counts
from tidemark.api.problem import Problem
from tidemark.api.routes import add_routes
from tidemark.api.usage_query import invalid
from tidemark.core.service import logger

log = logger("api")

VERSION = "1.0.0"
_ABOUT = (
    "Usage events in, usage out. A key (`tidemark keys create`) is of one tenant, which is all that it can "
    "send and read. Refusals are problem+json (RFC 9457); their `code` stays the same when words change."
)
_BEARER = {"type": "http", "scheme": "bearer", "description": "A key, as `tidemark keys create` prints it."}
_REFS = "#/components/schemas/{model}"
_CODES = {404: "not_found", 405: "method_not_allowed"}


def build(context: Context | None = None) -> FastAPI:
    """The app; without a context it can only describe itself."""
    app = FastAPI(title="Tidemark", version=VERSION, description=_ABOUT, docs_url=None, redoc_url=None)
    app.state.context = context
    add_routes(app)
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.openapi = lambda: document_of(app)  # type: ignore[method-assign]
    if context is not None:
        app.add_middleware(_Watched, counts=context.counts)
    return app


def _on_validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  as below
    first = error.errors()[0]
    name = str(first["loc"][-1] if isinstance(first["loc"][-1], str) else first["loc"][1])
    return refusal(invalid(name, f"{first['msg']}."))


def document_of(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 document of an app."""
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = document.setdefault("components", {})
    _, extra = models_json_schema([(one, "validation") for one in shapes.REFERRED], ref_template=_REFS)
    components["schemas"] = dict(sorted({**components.get("schemas", {}), **extra["$defs"]}.items()))
    components["securitySchemes"] = {"key": _BEARER}
    document["security"] = [{"key": []}]
    return document


async def _on_problem(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)  # noqa: S101  starlette's signature is wider than what it calls this with
    return refusal(problem)


async def _on_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  as above
    code = _CODES.get(error.status_code, "refused")
    return refusal(Problem(error.status_code, code, f"{error.detail}.", headers=error.headers or {}))


async def _on_disconnect(_: Request, __: Exception) -> Response:
    # Nobody reads it.
    return Response(status_code=400)


class _Watched:
    """Counts requests by route and status, and answers what nobody expected with a problem, logged with its cause."""

    def __init__(self, app: ASGIApp, counts: Counts) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def counted(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                self._counts.requests[_route_of(scope), str(message["status"])] += 1
            await send(message)

        try:
            await self._app(scope, receive, counted)
        except Exception as error:
            log("failed", level="error", route=_route_of(scope), error=repr(error), traceback=traceback.format_exc())
            if begun:
                raise
            problem = Problem(500, "internal_error", "this is our fault; the log of the server has the cause.")
            await refusal(problem)(scope, receive, counted)


def _route_of(scope: Scope) -> str:
    """The path as routes have it, so that there are few of them."""
    return str(getattr(scope.get("route"), "path", "other"))
