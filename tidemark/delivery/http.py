"""One POST to a receiver within a total time, and its response in a text without secrets."""

from __future__ import annotations

import threading
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass

import requests
from urllib3.exceptions import HTTPError

from tidemark.delivery.bounded_session import Sockets, session
from tidemark.delivery.message import Message
from tidemark.delivery.reach import Reach, ReachError

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


def post(message: Message, secrets: tuple[str, ...], timeout_s: float, reach: Reach) -> Response:
    """Send a message once, over a connection of its own; redirects are not followed.

    Parameters
    ----------
    message:
        What is sent.
    secrets:
        Masked where the receiver repeats them.
    timeout_s:
        Longest time of everything together: the look-up of the name, all addresses, the request and the response.
    reach:
        Where it may go.

    Raises
    ------
    SendError
        It may not go there, or there was no response.
    """
    attempt = _Attempt(message, secrets, timeout_s, reach)
    thread = threading.Thread(target=copy_context().run, args=(attempt.run,), name="post", daemon=True)
    thread.start()
    thread.join(timeout_s)
    return attempt.response()


class _Attempt:
    """What a thread of its own does, because nothing else can leave the look-up of a name."""

    def __init__(self, message: Message, secrets: tuple[str, ...], timeout_s: float, reach: Reach) -> None:
        self._message = message
        self._secrets = secrets
        self._reach = reach
        self._timeout_s = timeout_s
        self._sockets = Sockets()
        self._result: Response | BaseException | None = None

    def run(self) -> None:
        """Send, and keep the response or the error."""
        try:
            self._result = self._post()
        except BaseException as error:  # noqa: BLE001  raised again by `response`, in the thread that waits
            self._result = error
        finally:
            self._sockets.close()

    def response(self) -> Response:
        """The response, if it has come; else the thread is left, and its connections end."""
        result = self._result
        if result is None or isinstance(result, requests.Timeout):
            self._sockets.cut()
            raise SendError(f"{self._message.host}: no response within {self._timeout_s:g} s")
        if isinstance(result, Response):
            return result
        if isinstance(result, ReachError):
            raise SendError(f"{self._message.host}: {result}")
        if isinstance(result, requests.RequestException | HTTPError | ValueError | OSError):
            # The text of these errors holds the address, and with it the secret of some receivers.
            raise SendError(f"{self._message.host}: {type(result).__name__}") from None
        raise result

    def _post(self) -> Response:
        message = self._message
        self._reach.check_url(message.url)
        with (
            closing(session(self._sockets, self._reach)) as made,
            # By itself each address ends after this long, and each read: a thread that was left ends too.
            made.post(
                message.url, data=message.body, headers=dict(message.headers), timeout=self._timeout_s,
                allow_redirects=False, stream=True,
            ) as response,
        ):  # fmt: skip
            excerpt = b"" if response.ok else response.raw.read(EXCERPT_BYTES, decode_content=True)
            return Response(
                response.status_code, response.headers.get("Retry-After", ""), _shown(excerpt, self._secrets)
            )


def _shown(excerpt: bytes, secrets: tuple[str, ...]) -> str:
    text = excerpt.decode("utf-8", "replace").replace("\x00", "")
    for secret in secrets:
        text = text.replace(secret, "***")
    return " ".join(text.split())
