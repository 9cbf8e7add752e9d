"""The HTTP endpoint of `tidemark serve`: /healthz, /readyz and /metrics, from memory alone."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from tidemark.core.errors import UnavailableError
from tidemark.core.service import Health, Service, logger
from tidemark.serve.figures import Figures, ServeCollector
from tidemark.serve.readiness import document, roles_of

log = logger("http")

# Role of what belongs to the process, not to one of its roles.
PROCESS = "serve"
# The supervisor looks after threads once a second.
HANGING_S = 60.0
CHECK_S = 5.0
# A client that sends nothing holds a thread for so long.
CLIENT_S = 10.0

Start = Callable[[str, list[tuple[str, str]]], Any]
App = Callable[[dict[str, Any], Start], Iterable[bytes]]


class Endpoint:
    """A WSGI app over the services of this process.

    Parameters
    ----------
    health:
        How the services do now.
    unchecked_s:
        Seconds since their threads were last looked after.
    figures:
        What else /metrics shows.
    info:
        Version and run id.
    clock:
        Epoch seconds.
    """

    def __init__(
        self, health: Callable[[], Sequence[Health]], unchecked_s: Callable[[], float], figures: Figures,
        info: tuple[str, str], clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._health = health
        self._unchecked_s = unchecked_s
        self._clock = clock
        registry = CollectorRegistry()
        registry.register(ServeCollector(health, figures, info, clock))
        self._metrics: App = make_wsgi_app(registry)

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        """Answer a request; `/readyz/ROLE` is about one role."""
        try:
            body = self._answer(environ, start)
        except Exception as error:  # noqa: BLE001  a fault of one answer is logged as all else is, and ends nothing
            log("failed", level="error", path=environ.get("PATH_INFO", ""), error=repr(error))
            body = _json(start, "500 Internal Server Error", {"error": "see the log"})
        return [] if environ.get("REQUEST_METHOD") == "HEAD" else body

    def _answer(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", "")).rstrip("/")
        if environ.get("REQUEST_METHOD") not in {"GET", "HEAD"}:
            return _json(start, "405 Method Not Allowed", {"error": "GET alone"})
        if path == "/metrics":
            return self._metrics(environ, start)
        if path == "/healthz":
            return self._healthz(start)
        if path == "/readyz" or path.startswith("/readyz/"):
            return self._readyz(start, path.removeprefix("/readyz").strip("/"))
        return _json(start, "404 Not Found", {"paths": ["/healthz", "/readyz", "/readyz/ROLE", "/metrics"]})

    def _healthz(self, start: Start) -> Iterable[bytes]:
        hanging_s = self._unchecked_s()
        alive = hanging_s < HANGING_S
        return _json(start, _status(alive), {"alive": alive, "threads_checked_s_ago": round(hanging_s, 1)})

    def _readyz(self, start: Start, role: str) -> Iterable[bytes]:
        roles = [one for one in roles_of(self._health(), self._clock()) if one.role != PROCESS]
        wanted = [one for one in roles if role in {"", one.role}]
        if not wanted:
            return _json(
                start, "404 Not Found", {"error": f"no role {role} here", "roles": [one.role for one in roles]}
            )
        answer = document(wanted)
        return _json(start, _status(answer["ready"]), answer)


class Listener:
    """A server that answers in threads of its own until it is closed."""

    def __init__(self, address: tuple[str, int], app: App) -> None:
        try:
            self._server = make_server(*address, app, server_class=_Server, handler_class=_Handler)
        except OSError as error:
            host, port = address
            raise UnavailableError(
                f"{host}:{port} cannot be listened on: {error.strerror or error}.",
                "set serve.listen to another address, to port 0, or to `off`.",
            ) from error
        self._thread = threading.Thread(target=partial(self._server.serve_forever, 0.2), name="http", daemon=True)
        self._thread.start()
        log("listening", address=self.address)

    @property
    def address(self) -> str:
        """host:port, with the port that was chosen."""
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    def check(self) -> None:
        """Raise RuntimeError if it answers no more."""
        if not self._thread.is_alive():
            raise RuntimeError(f"the thread that answers at {self.address} has ended")

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


def service(address: tuple[str, int], app: App) -> Service[Listener, None]:
    """Listens, and begins again where it cannot: a second process on this machine takes over a port that gets free."""
    return Service("http", CHECK_S, lambda: Listener(address, app), Listener.check, log)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind without asking a name server for the name of the host, as the base class does."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, *_: Any) -> None:
        """A client that went away is no news, and nothing but lines of JSON goes to the log."""


class _Handler(WSGIRequestHandler):
    timeout = CLIENT_S

    def log_message(self, *_: Any) -> None:
        """Requests of probes are not logged."""


def _status(good: bool) -> str:
    return "200 OK" if good else "503 Service Unavailable"


def _json(start: Start, status: str, body: dict[str, Any]) -> Iterable[bytes]:
    start(status, [("Content-Type", "application/json; charset=utf-8"), ("Cache-Control", "no-store")])
    return [json.dumps(body, ensure_ascii=False).encode() + b"\n"]
