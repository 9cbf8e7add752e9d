"""Ends processes that a stack left behind, found by a mark in their environment; runs before a TaskManager starts."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

# Repeated from programs.py: this module starts before every TaskManager and must not load pyflink.
STACK_MARK = "TIDEMARK_STACK"
PROGRAM_MARK = "TIDEMARK_PROGRAM"
_POLL_S = 0.1


def marked(root: Path, program: str = "") -> dict[int, str]:
    """Find processes of a stack outside the caller's own process group: pid and the program each belongs to."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (name := _mark(entry, root)) and (not program or name == program):
            found[int(entry.name)] = name
    return found


def _mark(process: Path, root: Path) -> str:
    try:
        environment = (process / "environ").read_bytes().split(b"\0")
        if f"{STACK_MARK}={root}".encode() not in environment or os.getpgid(int(process.name)) == os.getpgrp():
            return ""
    except OSError:
        return ""  # it has ended meanwhile, or belongs to someone else
    prefix = f"{PROGRAM_MARK}=".encode()
    return next((part[len(prefix) :].decode() for part in environment if part.startswith(prefix)), "")


def reap(root: Path, program: str = "", grace_s: float = 10.0) -> int:
    """End the marked processes: first TERM, after `grace_s` KILL; returns their number."""
    first = marked(root, program)
    for pid, name in first.items():
        # Postgres waits for its clients on TERM; INT is its fast shutdown.
        _send(pid, signal.SIGINT if name == "postgres" else signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while (left := marked(root, program)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    for pid in left:
        _send(pid, signal.SIGKILL)
    return len(first)


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    reap(Path(sys.argv[1]), sys.argv[2], grace_s=1.0)
