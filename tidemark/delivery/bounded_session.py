"""A session of HTTP whose connections can be ended from outside, wherever they wait.

The time-outs of `requests` hold for each address of a name and for each read: a receiver with several dead addresses,
or one that sends a byte now and then, is waited for without end.
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.poolmanager import PoolManager, ProxyManager


class Sockets:
    """Sockets that a thread has opened; they are cut by another one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._is_cut = False

    def add(self, opened: socket.socket) -> None:
        """Keep a second descriptor: TLS takes the first over. One that was opened after the cut is cut at once."""
        with self._lock:
            self._open.append(socket.socket(fileno=os.dup(opened.fileno())))
            if self._is_cut:
                self._shut_down()

    def cut(self) -> None:
        """End every connection; whoever waits for one sees an error."""
        with self._lock:
            self._is_cut = True
            self._shut_down()

    def close(self) -> None:
        """Give the descriptors back."""
        with self._lock:
            for one in self._open:
                one.close()
            self._open.clear()

    def _shut_down(self) -> None:
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class _Opening(threading.local):
    """Sockets of the session of this thread."""

    sockets: Sockets | None = None


_OPENING = _Opening()


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _added(super()._new_conn())


class _TlsConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _added(super()._new_conn())


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        super().init_poolmanager(*arguments, **more)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *arguments: Any, **more: Any) -> ProxyManager:
        manager: ProxyManager = super().proxy_manager_for(*arguments, **more)
        manager.pool_classes_by_scheme = _POOLS
        return manager


def session(sockets: Sockets) -> requests.Session:
    """A session for the calling thread alone, whose connections are in `sockets`."""
    _OPENING.sockets = sockets
    made = requests.Session()
    for scheme in _POOLS:
        made.mount(f"{scheme}://", _Adapter())
    return made


def _added(opened: socket.socket) -> socket.socket:
    if _OPENING.sockets is not None:
        _OPENING.sockets.add(opened)
    return opened
