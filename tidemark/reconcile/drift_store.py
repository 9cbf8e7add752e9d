"""Runs of the checks in Postgres: the differences they found, and their explanations."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from tidemark.billing.drift import Drift
from tidemark.core import audit
from tidemark.core.errors import StandbyError, TidemarkError, UsageError
from tidemark.core.names import Names
from tidemark.core.postgres import try_lock
from tidemark.reconcile.findings import Finding, Outcome, Subject
from tidemark.reconcile.sample import Wanted
from udfs.values import rfc3339

_RUN = """
INSERT INTO {schema}.reconcile_run (started_at, checks, checked, tenant_id, share, compared_from, offsets, outcome)
VALUES (%(started_at)s, %(checks)s, %(checked)s, %(tenant_id)s, %(share)s, %(compared_from)s, %(offsets)s, %(outcome)s)
RETURNING id, finished_at
"""
# An explained difference stays explained while runs find it again with the same values.
_DRIFT = """
INSERT INTO {schema}.drift (reconcile_id, check_name, tenant_id, customer_id, meter, subject, bucket_at, expected,
                            actual, delta, explained_at, explained_by, explanation)
SELECT %(reconcile_id)s, %(check_name)s, %(tenant_id)s, %(customer_id)s, %(meter)s, %(subject)s, %(bucket_at)s,
       %(expected)s, %(actual)s, %(delta)s, before.explained_at, before.explained_by, before.explanation
FROM (SELECT) AS single_row
LEFT JOIN LATERAL (
    SELECT d.explained_at, d.explained_by, d.explanation, d.expected, d.actual
    FROM {schema}.drift d
    WHERE d.check_name = %(check_name)s AND md5(d.subject) = md5(%(subject)s) AND d.subject = %(subject)s
    ORDER BY d.id DESC
    LIMIT 1
) before ON before.expected IS NOT DISTINCT FROM %(expected)s::text
        AND before.actual IS NOT DISTINCT FROM %(actual)s::text
