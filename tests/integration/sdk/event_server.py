"""The other end of the recorder: a small HTTP server with the contract of `POST /v1/events`, that fails as asked."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.http_server import serving
from udfs.events.parse import parse
from udfs.events.reasons import Rejected

KEY = "key-1"
MOST_BYTES, MOST_EVENTS = 1_048_576, 1_000
# What a request meets instead of an answer: status, headers, and whether its events were taken before.
Trouble = Callable[["EventServer"], tuple[int, dict[str, str]] | None]


class EventServer(ThreadingHTTPServer):
    """Takes events, each with the outcome that the job's parser gives it.

    Parameters
    ----------
    port:
        0 for a free one.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.keys = {KEY}
        self.troubles: list[Trouble] = []
        self.requests: list[dict[str, str]] = []
        self.batches: list[list[bytes]] = []
        self.lock = threading.Lock()

    def ids(self) -> Counter[str]:
        """How often each event was accepted."""
        with self.lock:
            return Counter(json.loads(one)["event_id"] for batch in self.batches for one in batch)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients are killed in the middle of a request; that is what they are here for."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: EventServer

    def do_POST(self) -> None:
        sent = gzip.decompress(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append(dict(self.headers.items()))
            trouble = self.server.troubles.pop(0)(self.server) if self.server.troubles else None
        if trouble is not None:
            self._answer(trouble[0], {"title": "Trouble", "detail": "as asked"}, trouble[1])
        elif self.headers["Authorization"].removeprefix("Bearer ") not in self.server.keys:
            self._answer(401, {"title": "Unauthorized", "detail": "unknown key"})
        else:
            self._take(sent, sent.split(b"\n"))

    def _take(self, sent: bytes, events: list[bytes]) -> None:
        if len(sent) > MOST_BYTES or len(events) > MOST_EVENTS:
            self._answer(413, {"title": "Too large", "detail": f"{len(sent)} bytes, {len(events)} events"})
            return
        outcomes = [outcome(index, event) for index, event in enumerate(events)]
        good = [event for event, one in zip(events, outcomes, strict=True) if one["status"] == "accepted"]
        with self.server.lock:
            self.server.batches.append(good)
        answer = {"accepted": len(good), "rejected": len(events) - len(good), "events": outcomes}
        self._answer(202 if good else 422, answer)

    def _answer(self, status: int, document: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """A test prints what it asserts."""


def outcome(index: int, event: bytes) -> dict[str, Any]:
    try:
        return {"index": index, "id": parse(event).event_id, "status": "accepted"}
    except Rejected as rejected:
        return {"index": index, "id": None, "status": "rejected", "reason": rejected.reason, "detail": rejected.detail}


def status(code: int, **headers: str) -> Trouble:
    """A request is refused."""
    return lambda _: (code, {name.replace("_", "-"): value for name, value in headers.items()})


def silence(seconds: float) -> Trouble:
    """A request is answered as always, when nobody waits for it any more."""

    def wait(server: EventServer) -> None:
        server.lock.release()
        time.sleep(seconds)
        server.lock.acquire()

    return wait


@contextmanager
def event_server(port: int = 0) -> Iterator[EventServer]:
    """A server that answers until the block ends."""
    server = EventServer(port)
    with serving(server):
        yield server
