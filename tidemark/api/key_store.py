"""API keys in Postgres: made, listed, revoked, rotated, and when they were last used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from psycopg.rows import class_row

from tidemark.api.keys import NewKey, StoredKey, new_key
from tidemark.core import audit
from tidemark.core.errors import UsageError

# Shared by all runs, as the catalog is: keys are of tenants.
SCHEMA = "api"

_INSERT = """
INSERT INTO api_key (key_id, tenant_id, name, scopes, secret_hash, created_by, expires_at)
VALUES (%(key_id)s, %(tenant)s, %(name)s, %(scopes)s, %(secret_hash)s, %(by)s, clock_timestamp() + %(lives)s::interval)
"""
_FIND = """
SELECT key_id, tenant_id, name, scopes, secret_hash, expires_at, revoked_at FROM api_key WHERE key_id = %s
"""
_LIST = """
SELECT key_id, tenant_id, name, scopes, created_at, created_by, expires_at, revoked_at, replaced_by, last_used_at
FROM api_key
WHERE (tenant_id = %(tenant)s OR %(tenant)s::text IS NULL)
  AND (%(everything)s OR (revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())))
ORDER BY tenant_id, created_at
"""
_REVOKE = "UPDATE api_key SET revoked_at = clock_timestamp() WHERE key_id = %s AND revoked_at IS NULL RETURNING key_id"
_ROTATE = """
INSERT INTO api_key (key_id, tenant_id, name, scopes, secret_hash, created_by)
SELECT %(new)s, tenant_id, name, scopes, %(secret_hash)s, %(by)s
FROM api_key
WHERE key_id = %(old)s AND revoked_at IS NULL AND replaced_by IS NULL
  AND (expires_at IS NULL OR expires_at > clock_timestamp())
"""
_REPLACE = """
UPDATE api_key
SET replaced_by = %(new)s, expires_at = least(expires_at, clock_timestamp() + %(overlap)s)
WHERE key_id = %(old)s
"""
_USED = "UPDATE api_key SET last_used_at = clock_timestamp() WHERE key_id = ANY (%s)"


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key as lists show it: without its hash."""

    key_id: str
    tenant_id: str
    name: str
    scopes: Sequence[str]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    replaced_by: str | None
    last_used_at: datetime | None


def create(
    connection: psycopg.Connection, tenant: str, scopes: Iterable[str], name: str, by: str,
    lives: timedelta | None = None,
) -> NewKey:  # fmt: skip
    """Make a key of a tenant; what is returned has the text that nobody can read again."""
    made, named = new_key(), sorted(set(scopes))
    row = {"key_id": made.key_id, "tenant": tenant, "name": name, "scopes": named,
           "secret_hash": made.secret_hash, "by": by, "lives": lives}  # fmt: skip
    with connection.transaction():
        connection.execute(_INSERT, row)
        audit.record(connection, "", "keys.create", made.key_id, by=by, tenant=tenant, name=name, scopes=named)
    return made


def find(connection: psycopg.Connection, key_id: str) -> StoredKey | None:
    """The key of an id, valid or not."""
    row = connection.execute(_FIND, [key_id]).fetchone()
    if row is None:
        return None
    key, tenant, name, scopes, secret_hash, expires_at, revoked_at = row
    return StoredKey(key, tenant, name, frozenset(scopes), bytes(secret_hash), expires_at, revoked_at)


def listed(connection: psycopg.Connection, tenant: str | None, *, everything: bool) -> list[ListedKey]:
    """Keys of a tenant (None: of all), the oldest first; with `everything` also those that are no longer valid."""
    with connection.cursor(row_factory=class_row(ListedKey)) as cursor:
        return cursor.execute(_LIST, {"tenant": tenant, "everything": everything}).fetchall()


def revoke(connection: psycopg.Connection, key_id: str, by: str = "") -> None:
    """End a key; raises UsageError where no valid key has the id."""
    with connection.transaction():
        if connection.execute(_REVOKE, [key_id]).fetchone() is None:
            raise _no_key(key_id)
        audit.record(connection, "", "keys.revoke", key_id, by=by)


def rotate(connection: psycopg.Connection, key_id: str, overlap: timedelta, by: str) -> NewKey:
    """Make a key with the tenant, name and scopes of another, which ends after `overlap`; raises UsageError."""
    made = new_key()
    values = {"old": key_id, "new": made.key_id, "secret_hash": made.secret_hash, "by": by, "overlap": overlap}
    with connection.transaction():
        if connection.execute(_ROTATE, values).rowcount == 0:
            raise _no_key(key_id)
        connection.execute(_REPLACE, values)
        audit.record(connection, "", "keys.rotate", key_id, by=by, into=made.key_id)
    return made


def used(connection: psycopg.Connection, key_ids: Iterable[str]) -> None:
    """Say that keys were used just now."""
    connection.execute(_USED, [sorted(key_ids)])


def _no_key(key_id: str) -> UsageError:
    return UsageError(f"no valid key has the id {key_id!r}.", "`tidemark keys list` shows which there are.")
