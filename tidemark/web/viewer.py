"""Who looks at a page: by the cookie of a session, or by the token of an embedded page."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from anyio import to_thread
from starlette.requests import Request

from tidemark.api.keys import StoredKey, unauthorized
from tidemark.api.problem import Problem
from tidemark.core.errors import TidemarkError
from tidemark.core.settings.web import WebSettings
from tidemark.web.context import WebContext, web_context_of
from tidemark.web.tokens import Claims, verified

COOKIE = "tidemark_session"
UTC = "Etc/UTC"
_RETRY_S = 5


class SignInNeededError(Exception):
    """Nobody is signed in, or whoever was may not be any more."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks.

    Parameters
    ----------
    key:
        The key that was shown; its tenant is the one whose pages are seen.
    zone:
        Time zone of times and days.
    customer:
        The one customer that may be seen; empty: all of the tenant.
    token:
        Of an embedded page; empty for a session.
    is_operator:
        Whether all tenants and the pipeline may be seen.
    home:
        Tenant of the key itself.
    """

    key: StoredKey
    zone: str
    customer: str = ""
    token: str = ""
    is_operator: bool = False
    home: str = ""

    @property
    def tenant(self) -> str:
        """The tenant whose pages are seen."""
        return self.key.tenant

    @property
    def is_admin(self) -> bool:
        """Whether pages of operation may be seen, of the tenant."""
        return not self.token and self.key.allows("admin")

    def link(self, path: str, **asked: Any) -> str:
        """Address of a page that this viewer may see, with what keeps it theirs."""
        if self.token:
            asked |= {"token": self.token, "zone": self.zone}
        elif self.tenant != self.home:
            asked["tenant"] = self.tenant
        text = urlencode({name: value for name, value in asked.items() if value not in {None, ""}})
        return f"{path}?{text}" if text else path


async def viewer_of(request: Request) -> Viewer:
    """Who is signed in; raises SignInNeededError, or Problem where another tenant or zone is asked for than may be."""
    context = web_context_of(request)
    claims = verified(context.secret, "session", request.cookies.get(COOKIE, ""), time.time())
    if claims is None:
        raise SignInNeededError
    key = await _key_of(context, claims)
    if key is None or not key.allows("read"):
        raise SignInNeededError
    return _of_tenant(_viewer(request, key, claims), request, context.settings.web)


async def still_signed_in(request: Request) -> Viewer:
    """As `viewer_of`, for what has begun: it can be ended, and nobody can be sent to sign in; raises Problem."""
    try:
        return await viewer_of(request)
    except SignInNeededError:
        raise unauthorized("the session has ended.") from None


async def embedded_viewer_of(request: Request) -> Viewer:
    """Who has the token of an embedded page; raises Problem where it is not valid."""
    context = web_context_of(request)
    token = request.query_params.get("token", "")
    claims = verified(context.secret, "embed", token, time.time())
    key = None if claims is None or not claims.customer else await _key_of(context, claims)
    if claims is None or key is None or not key.allows("read"):
        raise unauthorized("the token of this page is not valid, or has expired; ask for another one.")
    return replace(_viewer(request, key, claims), customer=claims.customer, token=token)


async def admin_of(request: Request) -> Viewer:
    """Who is signed in, if pages of operation may be seen; else as `viewer_of`, and Problem."""
    viewer = await viewer_of(request)
    if not viewer.is_admin:
        raise Problem(403, "forbidden", "this page is for keys with the scope admin.")
    return viewer


def known_zone(name: str) -> str:
    """The time zone, if there is one of this name; else UTC."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return UTC
    return name


def _viewer(request: Request, key: StoredKey, claims: Claims) -> Viewer:
    return Viewer(key, known_zone(request.query_params.get("zone") or claims.zone or UTC), home=key.tenant)


def _of_tenant(viewer: Viewer, request: Request, web: WebSettings) -> Viewer:
    """The viewer, of the tenant that is asked for."""
    viewer = replace(viewer, is_operator=viewer.is_admin and viewer.home in web.operators)
    asked = request.query_params.get("tenant", "") or viewer.home
    if asked == viewer.home:
        return viewer
    if not viewer.is_operator or "\0" in asked:
        raise Problem(403, "forbidden", "the key is of another tenant.")
    return replace(viewer, key=replace(viewer.key, tenant=asked))


async def _key_of(context: WebContext, claims: Claims) -> StoredKey | None:
    """The key of claims while it is valid and of their tenant."""
    try:
        key = await to_thread.run_sync(context.keys.current, claims.key_id)
    except TidemarkError:
        raise Problem(503, "keys_unavailable", "keys cannot be looked up now.", retry_after_s=_RETRY_S) from None
    return key if key is not None and key.tenant == claims.tenant else None
