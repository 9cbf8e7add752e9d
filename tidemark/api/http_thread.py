"""An HTTP server in a thread of its own, which drains before it ends."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable

import uvicorn
from starlette.types import ASGIApp

from tidemark.core.errors import UnavailableError

# Of the 8 s of a stop: requests that are being answered.
DRAIN_S = 4
_BACKLOG = 2_048


class HttpThread:
    """Answers on a socket until it is stopped.

    Parameters
    ----------
    name:
        Of the thread.
    app:
        What answers.
    listening:
        Socket, which is closed at the end.
    end:
        Runs in its event loop as the last thing.
    """

    def __init__(self, name: str, app: ASGIApp, listening: socket.socket, end: Callable[[], Awaitable[None]]) -> None:
        self._socket = listening
        self._end = end
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", server_header=False,
            timeout_graceful_shutdown=DRAIN_S, timeout_keep_alive=75, backlog=_BACKLOG,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """host:port, with the port that was chosen."""
        host, port = self._socket.getsockname()[:2]
        return f"{host!s}:{port}"

    def check(self) -> None:
        """Raise RuntimeError when it answers no more."""
        if not self._thread.is_alive():
            raise RuntimeError(f"the thread that answers at {self.address} has ended")

    def stop(self) -> None:
        """Take no more requests, and answer those that are here."""
        self._server.should_exit = True
        self._thread.join(DRAIN_S + 1)
        self._socket.close()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            await self._end()


def bound(address: tuple[str, int], setting: str) -> socket.socket:
    """A socket that listens at an address, which a setting says; raises UnavailableError where it is taken."""
    try:
        return socket.create_server(address, family=socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    except OSError as error:
        host, port = address
        raise UnavailableError(
            f"{host}:{port} cannot be listened on: {error.strerror or error}.",
            f"set {setting} to another address, or to port 0.",
        ) from error
