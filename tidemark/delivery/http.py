"""One POST to a receiver, and its response in a text without secrets."""

from __future__ import annotations

from dataclasses import dataclass

import requests
from urllib3.exceptions import HTTPError

from tidemark.delivery.message import Message

# Of a body that says what is wrong, enough to see it.
EXCERPT_BYTES = 400


class SendError(Exception):
    """No response: the network, the name, the certificate, the time; the text says which, without the address."""


@dataclass(frozen=True, slots=True)
class Response:
    """Status, header `Retry-After` (empty: none), and the first bytes of the body of a refusal, secrets masked."""

    status: int
    retry_after: str = ""
    excerpt: str = ""


def post(session: requests.Session, message: Message, secret: str, timeout_s: float) -> Response:
    """Send a message once; redirects are not followed.

    Parameters
    ----------
    session, message:
        Kept connections, and what is sent.
    secret:
        Masked where the receiver repeats it.
    timeout_s:
        Longest wait for a connection, and between two parts of a response.

    Raises
    ------
    SendError
        There was no response.
    """
    try:
        with session.post(
            message.url, data=message.body, headers=dict(message.headers), timeout=timeout_s, allow_redirects=False,
            stream=True,
        ) as response:  # fmt: skip
            excerpt = b"" if response.ok else response.raw.read(EXCERPT_BYTES, decode_content=True)
            return Response(response.status_code, response.headers.get("Retry-After", ""), _shown(excerpt, secret))
    except (requests.RequestException, HTTPError, ValueError, OSError) as error:
        # The text of these errors holds the address, and with it the secret of some receivers.
        raise SendError(f"{message.host}: {type(error).__name__}") from None


def _shown(excerpt: bytes, secret: str) -> str:
    text = excerpt.decode("utf-8", "replace").replace("\x00", "")
    masked = text.replace(secret, "***") if secret else text
    return " ".join(masked.split())
