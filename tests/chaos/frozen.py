"""Processes of the stack that are killed, or stopped where they are to go on later as if nothing had happened."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from infra.local.reap import marked


def processes(stack: Any, program: str) -> list[int]:
    """The processes of a program of the stack: of a TaskManager its Python workers too."""
    found = list(marked(stack.local.paths.root, program))
    assert found, f"no process of {program} was found"
    return found


def jvm(pids: Iterable[int]) -> list[int]:
    """Those of them that run Java: of a TaskManager itself, whatever its Python workers became."""
    return [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text().strip() == "java"]


def send(pids: Iterable[int], what: signal.Signals) -> None:
    """Send a signal to each that is still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, what)


def kill(stack: Any, program: str) -> None:
    """kill -9 of a program, of a TaskManager with its Python workers; the supervisor of the stack starts it again."""
    for pid in processes(stack, program):
        os.kill(pid, signal.SIGKILL)


@contextmanager
def frozen(pids: list[int]) -> Iterator[None]:
    """They stand still in the block."""
    send(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        send(pids, signal.SIGCONT)
