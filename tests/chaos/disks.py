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

    def mount(self) -> None:
        """Put it over the folder, with what is in there."""
        copy = f"mkdir -p {self._folder} && cd {self._folder} && tar cf /dev/shm/{os.getpid()}.tar ."
        back = f"cd {self._folder} && tar xpf /dev/shm/{os.getpid()}.tar && rm /dev/shm/{os.getpid()}.tar"
        mount = f"mount -t tmpfs -o size={_SIZE} tmpfs {self._folder}"
        self._run("sh", "-c", f"{copy} && {mount} && {back}")

    def fill(self) -> None:
        """Leave next to nothing free."""
        seen = os.statvfs(f"/proc/{self._inside}/root{self._folder}")
        used = (seen.f_blocks - seen.f_bfree) * seen.f_frsize
        self._size(str(used + _LEFT))

    def free(self) -> None:
        """Make it as large as it was."""
        self._size(_SIZE)

    def unmount(self) -> None:
        """Take it away, with all that is in it."""
        self._run("umount", "--lazy", str(self._folder))

    @contextmanager
    def full(self) -> Iterator[None]:
        """It is full in the block."""
        self.fill()
        try:
            yield
        finally:
            self.free()

    def _size(self, size: str) -> None:
        self._run("mount", "-o", f"remount,size={size}", str(self._folder))

    def _run(self, *command: str) -> None:
        subprocess.run(["nsenter", f"--mount=/proc/{self._inside}/ns/mnt", *command], check=True)


@contextmanager
def disk_of(stack: Any, programs: Sequence[str], folder: Path) -> Iterator[Disk]:
    """Services of the stack with a file system of their own for a folder; afterwards they have the old one again."""
    supervisor = stack.local.supervisor
    disk = Disk(folder, supervisor.pid())
    for program in programs:
        supervisor.stop_program(program)
    disk.mount()
    try:
        at_work(stack, programs)
        yield disk
    finally:
        for program in programs:
            supervisor.stop_program(program)
        disk.unmount()
        at_work(stack, programs)


def at_work(stack: Any, programs: Sequence[str]) -> None:
    """Start what the supervisor has given up, as `tidemark up` does, and wait until all answer."""
    for program in programs:
        wait_until(lambda program=program: _started(stack, program), WITHIN_S, f"{program} to come back")  # type: ignore[misc]


def _started(stack: Any, program: str) -> bool:
    ports = read_ports(stack.local.paths.ports)
    assert ports is not None
    stack.local.supervisor.start_program(program)
    return probes.ask(program, ports, stack.local.paths).ready
