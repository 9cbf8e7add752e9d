"""The two-person rule: which actions take an approval of another login, and the approvals."""

from __future__ import annotations

from collections.abc import Collection

import psycopg

from tidemark.core import audit

_STORED = "SELECT action FROM audit.two_person"
_ADD = "INSERT INTO audit.two_person (action) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING"
_REMOVE = "DELETE FROM audit.two_person WHERE action <> ALL (%s::text[])"


def store(connection: psycopg.Connection, actions: Collection[str] | None) -> bool:
    """Let the rule hold for these actions and no others, as the owner; None: it stays. Whether it was changed."""
    if actions is None or stored(connection) == {*actions}:
        return False
    with connection.transaction():
        audit.record(connection, "", "audit.two_person", "audit.two_person", actions=sorted(actions))
        connection.execute(_ADD, [[*actions]])
        connection.execute(_REMOVE, [[*actions]])
    return True


def stored(connection: psycopg.Connection) -> set[str]:
    """Actions that the rule holds for."""
    return {row[0] for row in connection.execute(_STORED).fetchall()}


def approve(connection: psycopg.Connection, run_id: str, action: str, subject: str, by: str = "") -> int:
    """Approve one act of another login, within a day; returns the number of the entry."""
    return audit.record(connection, run_id, "audit.approve", subject, by=by, approves=action)
