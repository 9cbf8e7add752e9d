"""Postgres for the intake of alerts: offsets, and the policy by alert time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import LiteralString

import psycopg

from tidemark.alerts.policy import Policy, policy_of
from tidemark.catalog.policy import read_policy
from udfs.values import instant

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


def offsets(connection: psycopg.Connection, topic: str) -> dict[int, int]:
    """Next offset by partition; empty before the first."""
    return dict(connection.execute(_OFFSETS, [topic]).fetchall())


def remember(connection: psycopg.Connection, topic: str, offsets: Mapping[int, int]) -> None:
    """Store how far the topic was taken."""
    with connection.cursor() as cursor:
        cursor.executemany(_REMEMBER, [(topic, partition, offset) for partition, offset in sorted(offsets.items())])


def now_ms(connection: psycopg.Connection) -> int:
    """Clock of the database, UTC epoch ms: of the transaction, if there is one."""
    return int(connection.execute("SELECT floor(extract(epoch FROM now()) * 1000)::bigint").fetchall()[0][0])


def policy_between(connection: psycopg.Connection, first_ms: int, last_ms: int) -> Callable[[int], Policy]:
    """The policy by instant, for instants from the first to the last, UTC epoch ms."""
    first, last = (instant(ms) for ms in (first_ms, last_ms))
    changes = [row[0] for row in connection.execute(_CHANGES, {"first": first, "last": last})]
    starts = [first, *changes]
    rows = [read_policy(connection, start) for start in starts]
    policies = [policy_of((row.kind, row.name, row.body, row.version_ms) for row in version) for version in rows]

    def policy_at(at_ms: int) -> Policy:
        return policies[bisect_right(starts, instant(at_ms)) - 1]

    return policy_at
