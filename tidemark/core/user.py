"""Who runs this process, for the record."""

from __future__ import annotations

import getpass


def user() -> str:
    """Login name as the system knows it; `unknown` where there is none, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def stated(by: str | None) -> str:
    """The name that somebody gave, or else `user`."""
    return (by or "").strip() or user()
