"""A relay in front of a real service: counts how often the two sides take turns, and holds answers back.

Toxiproxy makes faults; it does not count.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self


class Relay:
    """Passes bytes between clients and a local port, on a port of its own.

    Parameters
    ----------
    target:
        Port of the service.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self._turns: list[str] = []
        self._open = threading.Event()
        self._open.set()
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.set()
        for one in self._sockets:
            _end(one)

    def hold(self) -> None:
        """Keep back what the service says, until `release`."""
        self._open.clear()

    def release(self) -> None:
        """Let it through."""
        self._open.set()

    def round_trips(self) -> int:
        """How often the clients spoke and were answered since the last call; a message in parts is one."""
        turns, self._turns = self._turns, []
        return sum(before != after for before, after in zip(["<", *turns], turns, strict=False) if after == ">")

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            service = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, service]
            for source, sink, turn in ((client, service, ">"), (service, client, "<")):
                threading.Thread(target=self._pass, args=(source, sink, turn), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, turn: str) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                self._turns.append(turn)
                if turn == "<":
                    self._open.wait()
                sink.sendall(data)
        _end(sink)


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
