"""The ACL file of Redis: rights of schemas/redis/users.acl, with the hash of each user's password."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources import files

# Of the local stack: what an administrator of a Redis may do; no part of Tidemark uses it.
ADMIN = "admin"


def rules() -> dict[str, str]:
    """Rights by user, as Redis writes them."""
    text = files("schemas").joinpath("redis/users.acl").read_text("utf-8")
    lines = (line.split(" ", 2) for line in text.splitlines() if line.startswith("user "))
    return {**{user: right for _user, user, right in lines}, ADMIN: "on ~* &* +@all"}


def acl_file(passwords: Mapping[str, str]) -> str:
    """The file for these users' passwords; a user without one is left out, and cannot log in."""
    return "".join(f"user {user} {_with(right, passwords.get(user))}\n" for user, right in rules().items()
                   if user in passwords or right.startswith("off "))  # fmt: skip


def _with(right: str, password: str | None) -> str:
    if password is None:
        return right
    return right.replace("on ", f"on #{hashlib.sha256(password.encode()).hexdigest()} ", 1)
