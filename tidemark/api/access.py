"""Who sends a request: the key, its tenant, and whether it may."""

from __future__ import annotations

from anyio import to_thread
from starlette.requests import Request

from tidemark.api.context import read_context_of
from tidemark.api.keys import Scope, StoredKey, bearer
from tidemark.api.problem import Problem
from tidemark.core.errors import TidemarkError

_RETRY_S = 5


async def authorized(request: Request, scope: Scope) -> StoredKey:
    """The valid key of a request, which allows this.

    Raises
    ------
    Problem
        401 without a valid key, 403 where it lacks the scope, 503 while keys cannot be looked up.
    """
    keys = read_context_of(request).keys
    text = bearer(request.headers.get("authorization"))
    entry = keys.known(text)
    if entry is None:
        try:
            entry = await to_thread.run_sync(keys.read, text)
        except TidemarkError:
            detail = "keys cannot be looked up now; send the request again, as it is."
            raise Problem(503, "keys_unavailable", detail, retry_after_s=_RETRY_S) from None
    return keys.checked(entry, text, scope)
