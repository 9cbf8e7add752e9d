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
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.poolmanager import PoolManager
from urllib3.util.connection import create_connection

from tidemark.delivery.reach import Reach


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
    """Sockets of the session of this thread, and where they may go."""

    sockets: Sockets
    reach: Reach


_OPENING = _Opening()


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _opened(self)


class _TlsConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _opened(self)


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


def session(sockets: Sockets, reach: Reach) -> requests.Session:
    """A session for the calling thread alone, whose connections are in `sockets` and go where they may."""
    _OPENING.sockets, _OPENING.reach = sockets, reach
    made = requests.Session()
    # Nothing of the environment: a proxy connects where nobody checks, and .netrc replaces the header of a secret.
    made.trust_env = False
    made.verify = True if reach.ca_file is None else str(reach.ca_file)
    for scheme in _POOLS:
        made.mount(f"{scheme}://", _Adapter())
    return made


def _opened(connection: HTTPConnection) -> socket.socket:
    """A connection to one of the addresses that are allowed, the same that was checked.

    Raises
    ------
    ReachError
        None is allowed.
    ConnectTimeoutError, NewConnectionError
        None answers.
    """
    try:
        opened = _connected(connection)
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, "no connection in time") from error
    except OSError as error:
        raise NewConnectionError(connection, str(error)) from error
    _OPENING.sockets.add(opened)
    return opened


def _connected(connection: HTTPConnection) -> socket.socket:
    failure = OSError("the name has no address")
    for address in _OPENING.reach.addresses(connection.host, connection.port):
        try:
            return create_connection(
                (address, connection.port), connection.timeout, socket_options=connection.socket_options
            )
        except OSError as error:
            failure = error
    raise failure
