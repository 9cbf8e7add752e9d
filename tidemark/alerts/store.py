"""Postgres for the intake of alerts: its connection, the one right to take, offsets, and the policy by alert time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import LiteralString

import psycopg
from psycopg import sql

from tidemark.alerts.policy import Policy, policy_of
from tidemark.catalog.policy import read_policy
from tidemark.core.errors import TidemarkError
from tidemark.core.names import Names
from tidemark.core.settings import PostgresSettings
from udfs.postgres import connect
from udfs.values import instant

STATEMENT_TIMEOUT_MS = 30_000

_OFFSETS: LiteralString = "SELECT partition, next_offset FROM alert_intake WHERE topic = %s"
_REMEMBER: LiteralString = """
INSERT INTO alert_intake (topic, partition, next_offset) VALUES (%s, %s, %s)
ON CONFLICT (topic, partition) DO UPDATE SET next_offset = EXCLUDED.next_offset
WHERE alert_intake.next_offset <> EXCLUDED.next_offset
"""
_CHANGES: LiteralString = """
SELECT DISTINCT changed_at
FROM (SELECT valid_from FROM catalog.alert_policy UNION ALL SELECT valid_to FROM catalog.alert_policy) AS t (changed_at)
WHERE changed_at > %(first)s AND changed_at <= %(last)s
ORDER BY changed_at
"""


def opened(postgres: PostgresSettings, names: Names) -> psycopg.Connection:
    """Connection in the schema of the run."""
    connection = connect(postgres.url, statement_timeout_ms=STATEMENT_TIMEOUT_MS, application_name="tidemark alerts")
    connection.execute(sql.SQL("SET search_path TO {}, public").format(sql.Identifier(names.usage_schema)))
    return connection


def claim(connection: psycopg.Connection, names: Names) -> None:
    """Be the one intake of this run; the claim goes with the connection.

    Raises
    ------
    TidemarkError
        Another connection has it.

    """
    name = f"tidemark alerts {names.usage_schema}"
    row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [name]).fetchone()
    if row is None or not row[0]:
        raise TidemarkError(f"another intake of {names.alerts} is at work.", "end one of the two.")


def offsets(connection: psycopg.Connection, topic: str) -> dict[int, int]:
    """Next offset by partition; empty before the first."""
    return dict(connection.execute(_OFFSETS, [topic]).fetchall())


def remember(connection: psycopg.Connection, topic: str, offsets: Mapping[int, int]) -> None:
    """Keep how far the topic was taken."""
    with connection.cursor() as cursor:
        cursor.executemany(_REMEMBER, [(topic, partition, offset) for partition, offset in sorted(offsets.items())])


def now_ms(connection: psycopg.Connection) -> int:
    """Clock of the database, UTC epoch ms: of the transaction, if there is one."""
    return int(connection.execute("SELECT floor(extract(epoch FROM now()) * 1000)::bigint").fetchall()[0][0])


def policy_between(connection: psycopg.Connection, first_ms: int, last_ms: int) -> Callable[[int], Policy]:
    """The policy by instant, for instants from the first to the last, UTC epoch ms."""
    first, last = (instant(ms) for ms in (first_ms, last_ms))
    changes = [row[0] for row in connection.execute(_CHANGES, {"first": first, "last": last})]
    begins = [first, *changes]
    rows = [read_policy(connection, begin) for begin in begins]
    policies = [policy_of((one.kind, one.name, one.body, one.version_ms) for one in some) for some in rows]

    def policy_at(at_ms: int) -> Policy:
        return policies[bisect_right(begins, instant(at_ms)) - 1]

    return policy_at
