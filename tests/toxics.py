"""Toxiproxy in front of real services: black hole, slow, half-open, reset and partial write, put on and taken off."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import requests

from infra.local.ports import is_free
from infra.local.progress import Lines
from infra.local.toxiproxy import toxiproxy
from tests.ports import free_port

Fault = Literal["black_hole", "slow", "half_open", "reset", "partial_write"]
Toxic = dict[str, Any]

SLOW_MS = 300
_STARTS_WITHIN_S = 10.0


def toxic(kind: str, stream: str, **attributes: int) -> Toxic:
    """A toxic of every connection; `upstream` is what clients send, `downstream` what the service answers."""
    return {"name": f"{kind}_{stream}", "type": kind, "stream": stream, "attributes": attributes}


# Time-out 0 of `timeout`: nothing passes, and no side hears of it.
FAULTS: dict[Fault, tuple[Toxic, ...]] = {
    "black_hole": (toxic("timeout", "upstream", timeout=0), toxic("timeout", "downstream", timeout=0)),
    "slow": (toxic("latency", "downstream", latency=SLOW_MS, jitter=SLOW_MS // 3),),
    # The service takes what it is sent, and its answers are lost.
    "half_open": (toxic("timeout", "downstream", timeout=0),),
    "reset": (toxic("reset_peer", "downstream", timeout=0),),
    # A connection ends in the middle of a message.
    "partial_write": (toxic("limit_data", "upstream", bytes=60),),
}


@dataclass(frozen=True)
class Proxy:
    """A way to one service."""

    api: str
    name: str
    port: int

    @contextmanager
    def under(self, fault: Fault) -> Iterator[None]:
        """All connections, those that are open too, have the fault until the block ends; then they are cut."""
        for one in FAULTS[fault]:
            _ask("POST", f"{self.api}/proxies/{self.name}/toxics", one)
        try:
            yield
        finally:
            for one in FAULTS[fault]:
                _ask("DELETE", f"{self.api}/proxies/{self.name}/toxics/{one['name']}")


class Toxiproxy:
    """A process of toxiproxy on loopback, with a proxy for each service it is asked for."""

    def __init__(self) -> None:
        self._port = free_port()
        self._api = f"http://127.0.0.1:{self._port}"
        command = [str(toxiproxy(Lines())), "-host", "127.0.0.1", "-port", str(self._port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._await_answer()

    def proxy(self, name: str, target: int, port: int | None = None) -> Proxy:
        """A proxy to a port of loopback, on `port` or a free one."""
        own = free_port() if port is None else port
        listen, upstream = f"127.0.0.1:{own}", f"127.0.0.1:{target}"
        _ask("POST", f"{self._api}/proxies", {"name": name, "listen": listen, "upstream": upstream})
        return Proxy(self._api, name, own)

    def stop(self) -> None:
        """End it; connections through it end too."""
        self._process.kill()
        self._process.wait()

    def _await_answer(self) -> None:
        deadline = time.monotonic() + _STARTS_WITHIN_S
        while is_free(self._port):
            assert time.monotonic() < deadline, "toxiproxy did not start within 10 s"
            assert self._process.poll() is None, "toxiproxy ended at once"
            time.sleep(0.02)


@contextmanager
def toxics() -> Iterator[Toxiproxy]:
    """A toxiproxy that is ended with the block."""
    started = Toxiproxy()
    try:
        yield started
    finally:
        started.stop()


def _ask(method: str, url: str, body: Toxic | None = None) -> None:
    requests.request(method, url, json=body, timeout=10).raise_for_status()
