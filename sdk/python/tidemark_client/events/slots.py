"""Who owns which file of a spool directory: a lease that the kernel ends with its process, however that dies."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from tidemark_client.events.errors import SpoolError
from tidemark_client.keys import encoded

# More processes on one directory than this are a mistake.
_MOST = 4_096
_NAME_CHARACTERS = 60


class Slot:
    """One file of events that this process alone writes and sends, until it is released or the process ends.

    Parameters
    ----------
    file:
        Where the events are.
    """

    def __init__(self, file: Path, lock: int) -> None:
        self.file = file
        self._lock = lock

    def release(self) -> None:
        """Let another process have it. In a fork it lets go of the parent's lease, which the parent keeps."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def folder_of(directory: Path, tenant: str) -> Path:
    """The folder of a tenant: events of two tenants are sent with different keys."""
    digest = hashlib.sha256(tenant.encode()).hexdigest()[:12]
    return directory / f"{encoded(tenant)[:_NAME_CHARACTERS]}-{digest}"


def made(folder: Path) -> Path:
    """The folder, made for its owner alone where it is missing: events name customers.

    Raises
    ------
    SpoolError
        It cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SpoolError(f"the spool {folder} cannot be made: {error}. Give a folder that can be written.") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SpoolError(f"the spool {folder} cannot be written by user {os.getuid()}: change its owner or mode.")
    return folder


def first_free(folder: Path) -> Slot:
    """The first slot that nobody owns, with what a process that ended left in it; raises SpoolError."""
    for number in range(_MOST):
        slot = _take(folder / f"events-{number}.db")
        if slot is not None:
            return slot
    raise SpoolError(f"all {_MOST} files of the spool {folder} are in use.")


def orphans(folder: Path) -> Iterator[Slot]:
    """Slots with a file that nobody owns, taken; the caller releases each."""
    for file in sorted(folder.glob("events-*.db")):
        slot = _take(file)
        if slot is not None:
            yield slot


def _take(file: Path) -> Slot | None:
    # The lock file is never removed: two processes might lock two files of one name.
    lock = os.open(file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    except OSError:
        os.close(lock)
        raise
    return Slot(file, lock)
