"""Whose alerts about limits people get: those of the version of the usage that they read at the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from tidemark.core.names import Names
from udfs.alerts.event import Alert

# Two versions see one crossing at two instants: what the next one saw so shortly before its promotion is taken too. It
# has the same id, so that it is told once.
OVERLAP_MS = 60_000
LIMITS = "limit."
_KNOWN = "SELECT to_regclass(%s) IS NOT NULL"
_STANDS = """
SELECT l.replay_id, l.tenants, (extract(epoch FROM d.since) * 1000)::bigint,
       (extract(epoch FROM coalesce(r.caught_up_at, d.since)) * 1000)::bigint
FROM {schema}.overlay l
JOIN {schema}.replay r USING (replay_id)
JOIN (
    SELECT replay_id, max(at) AS since FROM {schema}.replay_decision WHERE decision = 'promote' GROUP BY replay_id
) d USING (replay_id)
WHERE l.scope_end IS NULL
ORDER BY l.position
"""


@dataclass(frozen=True, slots=True)
class Stand:
    """A promoted replay that runs on.

    Parameters
    ----------
    run_id:
        Its run.
    tenants:
        Those it stands for; none for all.
    since_ms, level_ms:
        UTC epoch ms: when it was promoted; when it had rebuilt what it was to rebuild.
    """

    run_id: str
    tenants: tuple[str, ...]
    since_ms: int
    level_ms: int


def read_stands(connection: psycopg.Connection, names: Names) -> list[Stand]:
    """Promoted replays that run on, the lowest first; none where the run has no ledger."""
    known = connection.execute(_KNOWN, [f'"{names.billing_schema}".replay_decision']).fetchone()
    if not known or not known[0]:
        return []
    rows = connection.execute(sql.SQL(_STANDS).format(schema=sql.Identifier(names.billing_schema)))
    return [Stand(names.replay(name), tuple(tenants or ()), since, level) for name, tenants, since, level in rows]


def version_at(stands: Sequence[Stand], own: str, tenant: str | None, at_ms: int) -> str:
    """Run that people read of a tenant at an instant: the topmost that was promoted by then, else `own`."""
    found = own
    for one in stands:
        if one.since_ms <= at_ms and (not one.tenants or tenant in one.tenants):
            found = one.run_id
    return found


def is_taken(stands: Sequence[Stand], own: str, run_id: str, alert: Alert) -> bool:
    """Whether people get an alert of a run; what a replay said while it was rebuilding they never get.

    Of the pipeline, anomalies and the watch the run of the ledger speaks, whichever counts.
    """
    if not alert.type.startswith(LIMITS):
        return run_id == own
    if any(one.run_id == run_id and alert.at_ms < one.level_ms for one in stands):
        return False
    instants = (alert.at_ms, alert.at_ms + OVERLAP_MS)
    return any(version_at(stands, own, alert.tenant_id, at_ms) == run_id for at_ms in instants)
