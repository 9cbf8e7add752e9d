"""Runs a program of a stack as its own user, who reaches what it needs and may do one thing more: enter Debian's tree.

To be started under `unshare --mount`: what is mounted here exists for the program alone and ends with it, other stacks
on the same tree do not see it, and no `rm` outside can reach through it.
"""

from __future__ import annotations

import ctypes
import json
import os
import stat
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

# Where Postgres sees its data, inside the tree.
POSTGRES_DATA = "/srv/tidemark"
# Users as the tree and everything else see them: initdb and Hadoop's classes ask for the name of their own.
USERS_FILE, OUTER_USERS_FILE = "users", "outer-users"
_MS_BIND, _MS_REC = 4096, 16384
_ONE_RIGHT = "-all,+sys_chroot"
# What a program is started with that has no need of that right.
BARE = ("setpriv", "--inh-caps=-all", "--ambient-caps=-all")


@dataclass(frozen=True, slots=True)
class Confinement:
    """How to run a program.

    Parameters
    ----------
    uid, gid:
        As whom.
    reach:
        Paths that it needs; folders above them may belong to root alone, as /root does.
    rootfs:
        The Debian tree.
    data, beside:
        Folders that the tree gets as `POSTGRES_DATA` and /tmp; the second has both files of users.
    """

    uid: int
    gid: int
    reach: tuple[str, ...]
    rootfs: str
    data: str
    beside: str

    def command(self, program: Iterable[str]) -> list[str]:
        """The call of a program."""
        # Who is not root has to be alone in a space of users to mount something.
        users = ["--user", "--map-current-user", "--keep-caps"] if os.geteuid() else []
        unshared = ["unshare", *users, "--mount", "--propagation", "private"]
        # As a script, for which nothing of this environment is loaded: it runs at each `up`.
        return [*unshared, sys.executable, "-I", "-S", __file__, json.dumps(asdict(self)), *program]

    def enter(self, program: list[str]) -> None:
        """Mount, change the user, and become the program."""
        make_reachable([Path(path) for path in self.reach])
        self._furnish()
        os.umask(0o077)
        user = [f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"] if os.geteuid() == 0 else []
        rights = [f"--{kind}={_ONE_RIGHT}" for kind in ("inh-caps", "ambient-caps", "bounding-set")]
        os.execvp("setpriv", ["setpriv", *user, "--no-new-privs", *rights, *program])  # noqa: S606 - no shell is wanted

    def _furnish(self) -> None:
        tree = Path(self.rootfs)
        _bind(self.data, tree / POSTGRES_DATA.lstrip("/"))
        _bind(self.beside, tree / "tmp")
        _bind("/dev", tree / "dev")
        _bind(Path(self.beside) / USERS_FILE, tree / "etc/passwd")
        _bind(Path(self.beside) / OUTER_USERS_FILE, Path("/etc/passwd"))


def make_reachable(paths: list[Path]) -> None:
    """Put an empty folder over each that keeps others out, with nothing in it but folders that are needed."""
    os.umask(0o022)
    while closed := min(filter(None, map(closed_above, paths)), default=None, key=lambda path: len(path.parts)):
        needed = _outermost([path for path in paths if closed in path.parents])
        held = {path: os.open(path, os.O_PATH) for path in needed}
        _mount("tmpfs", closed, 0, "tmpfs", "mode=0755")
        for path, descriptor in held.items():
            path.mkdir(mode=0o755, parents=True)
            _bind(f"/proc/self/fd/{descriptor}", path)
            os.close(descriptor)


def closed_above(path: Path) -> Path | None:
    """The outermost folder above a path that only its owner enters."""
    return next((one for one in reversed(path.parents) if not one.stat().st_mode & stat.S_IXOTH), None)


def _outermost(paths: list[Path]) -> list[Path]:
    return [path for path in set(paths) if not any(other in path.parents for other in paths)]


def _bind(source: str | Path, target: Path) -> None:
    _mount(source, target, _MS_BIND | _MS_REC)


def _mount(source: str | Path, target: Path, flags: int, kind: str | None = None, options: str | None = None) -> None:
    texts = [os.fsencode(text) if text else None for text in (source, target, kind, options)]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), f"mounting {source} on {target}")


if __name__ == "__main__":
    Confinement(**json.loads(sys.argv[1])).enter(sys.argv[2:])
