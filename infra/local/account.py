"""Who a local stack runs as: who starts it, and where that is root, a user that is nobody on this machine."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.local.paths import Paths
from tidemark.core.errors import UnavailableError

# Neither Debian nor systemd gives these to anybody, and a container that maps 65536 users has them.
NUMBERS = range(60_900, 61_100)


@dataclass(frozen=True, slots=True)
class Account:
    """Numbers of a user and of its group."""

    uid: int
    gid: int

    @classmethod
    def of(cls, root: Path) -> Account:
        """Whoever the stack in a folder runs as; once made, it keeps its user while nobody else gets that number.

        Raises
        ------
        UnavailableError
            Every number is taken.
        """
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid())
        kept = root.stat().st_gid if root.is_dir() else 0
        for number in (kept, *NUMBERS):
            if number in NUMBERS and _is_nobody(number):
                return cls(number, number)
        raise UnavailableError(f"users of this machine have all numbers from {NUMBERS.start} to {NUMBERS.stop - 1}.")

    @property
    def is_other(self) -> bool:
        """Whether it is somebody else than this process."""
        return self.uid != os.geteuid()

    def admit(self, folder: Path) -> None:
        """Let the services into a folder, and nobody else."""
        _give(folder, os.geteuid(), self.gid, 0o750 if self.is_other else 0o700)

    def own(self, path: Path) -> None:
        """Give a file, or a folder with all that is in it, to the services alone."""
        for one in tree(path):
            _give(one, self.uid, self.gid, 0o700)

    def show(self, path: Path) -> None:
        """Let the services read a file, or a folder with all that is in it, and not change it."""
        for one in tree(path):
            _give(one, os.geteuid(), self.gid, 0o750 if self.is_other else 0o700)

    def settle(self, paths: Paths) -> None:
        """Give a stack what it writes and its secrets; its configuration it reads."""
        for path in (paths.settings, paths.ports, paths.conf, paths.kafka_jobs, paths.certificates.folder):
            self.show(path)
        for path in paths.secrets:
            self.own(path)
        for path in (paths.logs, paths.work, paths.data, *_in(paths.data)):
            # The rest is long and has been given before.
            if path.stat().st_uid != self.uid:
                self.own(path)


def _is_nobody(number: int) -> bool:
    for look_up in (pwd.getpwuid, grp.getgrgid):
        try:
            look_up(number)
        except KeyError:
            continue
        return False
    return True


def tree(path: Path) -> Iterator[Path]:
    """A file, or a folder and all that is in it; nothing where it is not there, or has gone meanwhile."""
    if path.exists():
        yield path
    for folder, folders, files in os.walk(path):
        yield from (Path(folder, name) for name in (*folders, *files))


def _in(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())


def _give(path: Path, uid: int, gid: int, most: int) -> None:
    if path.is_symlink():
        return os.lchown(path, uid, gid)
    mode = path.stat().st_mode
    readable = most & 0o444 | (mode & 0o100 and most & 0o111) | mode & 0o200
    os.chown(path, uid, gid)
    return path.chmod(readable)
