"""Events over HTTP: `POST /v1/events`, NDJSON, gzip, one outcome for each event."""

from __future__ import annotations

import encodings.idna  # noqa: F401  of the first look-up of a host, for the reason in __init__
import gzip
from collections.abc import Callable, Sequence
from typing import Union

import httpx

from tidemark_client.events.checks import positive
from tidemark_client.events.event import SDK
from tidemark_client.events.outcome import Later, Outcome, outcome_of
from tidemark_client.events.spool import Pending

ApiKey = Union[str, Callable[[], str]]

# Above that after which the server answers that the brokers did not.
TIMEOUT_S = 15.0
PATH = "/v1/events"
# JSON of usage shrinks to a tenth at the lowest level already; higher ones cost three times the time for a little more.
_LEVEL = 1


class HttpTransport:
    """Sends to the HTTP endpoint of Tidemark.

    Parameters
    ----------
    url:
        Of the server, without a path of its own: `https://usage.example.com`.
    api_key:
        A key with the scope `ingest`, or what returns it, asked before each request: so a key can be rotated.
    timeout_s:
        Longest wait for a connection, and for each part of an answer.

    Raises
    ------
    ValueError
        A setting is not valid.
    """

    def __init__(self, url: str, api_key: ApiKey, timeout_s: float = TIMEOUT_S) -> None:
        if httpx.URL(url).scheme not in {"http", "https"}:
            raise ValueError(f"url is {url!r}: give http://HOST:PORT or https://HOST.")
        self._url = url.rstrip("/") + PATH
        self._api_key = api_key
        self._timeout_s = positive("timeout_s", timeout_s)
        # Made here, and not by the thread that sends: what httpx imports only then would be imported while the process
        # may fork, and a child waits for ever for an import that its parent's thread had begun.
        self._client: httpx.Client | None = self._made()

    def send(self, batch: Sequence[Pending]) -> Outcome:
        """As `Transport.send`."""
        try:
            answer = self._connected().post(self._url, content=_body(batch), headers=self._headers())
        except httpx.HTTPError as error:
            return Later(f"{self._url}: {type(error).__name__}: {error}")
        return outcome_of(answer.status_code, answer.headers, answer.content, len(batch))

    def forget(self) -> None:
        """As `Transport.forget`."""
        self._client = None

    def close(self) -> None:
        """As `Transport.close`."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _connected(self) -> httpx.Client:
        if self._client is None:
            self._client = self._made()
        return self._client

    def _made(self) -> httpx.Client:
        # One connection: batches go one after another.
        return httpx.Client(timeout=self._timeout_s, limits=httpx.Limits(max_connections=1))

    def _headers(self) -> dict[str, str]:
        key = self._api_key if isinstance(self._api_key, str) else self._api_key()
        return {
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/x-ndjson",
            "Content-Encoding": "gzip",
            "User-Agent": SDK,
        }


def _body(batch: Sequence[Pending]) -> bytes:
    return gzip.compress(b"\n".join([event.body for event in batch]), _LEVEL)
