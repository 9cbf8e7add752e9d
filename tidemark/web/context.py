"""What the pages share: what reads need, and the secret that signs sessions and tokens."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from starlette.requests import Request

from tidemark.api.context import ReadContext
from tidemark.core.errors import UsageError
from tidemark.core.settings.web import WebSettings

_LEAST_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class WebContext(ReadContext):
    """Of one process."""

    secret: bytes


def web_context_of(request: Request) -> WebContext:
    """The context of the app that has this request."""
    context: WebContext = request.app.state.context
    return context


def secret_of(web: WebSettings) -> bytes:
    """What signs; one that nobody else has where none is set.

    Raises
    ------
    UsageError
        The file cannot be read, or has less than 32 bytes.
    """
    if web.secret_file is None:
        return secrets.token_bytes(_LEAST_BYTES)
    try:
        secret = web.secret_file.read_bytes().strip()
    except OSError as error:
        raise UsageError(f"web.secret_file cannot be read: {error}.", "name a file with the secret.") from error
    if len(secret) < _LEAST_BYTES:
        raise UsageError(
            f"web.secret_file has {len(secret)} bytes; it needs {_LEAST_BYTES}.", "make one: `openssl rand -hex 32`."
        )
    return secret
