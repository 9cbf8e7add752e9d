"""Files that decide what runs here: taken only from who may decide it anyway."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from tidemark.core.errors import UsageError


def refuse_foreign(path: Path, what: str, trusted: str = "") -> None:
    """Refuse a file or folder that another user owns or may change; nothing where it is not there.

    Parameters
    ----------
    path, what:
        Of the file, and what it is to people.
    trusted:
        Name or number of one more user who may own it.

    Raises
    ------
    UsageError
        Names the owner or the mode, and the fix.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    if found.st_uid not in {os.geteuid(), 0, *_number(trusted)}:
        raise UsageError(f"{what} {path} belongs to user {found.st_uid}, who could change it.", "use one of your own.")
    if found.st_mode & stat.S_IWOTH:
        raise UsageError(f"everybody may write {what} {path}.", f"chmod o-w {path}, if what is in it is yours.")


def _number(user: str) -> list[int]:
    if user.isdigit() or not user:
        return [int(user)] if user else []
    try:
        return [pwd.getpwnam(user).pw_uid]
    except KeyError:
        raise UsageError(f"this machine has no user {user!r}.", "name one that it has, or its number.") from None
