"""Processes of the stack that are stopped where they are, and go on later as if nothing had happened."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from infra.local.reap import marked


def processes(stack: Any, program: str) -> list[int]:
    """The processes of a program of the stack: of a TaskManager its Python workers too."""
    found = list(marked(stack.local.paths.root, program))
    assert found, f"no process of {program} was found"
    return found


def send(pids: Iterable[int], what: signal.Signals) -> None:
    """Send a signal to each that is still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, what)


@contextmanager
def frozen(pids: list[int]) -> Iterator[None]:
    """They stand still in the block."""
    send(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        send(pids, signal.SIGCONT)
