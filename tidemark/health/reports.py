"""What processes of `tidemark serve` report of their roles, in Postgres: how one is seen from another machine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tidemark.health.state import RoleReport
from udfs.values import instant

# Reports of processes that are gone are kept for so long, and the last one of a role for ever.
_KEPT = "1 hour"
_WRITE = """
INSERT INTO role_report (role, instance, state, ready, reason, succeeded_at, figures, reported_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, clock_timestamp())
ON CONFLICT (role, instance) DO UPDATE SET state = excluded.state, ready = excluded.ready, reason = excluded.reason,
    succeeded_at = excluded.succeeded_at, figures = excluded.figures, reported_at = excluded.reported_at
"""
_FORGET = f"""
DELETE FROM role_report old
WHERE old.reported_at < clock_timestamp() - interval '{_KEPT}'
  AND EXISTS (SELECT FROM role_report newer WHERE newer.role = old.role AND newer.reported_at > old.reported_at)
"""
_READ = """
SELECT role, instance, state, ready, reason, figures,
       greatest(extract(epoch FROM clock_timestamp() - reported_at), 0)::float AS age_s,
       extract(epoch FROM succeeded_at)::float AS succeeded_at
FROM role_report
ORDER BY role, reported_at DESC, instance
"""


def write(connection: psycopg.Connection, reports: Iterable[RoleReport]) -> None:
    """Store the reports of a process, in one transaction, and forget old ones of processes that are gone."""
    rows = [
        (
            one.role, one.instance, one.state, one.ready, one.reason,
            None if one.succeeded_at is None else instant(round(one.succeeded_at * 1_000)), Jsonb(dict(one.figures)),
        )
        for one in reports
    ]  # fmt: skip
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(_WRITE, rows)
        cursor.execute(_FORGET)


def read(connection: psycopg.Connection) -> tuple[RoleReport, ...]:
    """All reports, by role, the latest first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows: list[dict[str, Any]] = cursor.execute(_READ).fetchall()
    return tuple(RoleReport(**row) for row in rows)
