"""API keys: how they are made, what of them is stored, what they allow. Pure.

A key is `tmk_ID_SECRET`: the id names it in lists and logs, the secret has 256 random bits, and by the prefix those who
scan repositories find one that leaked.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from hmac import compare_digest
from typing import Literal, get_args

from tidemark.api.problem import Problem

Scope = Literal["ingest", "read", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "tmk"
_ID_CHARACTERS = "abcdefghijklmnopqrstuvwxyz234567"
_ID_LENGTH = 12
_SECRET_BYTES = 32
_FORM = re.compile(rf"{PREFIX}_([a-z2-7]{{{_ID_LENGTH}}})_[A-Za-z0-9_-]{{43}}", re.ASCII)
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="tidemark"'}


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made: `text` is shown once, the rest is stored."""

    key_id: str
    text: str

    @property
    def secret_hash(self) -> bytes:
        """What is stored of `text`."""
        return hash_of(self.text)


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as it is stored.

    Parameters
    ----------
    key_id, tenant, name, scopes:
        What names it, whose it is, and what it allows.
    secret_hash:
        SHA-256 of the whole key.
    expires_at, revoked_at:
        From when on it is refused; None for never.
    """

    key_id: str
    tenant: str
    name: str
    scopes: frozenset[str]
    secret_hash: bytes
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def allows(self, scope: Scope) -> bool:
        """Whether it may be used for this; `admin` includes the others."""
        return scope in self.scopes or "admin" in self.scopes

    def is_valid(self, text: str, now: datetime) -> bool:
        """Whether this is the key, and still good."""
        return compare_digest(self.secret_hash, hash_of(text)) and self.is_current(now)

    def is_current(self, now: datetime) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


def new_key(choose: Callable[[str], str] = secrets.choice) -> NewKey:
    """A key that nobody has."""
    key_id = "".join(choose(_ID_CHARACTERS) for _ in range(_ID_LENGTH))
    return NewKey(key_id, f"{PREFIX}_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}")


def hash_of(text: str) -> bytes:
    """SHA-256 of a key: with 256 random bits in it, nothing slower is needed."""
    return sha256(text.encode()).digest()


def id_of(text: str) -> str | None:
    """The id in a key; None for what is no key."""
    match = _FORM.fullmatch(text)
    return None if match is None else match[1]


def bearer(authorization: str | None) -> str:
    """The key in an Authorization header; raises Problem where there is none."""
    scheme, _, text = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise unauthorized("no key was sent; send `Authorization: Bearer KEY`.")
    return text.strip()


def unauthorized(detail: str) -> Problem:
    """The answer to a request without a key, or with one that is not valid."""
    return Problem(401, "unauthorized", detail, headers=_CHALLENGE)


def check(key: StoredKey | None, text: str, scope: Scope, now: datetime) -> StoredKey:
    """The key, if it is valid and allows this.

    Raises
    ------
    Problem
        401 where it is no valid key, and which of its faults is not said; 403 where it lacks the scope.
    """
    if key is None or not key.is_valid(text, now):
        raise unauthorized(
            "the key is not known, was revoked, or has expired; `tidemark keys list TENANT` shows which."
        )
    if not key.allows(scope):
        detail = f"key {key.key_id} has the scopes {', '.join(sorted(key.scopes))}; this needs {scope}."
        raise Problem(403, "forbidden", detail)
    return key
