"""New rules for usage that was counted already: what a changed catalog affects, then apply, replay and compare."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from psycopg import sql

from tidemark.catalog import tool as catalog_tool
from tidemark.catalog.plan import Plan
from tidemark.catalog.timeline import Change
from tidemark.core import postgres
from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.settings import Settings
from tidemark.replay import run
from tidemark.replay.record import Replay
from tidemark.replay.run import Request
from udfs.values import instant, rfc3339

# From the first instant that changes back to the start of its periods, so that no period is in two versions.
_START = """
SELECT min(period_start), count(DISTINCT (tenant_id, customer_id, period_start)),
       count(DISTINCT (tenant_id, customer_id, period_start)) FILTER (WHERE closed)
FROM (
    SELECT u.tenant_id, u.customer_id, u.period_start,
           EXISTS (
               SELECT FROM {schema}.period_close c
               WHERE (c.tenant_id, c.customer_id, c.period_start) = (u.tenant_id, u.customer_id, u.period_start)
           ) AS closed
    FROM {schema}.usage_period u
    WHERE (%(tenants)s::text[] IS NULL OR u.tenant_id = ANY(%(tenants)s)) AND u.period_end > %(since)s
) affected
"""


@dataclass(frozen=True, slots=True)
class Concern:
    """What a changed catalog affects.

    Parameters
    ----------
    plan:
        What its application changes.
    since:
        First event time that the new rules count differently.
    start:
        Where a replay has to start: the start of the earliest period that contains `since`.
    tenants:
        Tenants it affects; empty for all.
    periods, closed:
        Periods with usage that are counted again, and how many of them are closed.
    """

    plan: Plan
    since: datetime
    start: datetime
    tenants: tuple[str, ...]
    periods: int
    closed: int


def concern(settings: Settings, file: Path) -> Concern:
    """What a catalog file would have counted differently; changes nothing.

    Raises
    ------
    UsageError
        The file has faults, or changes nothing that was counted.
    """
    plan = catalog_tool.preview(settings, file, backdate=True).plan
    changes = [change for change in plan.changes if change.backdated and change.counts]
    if not changes:
        raise UsageError(
            f"{file} changes nothing that was counted already.", "`tidemark catalog apply` it; no replay is needed."
        )
    since_ms = max(0, min(change.valid_from_ms for change in changes))
    since = instant(since_ms)
    tenants = _tenants(changes)
    statement = sql.SQL(_START).format(schema=sql.Identifier(settings.names.billing_schema))
    with postgres.connect(settings.postgres.ops) as connection:
        values = {"tenants": list(tenants) or None, "since": since}
        start, periods, closed = connection.execute(statement, values).fetchall()[0]
    return Concern(plan, since, min(start or since, since), tenants, periods, closed)


def start(settings: Settings, file: Path, request: Request) -> Replay:
    """Apply a catalog file backdated, and start the replay that counts by it.

    Raises
    ------
    UsageError
        The replay would be refused: nothing was applied.
    TidemarkError
        The file has faults; or the catalog is applied and its replay could not be started, with what starts it.
    """
    run.check(settings, request)
    catalog_tool.apply(settings, file, backdate=True, by=request.by)
    try:
        return run.start(settings, request)
    except TidemarkError as error:
        raise type(error)(
            f"the catalog is applied, and its replay was not started: {error.what}",
            f"{error.fix} Then {_commands(settings.run_id, request)}.".strip(),
        ) from error


def _commands(run_id: str, request: Request) -> str:
    """What starts the same replay, of the same run: without its name it would be one of the live run."""
    options = ["--id", request.replay_id, "--from", rfc3339(request.start)]
    options += [part for tenant in request.tenants for part in ("--tenant", tenant)]
    options += ["--rate", str(request.events_per_s)] if request.events_per_s else []
    run = ["--run-id", run_id] if run_id else []
    started = f"`tidemark replay start {shlex.join([*options, *run])}`"
    resumed = f"`tidemark replay resume {shlex.join([request.replay_id, *run])}`"
    return f"{started}; where that says the id was used, {resumed}"


def _tenants(changes: list[Change]) -> tuple[str, ...]:
    """Tenants of the changes; empty (all) if a calendar, or a meter of all tenants, is changed."""
    if any(change.table == "calendar" or not _tenant(change) for change in changes):
        return ()
    return tuple(sorted({_tenant(change) for change in changes}))


def _tenant(change: Change) -> str:
    # The key of a meter is its tenant (None for all) and its name; other keys begin with their tenant.
    return str(change.key[0] or "")