ON CONFLICT (reconcile_id, check_name, subject) DO NOTHING
"""
_EXPLAIN = """
UPDATE {schema}.drift SET explained_at = clock_timestamp(), explained_by = %(by)s, explanation = %(because)s
WHERE id = %(id)s AND explained_at IS NULL
"""
_EXPLAINED = "SELECT explained_by, explained_at, explanation FROM {schema}.drift WHERE id = %s"
_COUNTS = "SELECT check_name, count(*) FROM {schema}.drift_open GROUP BY check_name ORDER BY check_name"
_LAST = """
SELECT DISTINCT ON (name) name, id, finished_at, (outcome -> name ->> 'compared')::bigint
FROM {schema}.reconcile_run, unnest(checked) AS name
ORDER BY name, id DESC
"""
_SEEN_BY = """
SELECT min(finished_at) FROM {schema}.reconcile_run
WHERE (offsets -> %(topic)s::text ->> %(partition)s::text)::bigint >= %(offset)s
"""


@dataclass(frozen=True, slots=True)
class Done:
    """A finished run, to be stored.

    Parameters
    ----------
    started_at:
        When it started.
    wanted:
        Which customers were checked.
    compared_from:
        First event time that was compared with the source; None for all.
    offsets:
        Next offset by topic and partition: all records before were compared.
    outcomes:
        By check, in the requested order.
    """

    started_at: datetime
    wanted: Wanted
    compared_from: datetime | None
    offsets: Mapping[str, Mapping[int, int]]
    outcomes: Mapping[str, Outcome]


def claim(connection: psycopg.Connection, names: Names) -> None:
    """Lock the reconciliation of this run; the lock goes with the connection.

    Raises
    ------
    StandbyError
        Another connection has it.
    TidemarkError
        The database has no tables for it (a replay has none of its own).
    """
    exists = connection.execute("SELECT to_regclass(format('%%I.drift', %s::text))", [names.billing_schema]).fetchone()
    if exists is None or exists[0] is None:
        raise TidemarkError(
            f"there are no current tables in {names.billing_schema}.",
            "`tidemark db migrate`; a replay is reconciled with the run it is promoted in.",
        )
    if not try_lock(connection, f"reconcile {names.billing_schema}"):
        raise StandbyError(
            f"another `tidemark reconcile` of {names.billing_schema} is at work.", "wait for it, or end it."
        )


def open_counts(connection: psycopg.Connection, names: Names) -> dict[str, int]:
    """How many differences are open, by check; checks without any are absent."""
    return dict(connection.execute(_sql(_COUNTS, names)).fetchall())


def last_runs(connection: psycopg.Connection, names: Names) -> dict[str, tuple[int, datetime, int]]:
    """Number, end and count of comparisons of the last run of each check that had a result."""
    rows = connection.execute(_sql(_LAST, names)).fetchall()
    return {name: (number, at, compared or 0) for name, number, at, compared in rows}


def seen_by(
    connection: psycopg.Connection, names: Names, offsets: Mapping[str, Mapping[int, int]]
) -> dict[str, dict[int, datetime]]:
    """When the records before some offsets had been compared at the latest; what no run knows is absent."""
    known: dict[str, dict[int, datetime]] = {}
    for topic, partitions in offsets.items():
        for partition, offset in partitions.items():
            given = {"topic": topic, "partition": str(partition), "offset": offset}
            at = connection.execute(_sql(_SEEN_BY, names), given).fetchall()[0][0]
            if offset and at is not None:
                known.setdefault(topic, {})[partition] = at
    return known


def record(connection: psycopg.Connection, names: Names, done: Done) -> tuple[int, datetime]:
    """Store a run and its differences; returns its number and instant. In a transaction of the caller."""
    given = {
        "started_at": done.started_at,
        "checks": list(done.outcomes),
        "checked": [name for name, outcome in done.outcomes.items() if not outcome.not_checked],
        "tenant_id": done.wanted.tenant,
        "share": done.wanted.share,
        "compared_from": done.compared_from,
        "offsets": Jsonb(done.offsets),
        "outcome": Jsonb({name: outcome.document() for name, outcome in done.outcomes.items()}),
    }
    number, at = connection.execute(_sql(_RUN, names), given).fetchall()[0]
    rows = [
        _row(number, name, finding, done.wanted)
        for name, outcome in done.outcomes.items()
        for finding in outcome.findings
    ]
    with connection.cursor() as cursor:
        cursor.executemany(_sql(_DRIFT, names), rows)
    return number, at


def explain(connection: psycopg.Connection, names: Names, number: int, because: str, by: str) -> None:
    """Mark a difference as explained, in a transaction of the caller; an explanation is never replaced.

    Raises
    ------
    UsageError
        There is no such difference, it is explained already, or the explanation or name is empty.
    """
    if not because.strip() or not by.strip():
        raise UsageError("an explanation needs a text and a name.", "give --because and --by.")
    given = {"id": number, "because": because, "by": by}
    if connection.execute(_sql(_EXPLAIN, names), given).rowcount != 1:
        raise _not_open(connection, names, number)
    audit.record(connection, names.run_id, "reconcile.explain_drift", str(number), by=by, because=because)


def _not_open(connection: psycopg.Connection, names: Names, number: int) -> UsageError:
    row = connection.execute(_sql(_EXPLAINED, names), [number]).fetchone()
    if row is None:
        return UsageError(f"there is no drift {number}.", "take a number of `tidemark reconcile drift`.")
    by, at, explanation = row
    return UsageError(
        f"drift {number} was explained by {by} at {rfc3339(at)}: {explanation}",
        "an explanation is not replaced; what differs otherwise is a drift of its own in the next run.",
    )


def kept(before: Iterable[Drift], check: str, unseen: Callable[[Subject], bool]) -> list[Finding]:
    """Open differences of a check that a run could not check again, because they were moving: they stay open."""
    findings = []
    for drift in before:
        subject: Subject = json.loads(drift.subject)
        if drift.check_name == check and unseen(subject):
            findings.append(Finding(subject, drift.expected, drift.actual, drift.delta, drift.bucket_at))
    return findings


def _row(number: int, check: str, finding: Finding, wanted: Wanted) -> dict[str, Any]:
    subject = finding.subject
    return {
        "reconcile_id": number,
        "check_name": check,
        # The summary of unlisted differences concerns all customers that were checked.
        "tenant_id": subject.get("tenant_id", wanted.tenant),
        "customer_id": subject.get("customer_id"),
        "meter": subject.get("meter"),
        "subject": finding.name,
        "bucket_at": finding.bucket_at,
        "expected": finding.expected,
        "actual": finding.actual,
        "delta": finding.delta,
    }


def _sql(statement: str, names: Names) -> sql.Composed:
    return sql.SQL(statement).format(schema=sql.Identifier(names.billing_schema))
