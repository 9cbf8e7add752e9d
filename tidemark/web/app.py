"""The app of the role `web`: its routes, refusals as pages, and what browsers are allowed to do with them."""

from __future__ import annotations

import traceback
from importlib.resources import files

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidemark.api.answers import refusal
from tidemark.api.problem import Problem
from tidemark.core.service import logger
from tidemark.core.settings.web import WebSettings
from tidemark.web import customer, operations, redrive, sign_in
from tidemark.web.context import WebContext, web_context_of
from tidemark.web.render import page
from tidemark.web.viewer import SignInNeededError

log = logger("web")

_STATIC = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' https:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors {}"
)
_FAULT = "this is our fault; the log of the server has the cause."


def build(context: WebContext) -> ASGIApp:
    """The app."""
    app = Starlette(routes=_routes())
    app.state.context = context
    app.add_exception_handler(SignInNeededError, lambda request, _: sign_in.to_sign_in(request))
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(ClientDisconnect, lambda _, __: Response(status_code=400))
    app.add_exception_handler(Exception, _on_fault)
    return _Guarded(app, context.settings.web)


def _routes() -> list[Route]:
    return [
        Route("/", lambda _: RedirectResponse(sign_in.HOME)),
        Route("/sign-in", sign_in.form),
        Route("/sign-in", sign_in.sign_in, methods=["POST"]),
        Route("/sign-out", sign_in.sign_out, methods=["POST"]),
        Route("/zone", sign_in.zone_form),
        Route("/zone", sign_in.choose_zone, methods=["POST"]),
        Route("/customers", customer.customer_list),
        Route("/usage", customer.usage),
        Route("/usage/stream", customer.stream),
        Route("/usage/periods.csv", customer.periods_csv),
        Route("/embed-tokens", sign_in.make_token, methods=["POST"]),
        Route("/embed", customer.embedded),
        Route("/embed/stream", customer.embedded_stream),
        Route("/embed/periods.csv", customer.embedded_periods_csv),
        Route("/operations", operations.overview),
        Route("/operations/dead-letters", operations.dead_letters),
        Route("/operations/dead-letters/redrive", redrive.plan),
        Route("/operations/dead-letters/redrive", redrive.redrive, methods=["POST"]),
        Route("/operations/periods", operations.periods),
        Route("/operations/pipeline", operations.pipeline),
        Route("/static/{name}", _static),
        Route("/brand.css", _brand),
    ]


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        raise Problem(404, "not_found", "there is no such file.")
    body = files("tidemark.web").joinpath("static", name).read_bytes()
    return Response(body, media_type=_STATIC[name], headers={"Cache-Control": "public, max-age=300"})


async def _brand(request: Request) -> Response:
    """Colours of a tenant as variables; a file, because a page may have no style in itself."""
    brand = web_context_of(request).settings.web.brand_of(request.query_params.get("tenant", ""))
    light = f":root {{ --accent: {brand.accent}; }}\n" if brand.accent else ""
    dark = brand.accent_dark or brand.accent
    night = f"@media (prefers-color-scheme: dark) {{ :root {{ --accent: {dark}; }} }}\n" if dark else ""
    return Response(light + night, media_type="text/css", headers={"Cache-Control": "public, max-age=300"})


async def _on_problem(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)  # noqa: S101  starlette's signature is wider than what it calls this with
    if request.url.path in {"/embed-tokens", "/usage/stream", "/embed/stream"}:
        return refusal(problem)
    answer = page(request, "problem.html", None, status=problem.status, detail=problem.detail)
    answer.headers.update(problem.all_headers())
    return answer


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  as above
    return page(request, "problem.html", None, status=error.status_code, detail=f"{error.detail}.")


async def _on_fault(request: Request, _: Exception) -> Response:
    return page(request, "problem.html", None, status=500, detail=_FAULT)


class _Guarded:
    """Adds to each answer what a browser may do with it: no script of others, and a frame where it is allowed."""

    def __init__(self, app: ASGIApp, web: WebSettings) -> None:
        self._app = app
        self._ancestors = " ".join(web.frame_ancestors) or "'none'"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                ancestors = self._ancestors if scope["path"] == "/embed" else "'none'"
                headers["Content-Security-Policy"] = _POLICY.format(ancestors)
                headers["X-Content-Type-Options"] = "nosniff"
                # The address of an embedded page has its token.
                headers["Referrer-Policy"] = "no-referrer"
            await send(message)

        try:
            await self._app(scope, receive, guarded)
        except Exception as error:  # noqa: BLE001  it was answered; the log of a service is lines of JSON alone
            log("failed", level="error", path=scope["path"], error=repr(error), traceback=traceback.format_exc())
