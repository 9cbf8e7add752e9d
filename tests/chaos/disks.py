"""Disks that are full: a file system of its own for a folder of a service, which shrinks to what is used, and grows."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.local import probes
from infra.local.ports import read_ports
from jobs.flink.rest import wait_until

WITHIN_S = 180.0
_SIZE = "1g"
_LEFT = 128 * 1024


class Disk:
    """A file system in memory.

    Parameters
    ----------
    folder:
        Where it is mounted.
    inside:
        A process that sees it: a stack has mounts of its own.
    """

    def __init__(self, folder: Path, inside: int) -> None:
        self._folder, self._inside = folder, inside
        self._seen = f"/proc/{inside}/root{folder}"

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """It is over the folder in the block, with what is in there; then it goes, with all that is in it."""
        covered = os.open(self._seen, os.O_PATH)
        try:
            self._run("mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(self._folder))
            try:
                self._copy(covered)
                yield
            finally:
                self._run("umount", "--lazy", str(self._folder))
        finally:
            os.close(covered)

    @contextmanager
    def full(self) -> Iterator[None]:
        """Next to nothing is free in the block."""
        now = os.statvfs(self._seen)
        self._size(str((now.f_blocks - now.f_bfree) * now.f_frsize + _LEFT))
        try:
            yield
        finally:
            self._size(_SIZE)

    def _copy(self, covered: int) -> None:
        # Kafka's indexes are sparse.
        pack, unpack = f"tar -C /proc/self/fd/{covered} -cSf - .", f"tar -C {self._seen} -xpSf - --numeric-owner"
        command = ["bash", "-o", "pipefail", "-c", f"{pack} | {unpack}"]
        subprocess.run(command, pass_fds=(covered,), check=True)

    def _size(self, size: str) -> None:
        self._run("mount", "-o", f"remount,size={size}", str(self._folder))

    def _run(self, *command: str) -> None:
        subprocess.run(["nsenter", f"--mount=/proc/{self._inside}/ns/mnt", *command], check=True)


@contextmanager
def disk_of(stack: Any, programs: Sequence[str], folder: Path) -> Iterator[Disk]:
    """Services of the stack with a file system of their own for a folder; afterwards they have the old one again."""
    disk = Disk(folder, stack.local.supervisor.pid())
    with ended(stack, programs), disk.mounted():
        at_work(stack, programs)
        try:
            yield disk
        finally:
            end(stack, programs)


@contextmanager
def ended(stack: Any, programs: Sequence[str]) -> Iterator[None]:
    """Services do not run when the block begins, and do after it."""
    try:
        end(stack, programs)
        yield
    finally:
        at_work(stack, programs)


def end(stack: Any, programs: Sequence[str]) -> None:
    """Stop services, each after those that need it."""
    for program in reversed(programs):
        stack.local.supervisor.stop_program(program)


def at_work(stack: Any, programs: Sequence[str]) -> None:
    """Start what the supervisor has given up, as `tidemark up` does, and wait until all answer."""
    for program in programs:
        wait_until(lambda program=program: _started(stack, program), WITHIN_S, f"{program} to come back")  # type: ignore[misc]


def _started(stack: Any, program: str) -> bool:
    ports = read_ports(stack.local.paths.ports)
    assert ports is not None
    stack.local.supervisor.start_program(program)
    return probes.ask(program, ports, stack.local.paths).ready
