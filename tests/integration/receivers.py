"""A receiver on loopback with configurable responses, which keeps what it was sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.http_server import serving
from tidemark.core.settings import Settings


@dataclass(frozen=True)
class Script:
    """One answer; `after` is waited for first."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    after: threading.Event | None = None


@dataclass(frozen=True)
class Request:
    path: str
    headers: Mapping[str, str]
    body: bytes


class LocalReceiver:
    """Answers with its script in order, and with 200 when that is used up."""

    def __init__(self) -> None:
        self.script: list[Script] = []
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = receiver.taken(Request(self.path, dict(self.headers.items()), body))
                if answer.after is not None:
                    answer.after.wait(60)
                self.send_response(answer.status)
                for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A sender that has given up has closed its end."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def taken(self, request: Request) -> Script:
        with self._lock:
            self.requests.append(request)
            return self.script.pop(0) if self.script else Script()

    @property
    def keys(self) -> list[str]:
        return [request.headers["Idempotency-Key"] for request in self.requests]


def delivering(run: Settings, secrets_dir: Path, **secrets: str) -> Settings:
    """Settings that deliver to receivers on loopback, whose secrets are written into a folder by file name."""
    for name, secret in secrets.items():
        (secrets_dir / name).write_text(secret)
    allowed = {"allow_http": True, "allow_local": True, "secrets_dir": secrets_dir}
    return run.with_changes({f"delivery.{name}": value for name, value in allowed.items()})


@contextmanager
def local_receiver() -> Iterator[LocalReceiver]:
    receiver = LocalReceiver()
    with serving(receiver.server):
        yield receiver
