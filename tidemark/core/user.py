"""Who runs this process, for the record."""

from __future__ import annotations

import getpass


def user() -> str:
    """Login name as the system knows it; `unknown` where there is none, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
