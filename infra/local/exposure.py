"""What of a stack others may read or change, and who its processes run as."""

from __future__ import annotations

import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from infra.local.account import NUMBERS, Account, tree
from infra.local.paths import Paths
from infra.local.reap import marked
from infra.local.supervise import Supervisor


@dataclass(frozen=True, slots=True)
class Process:
    """A process of a stack: its program, and the number of its user."""

    pid: int
    program: str
    uid: int


def files(root: Path) -> list[Path]:
    """Files and folders of a stack that somebody else than root and its own user may read or change."""
    account = Account.of(root)
    return [path for path in tree(root) if _is_exposed(path, account.gid)]


def processes(paths: Paths) -> list[Process]:
    """Every process of a stack, with its supervisor."""
    supervisor = Supervisor(paths).pid()
    every = marked(paths.root) | ({supervisor: "supervisord"} if supervisor else {})
    found = []
    for pid, program in every.items():
        with suppress(FileNotFoundError):
            found.append(Process(pid, program, Path(f"/proc/{pid}").stat().st_uid))
    return found


def _is_exposed(path: Path, gid: int) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    # The group of a user that is nobody has no other member.
    own_group = found.st_gid == gid in NUMBERS
    return not stat.S_ISLNK(found.st_mode) and bool(found.st_mode & (stat.S_IRWXO | (0 if own_group else stat.S_IRWXG)))
