"""Clients of this process, for what happens to all of them: a fork, and the end."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from typing import Protocol


class Live(Protocol):
    """A client, as forks and the end see it."""

    def before_fork(self) -> Callable[[], None]:
        """Let go of what must not be carried into a child; returns what goes on, in the process that forked."""

    def in_child(self) -> None:
        """Begin anew, in the process that was forked."""

    def at_exit(self) -> None:
        """Leave nothing in memory."""


# Strong: a client that nobody holds any more still has events to send.
_live: list[Live] = []
# Held while a client begins, and while the process forks: whoever opens a file holds locks of SQLite, and a child that
# gets them held would wait for ever.
beginning = threading.RLock()
# The clients of the fork that is under way, and what lets each go on; other threads may close them meanwhile.
_forked: list[Live] = []
_go_on: list[Callable[[], None]] = []


def add(client: Live) -> None:
    """Take a client along from now on; with `beginning` held since before it had an engine."""
    _live.append(client)


def remove(client: Live) -> None:
    """Forget a client that was closed."""
    if client in _live:
        _live.remove(client)


def at_end_of_worker(client: Live) -> None:
    """Have a worker of multiprocessing, which ends without `atexit`, leave nothing in memory either."""
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        from multiprocessing.util import Finalize  # noqa: PLC0415  of what the program has imported

        Finalize(None, client.at_exit, exitpriority=0)


def _before() -> None:
    beginning.acquire()
    _forked[:] = [*_live]
    _go_on.clear()
    _go_on.extend(client.before_fork() for client in _forked)


def _after() -> None:
    try:
        for go_on in reversed(_go_on):
            go_on()
    finally:
        beginning.release()


def _child() -> None:
    try:
        for client in _forked:
            client.in_child()
    finally:
        beginning.release()


@atexit.register
def _exit() -> None:
    for client in [*_live]:
        client.at_exit()


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_child)
