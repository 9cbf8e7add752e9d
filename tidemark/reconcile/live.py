"""Compares live counters with the stored totals: the latest period of each, repeatedly while they are moving."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql

from tidemark.core.settings import Settings
from tidemark.reconcile.counters import live_rows
from tidemark.reconcile.findings import Finding, Outcome, Subject, capped, row_finding
from tidemark.reconcile.sample import Wanted
from udfs.values import instant

_POLL_S = 0.5

# Over all dims, the latest period of each counter, and whether Redis must still have it: a counter expires one period
# length and grace after its last write.
_STORED = """
WITH periods AS (
    SELECT p.*, rank() OVER (PARTITION BY tenant_id, customer_id, meter ORDER BY period_start DESC) AS age
    FROM {schema}.usage_period p
    WHERE (part = '' OR part LIKE 'u%%') AND {wanted}
)
SELECT tenant_id, customer_id, meter,
       (extract(epoch FROM period_start) * 1000)::bigint, (extract(epoch FROM min(period_end)) * 1000)::bigint,
       coalesce(sum(n) FILTER (WHERE part = ''), count(DISTINCT part))::bigint,
       coalesce(sum(samples) FILTER (WHERE part = ''), count(DISTINCT part))::bigint,
       coalesce(sum(total) FILTER (WHERE part = ''), count(DISTINCT part)),
       min(lo) FILTER (WHERE part = ''), max(hi) FILTER (WHERE part = ''), max(latest COLLATE "C"),
       max(updated_at) + (min(period_end) - period_start) + %(grace)s > clock_timestamp() + interval '1 minute'
FROM periods
WHERE age = 1
GROUP BY tenant_id, customer_id, meter, period_start
"""
_VALUES = ("period_start", "period_end", "n", "samples", "total", "lo", "hi", "latest")

Key = tuple[str, str, str]
Side = dict[Key, tuple[Any, ...]]


def check(
    settings: Settings,
    connection: psycopg.Connection,
    wanted: Wanted,
    tolerance: Decimal,
    patience_s: float,
) -> Outcome:
    """Compare Redis with the stored totals; a counter that moves for `patience_s` is left for the next run.

    The connection must be outside a transaction: each read has to see what is stored by then.

    Raises
    ------
    UnavailableError
        Redis does not answer.
    """
    stored, live = _read_both(settings, connection, wanted)
    first = {key: (stored.get(key), live.get(key)) for key in _differing(stored, live)}
    compared, differing = len({*stored, *live}), set(first)
    deadline = time.monotonic() + patience_s
    while differing and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        stored, live = _read_both(settings, connection, wanted)
        differing = {key for key in _differing(stored, live) if key in differing}
    moving = {key for key in differing if (stored.get(key), live.get(key)) != first[key]}
    findings = [*_findings(sorted(differing - moving), stored, live, tolerance)]
    return Outcome(
        compared, capped(findings, len(findings)), len(findings), moving=len(moving), unseen=_named(moving)
    )  # fmt: skip


def _read_both(settings: Settings, connection: psycopg.Connection, wanted: Wanted) -> tuple[Side, Side]:
    statement = sql.SQL(_STORED).format(
        schema=sql.Identifier(settings.names.usage_schema),
        wanted=sql.SQL("true" if wanted.tenant is None else "tenant_id = %(tenant)s"),
    )
    given = {"grace": timedelta(seconds=settings.events.grace_s), "tenant": wanted.tenant}
    live = {tuple(row[:3]): tuple(row[3:]) for row in live_rows(settings) if wanted.takes(row[0], row[1])}
    stored: Side = {}
    for row in connection.execute(statement, given):
        key, alive = (row[0], row[1], row[2]), row[-1]
        # A counter that may have expired is compared if it still exists.
        if wanted.takes(row[0], row[1]) and (alive or key in live):
            stored[key] = tuple(row[3:-1])
    return stored, live


def _differing(stored: Side, live: Side) -> Iterable[Key]:
    return {key for key in {*stored, *live} if stored.get(key) != live.get(key)}


def _findings(keys: Iterable[Key], stored: Side, live: Side, tolerance: Decimal) -> Iterable[Finding]:
    for key in keys:
        expected, actual = (
            dict(zip(_VALUES, side[key], strict=True)) if key in side else None for side in (stored, live)
        )
        subject = dict(zip(("tenant_id", "customer_id", "meter"), key, strict=True))
        start_ms = (expected or actual or {})["period_start"]
        finding = row_finding(subject, expected, actual, instant(start_ms), tolerance=tolerance)
        if finding is not None:
            yield finding


def _named(keys: Iterable[Key]) -> Callable[[Subject], bool]:
    moving = {*keys}

    def unseen(subject: Mapping[str, Any]) -> bool:
        return (subject.get("tenant_id"), subject.get("customer_id"), subject.get("meter")) in moving

    return unseen
