"""Clients of this process, for what happens to all of them: a fork, and the end."""

from __future__ import annotations

import atexit
import os
import sys
from typing import Protocol


class Live(Protocol):
    """A client, as forks and the end see it."""

    def before_fork(self) -> None:
        """Let go of what must not be carried into a child."""

    def after_fork(self) -> None:
        """Go on, in the process that forked."""

    def in_child(self) -> None:
        """Begin anew, in the process that was forked."""

    def at_exit(self) -> None:
        """Leave nothing in memory."""


# Strong: a client that nobody holds any more still has events to send.
_live: list[Live] = []


def add(client: Live) -> None:
    """Take a client along from now on."""
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
    for client in _live:
        client.before_fork()


def _after() -> None:
    for client in reversed(_live):
        client.after_fork()


def _child() -> None:
    for client in reversed(_live):
        client.in_child()


@atexit.register
def _exit() -> None:
    for client in [*_live]:
        client.at_exit()


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_child)
