"""Which run's alerts about limits are taken: those of the version of the usage that was active at the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from tidemark.core.names import Names
from udfs.alerts.event import Alert

# Two versions see one crossing at two instants: what the next one saw so shortly before its promotion is taken too. It
# has the same id, so that it is one alert.
OVERLAP_MS = 60_000
LIMITS = "limit."
_KNOWN = "SELECT to_regclass(%s) IS NOT NULL"
_ACTIVE = """
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
class ActiveReplay:
    """A promoted replay that runs on.

    Parameters
    ----------
    run_id:
        Its run.
    tenants:
        Those it is active for; empty for all.
    since_ms, level_ms:
        UTC epoch ms: when it was promoted; when it had caught up.
    """

    run_id: str
    tenants: tuple[str, ...]
    since_ms: int
    caught_up_ms: int


def read_active_replays(connection: psycopg.Connection, names: Names) -> list[ActiveReplay]:
    """Promoted replays that run on, the lowest first; empty where the run has no ledger."""
    known = connection.execute(_KNOWN, [f'"{names.billing_schema}".replay_decision']).fetchone()
    if not known or not known[0]:
        return []
    rows = connection.execute(sql.SQL(_ACTIVE).format(schema=sql.Identifier(names.billing_schema)))
    return [
        ActiveReplay(names.replay(name), tuple(tenants or ()), since, caught_up)
        for name, tenants, since, caught_up in rows
    ]


def version_at(replays: Sequence[ActiveReplay], run_id: str, tenant: str | None, at_ms: int) -> str:
    """Run that people read of a tenant at an instant: the topmost that was promoted by then, else `own`."""
    active = run_id
    for replay in replays:
        if replay.since_ms <= at_ms and (not replay.tenants or tenant in replay.tenants):
            active = replay.run_id
    return active


def is_taken(replays: Sequence[ActiveReplay], ledger_run_id: str, run_id: str, alert: Alert) -> bool:
    """Whether an alert of a run is taken; alerts that a replay sent while it was rebuilding never are.

    Alerts about the pipeline, anomalies and quotas are those of the run of the ledger, whichever version is active.
    """
    if not alert.type.startswith(LIMITS):
        return run_id == ledger_run_id
    if any(replay.run_id == run_id and alert.at_ms < replay.caught_up_ms for replay in replays):
        return False
    instants = (alert.at_ms, alert.at_ms + OVERLAP_MS)
    return any(version_at(replays, ledger_run_id, alert.tenant_id, at_ms) == run_id for at_ms in instants)
