"""Signing in with a key of the API, out again, and the time zone of the viewer."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlencode
from zoneinfo import available_timezones

import msgspec
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from tidemark.api.access import authorized
from tidemark.api.answers import answer
from tidemark.api.keys import StoredKey
from tidemark.api.problem import Problem
from tidemark.core.errors import TidemarkError
from tidemark.web.context import web_context_of
from tidemark.web.render import page
from tidemark.web.tokens import Claims, sign, verified
from tidemark.web.viewer import COOKIE, known_zone, viewer_of

HOME = "/customers"
_MOST_BYTES = 4_096
_SEE_OTHER = HTTPStatus.SEE_OTHER
_HOUR_S = 3_600


def to_sign_in(request: Request) -> Response:
    """To the form, and afterwards back to the page that was asked for."""
    asked = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
    return RedirectResponse(f"/sign-in?{urlencode({'next': asked})}", _SEE_OTHER)


async def form(request: Request) -> Response:
    """Where a key is entered."""
    return page(request, "sign_in.html", None, wanted=own_path(request.query_params.get("next")), problem="")


async def sign_in(request: Request) -> Response:
    """A session for a key with the scope `read`."""
    given = await fields(request)
    wanted = own_path(given.get("next"))
    try:
        key = await _checked(request, given.get("key", "").strip())
    except Problem as problem:
        return page(request, "sign_in.html", None, status=problem.status, wanted=wanted, problem=problem.detail)
    web = web_context_of(request).settings.web
    claims = Claims(
        key.key_id, key.tenant, int(time.time()) + web.session_h * _HOUR_S, zone=known_zone(given.get("zone", ""))
    )
    return _with_session(request, RedirectResponse(wanted, _SEE_OTHER), claims)


async def sign_out(request: Request) -> Response:
    """No session any more."""
    await fields(request)
    response = RedirectResponse("/sign-in", _SEE_OTHER)
    response.delete_cookie(COOKIE, httponly=True, samesite="lax")
    return response


async def zone_form(request: Request) -> Response:
    """Where a time zone is chosen."""
    viewer = await viewer_of(request)
    return page(request, "zone.html", viewer, wanted=own_path(request.query_params.get("next")), zones=_zones())


async def choose_zone(request: Request) -> Response:
    """The same session, in another time zone."""
    await viewer_of(request)
    given = await fields(request)
    context = web_context_of(request)
    claims = verified(context.secret, "session", request.cookies[COOKIE], time.time())
    assert claims is not None  # noqa: S101  it was just verified
    response = RedirectResponse(own_path(given.get("next")), _SEE_OTHER)
    return _with_session(request, response, msgspec.structs.replace(claims, zone=known_zone(given.get("zone", ""))))


async def make_token(request: Request) -> Response:
    """`POST /embed-tokens`: a token for the page of one customer in an iframe, for a key with the scope `read`."""
    key = await authorized(request, "read")
    customer = (await fields(request)).get("customer", "")
    if not customer or "\0" in customer:
        raise Problem(422, "invalid_parameter", "customer: name the customer whose page it is.")
    context = web_context_of(request)
    expires_s = int(time.time()) + context.settings.web.token_s
    token = sign(context.secret, "embed", Claims(key.key_id, key.tenant, expires_s, customer))
    path = f"/embed?{urlencode({'token': token})}"
    return answer({"token": token, "path": path, "expires_s": expires_s}, headers={"Cache-Control": "no-store"})


def own_path(text: str | None) -> str:
    """A path of this site to go to; that of the first page for anything else."""
    if not text or not text.startswith("/") or text.startswith("//") or any(one in text for one in "\\\r\n\t\0"):
        return HOME
    return text


async def _checked(request: Request, text: str) -> StoredKey:
    """The key of a text, if it is valid and may read; raises Problem."""
    keys = web_context_of(request).keys
    try:
        entry = keys.known(text)
        if entry is None:
            entry = await to_thread.run_sync(keys.read, text)
    except TidemarkError:
        raise Problem(503, "keys_unavailable", "keys cannot be looked up now; try again.") from None
    return keys.checked(entry, text, "read")


async def fields(request: Request) -> dict[str, str]:
    """Fields of a form that a page of this site has sent; raises Problem for those of others."""
    if request.headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
        raise Problem(403, "forbidden", "this form was sent from another site.")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _MOST_BYTES:
            raise Problem(413, "body_too_large", f"a form has at most {_MOST_BYTES} bytes.")
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def _with_session(request: Request, response: Response, claims: Claims) -> Response:
    context = web_context_of(request)
    left_s = claims.expires_s - int(time.time())
    options: dict[str, Any] = {"httponly": True, "samesite": "lax", "secure": context.settings.web.secure_cookie}
    response.set_cookie(COOKIE, sign(context.secret, "session", claims), max_age=left_s, **options)
    return response


def _zones() -> list[str]:
    return sorted(name for name in available_timezones() if "/" in name)
