"""Promotes a replay and reverts it: views and ledger in one transaction, so that no reader sees a mixture."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, groupby
from string import Template

import psycopg
from psycopg import sql

from tidemark.billing import outbox, periods, store
from tidemark.billing.current import EdgeError, current_as_before, current_by_calendar
from tidemark.billing.lines import PeriodKey
from tidemark.billing.messages import Context
from tidemark.billing.sources import run_of
from tidemark.billing.true_up import Cause, TrueUp, current_periods, true_up
from tidemark.billing.watermark import as_text, committed
from tidemark.core import audit, postgres, rollup_views
from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.rollup_views import Overlay
from tidemark.core.settings import Settings
from tidemark.replay import record
from tidemark.replay.record import Replay, run_settings
from tidemark.replay.run import applied

# How long to wait for the views: a transaction that has read one of them holds a lock until it ends. Other readers
# queue behind the wait, so it is short, and repeated.
LOCK_TIMEOUT_S = 5
_LOCK_ATTEMPTS = 12

_OTHER_EDGES = (
    "replay with --from at a boundary of both calendars or before the first usage, and without --to or with --to at a "
    "boundary of both."
)
# A period counts for the replay where it lies wholly within the scope, else for the version below. Where the two have
# different periods at an edge, usage in both would be read from both, or from neither: two periods that overlap, one
# within the scope and the other not. The other then lies across an edge, and few do: only those are compared.
_ACROSS_ONE = Template("""
SELECT tenant_id, customer_id, b.period_start, r.period_start
FROM (
    SELECT DISTINCT tenant_id, customer_id, period_start, period_end FROM $across.usage_period
    WHERE {tenants} AND period_end > {start} AND period_start < {end}
      AND NOT (period_start >= {start} AND period_end <= {end})
) $one
JOIN $within.usage_period $other USING (tenant_id, customer_id)
WHERE $other.period_start >= {start} AND $other.period_end <= {end}
  AND b.period_start < r.period_end AND r.period_start < b.period_end
""")
_ACROSS = (
    _ACROSS_ONE.substitute(one="b", across="{schema}", other="r", within="{replayed}")
    + "UNION ALL"
    + _ACROSS_ONE.substitute(one="r", across="{replayed}", other="b", within="{schema}")
    + "LIMIT 1"
)
# Closed periods in the scope, and those at its edges.
_CLOSED = """
SELECT tenant_id, customer_id, period_start, period_end, is_current
FROM {schema}.period_status
WHERE {tenants} AND period_end >= {start} AND period_start <= {end}
"""
_REPLACED = """
SELECT DISTINCT tenant_id, customer_id, period_start, period_end
FROM {schema}.correction
WHERE replay_id = {replay} AND cause = 'replay' AND NOT is_current
"""
_WITH_LEVELS = "SELECT DISTINCT tenant_id FROM {schema}.meter_kind WHERE aggregation = 'weighted_sum'"


@dataclass(frozen=True, slots=True)
class PromotionResult:
    """What a promotion or a reversal did; `changed` False: the replay was in that state before."""

    changed: bool
    closes: int = 0
    corrections: int = 0


def promote(settings: Settings, replay_id: str, by: str) -> PromotionResult:
    """Promote a replay: closed periods of its scope get corrections, open ones use its rollups from now on.

    Raises
    ------
    UsageError
        It was discarded.
    TidemarkError
        It is not caught up, or it has other periods than the version below at an edge of its scope.
    """
    replay = _find(settings, replay_id)
    if replay.state == "promoted":
        return PromotionResult(changed=False)
    if replay.state not in {"caught_up", "reverted"}:
        raise TidemarkError(
            f"replay {replay_id!r} is {replay.state}, not caught up.",
            f"`tidemark replay resume {replay_id}` waits for it.",
        )
    replay = catch_up(settings, replay)

    def change(connection: psycopg.Connection) -> None:
        outbox.refuse_behind(connection, settings)
        _refuse_across(connection, settings, replay)
        _add_overlay(connection, settings, replay)
        rollup_views.apply(connection, settings.names)

    return _change(settings, replay, by, change, "replay")


def revert(settings: Settings, replay_id: str, by: str) -> PromotionResult:
    """Revert a promotion: the version below is active again at once, and is up to date, because it kept running.

    Raises
    ------
    TidemarkError
        Another promotion lies on top of it, or the run below has stopped.
    """
    replay = _find(settings, replay_id)
    if replay.state != "promoted":
        return PromotionResult(changed=False)
    catch_up_below(settings, replay)

    def change(connection: psycopg.Connection) -> None:
        _remove_overlay(connection, settings, replay)
        rollup_views.apply(connection, settings.names)

    return _change(settings, replay, by, change, "revert")


def catch_up(settings: Settings, replay: Replay) -> Replay:
    """Wait until a replay without an end has applied all that the version below it has counted by now.

    Raises
    ------
    UnavailableError
        A job of it does not run, or it is behind for longer than `run.STALL_S`.
    """
    if replay.bounded:
        return replay
    run = run_settings(settings, replay)
    watermark = applied(run, replay.starts, as_text(committed(_below(settings, replay))))
    reached = as_text(watermark.offsets)
    with postgres.connect(settings.postgres.owner) as connection:
        record.update(connection, settings.names, replay.replay_id, reached=reached, watermark=watermark.at)
        return record.find(connection, settings.names, replay.replay_id)


def catch_up_below(settings: Settings, replay: Replay) -> None:
    """Wait until the version below a replay without an end has applied all that the replay has; raises as `catch_up`.

    Only then may people read it again: it fails where its jobs have ended.
    """
    if not replay.bounded:
        applied(_below(settings, replay), {}, as_text(committed(run_settings(settings, replay))))


def _change(
    settings: Settings, replay: Replay, by: str, change: Callable[[psycopg.Connection], None], cause: Cause
) -> PromotionResult:
    with postgres.connect(settings.postgres.owner) as connection:
        for _ in range(_LOCK_ATTEMPTS):
            # Inside the connection, which reports any error that leaves it as a database that is down.
            with suppress(psycopg.errors.LockNotAvailable):
                return _attempt(connection, settings, replay, by, change, cause)
    raise TidemarkError(
        f"a transaction locks the views of {settings.names.billing_schema} since {LOCK_TIMEOUT_S * _LOCK_ATTEMPTS} s.",
        "end it (pg_stat_activity shows it), then call again: nothing was changed.",
    )


def _attempt(
    connection: psycopg.Connection, settings: Settings, replay: Replay, by: str,
    change: Callable[[psycopg.Connection], None], cause: Cause,
) -> PromotionResult:  # fmt: skip
    names = settings.names
    with connection.transaction():
        connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'".encode())
        store.lock_ledger(connection, names)
        now = record.find(connection, names, replay.replay_id)
        if now.state != replay.state:
            return PromotionResult(changed=False)
        change(connection)
        due = _due(connection, settings, replay, cause)
        run_id = names.replay(replay.replay_id) if cause == "replay" else settings.run_id
        context = Context(
            at=store.now(connection), by=by, run_id=run_id, rests_on=replay.reached or {},
            watermark=replay.watermark or replay.late_until, catalog_revision=store.catalog_revision(connection),
        )  # fmt: skip
        store.append(connection, names, due, context, cause=cause, replay_id=replay.replay_id)
        counts = len(due.closes), len(due.corrections)
        record.decide(connection, names, replay.replay_id, "promote" if cause == "replay" else "revert", by, counts)
        state = "promoted" if cause == "replay" else "reverted"
        record.update(connection, names, replay.replay_id, state=state)
        decision: audit.Action = "replay.promote" if cause == "replay" else "replay.revert"
        made = {"closes": counts[0], "corrections": counts[1]}
        audit.record(connection, names.run_id, decision, replay.replay_id, by=by, **made)
    return PromotionResult(True, *counts)


def _due(connection: psycopg.Connection, settings: Settings, replay: Replay, cause: Cause) -> TrueUp:
    """What the ledger lacks for the final periods in the scope, by the present views."""
    names, scope = settings.names, replay.overlay(settings.names)
    rows = connection.execute(_scoped(_CLOSED, settings, replay))
    ledger = {PeriodKey(*key): is_current for *key, is_current in rows}
    closed = {key for key in ledger if scope.holds(key.start, key.end)}
    current = {key for key, is_current in ledger.items() if is_current}
    used = _used(connection, settings, replay, closed, cause)
    if cause == "revert":
        replaced = {PeriodKey(*row) for row in connection.execute(_scoped(_REPLACED, settings, replay))}
        final = current_as_before(current & closed, replaced & closed, used)
    else:
        final = _by_calendar(connection, settings, replay, current, used)
    # A level that changes in the scope also changes all later periods.
    later = periods.closed_with_levels_after(connection, names, replay.tenants, replay.scope_start)
    outside = {key for key in later if replay.scope_end and key.end > replay.scope_end}
    closed, final = closed | outside, final | outside
    due = TrueUp()
    for batch in store.batches(sorted(closed | final)):
        ledger = store.read_entries(connection, names, batch)
        wanted = store.wanted_lines(connection, names, [key for key in batch if key in final])
        more = true_up(ledger, wanted)
        due.closes.extend(more.closes)
        due.corrections.extend(more.corrections)
    return due


def _used(
    connection: psycopg.Connection, settings: Settings, replay: Replay, closed: set[PeriodKey], cause: Cause
) -> set[PeriodKey]:
    """Periods of the scope with usage that are final by the watermark of the replay, or were closed."""
    cutoff = replay.watermark - timedelta(seconds=settings.events.grace_s) if replay.watermark else None
    latest = max((key.end for key in closed), default=None)
    known = max((moment for moment in (cutoff, latest) if moment is not None), default=None)
    if known is None:
        return set()
    scope_end = known if replay.scope_end is None else min(known, replay.scope_end)
    catalog = periods.catalog_of(run_settings(settings, replay) if cause == "replay" else settings)
    used = periods.with_usage(connection, settings.names, catalog, replay.tenants, replay.scope_start, None, scope_end)
    return {key for key in used if key in closed or (cutoff is not None and key.end <= cutoff)}


def _by_calendar(
    connection: psycopg.Connection, settings: Settings, replay: Replay, current: set[PeriodKey], used: set[PeriodKey]
) -> set[PeriodKey]:
    """Final periods of the scope, a customer after the other: see `current_by_calendar`."""
    scope, catalog = replay.overlay(settings.names), periods.catalog_of(run_settings(settings, replay))
    with_levels = {tenant for (tenant,) in connection.execute(_scoped(_WITH_LEVELS, settings, replay))}
    final: set[PeriodKey] = set()
    of_customers = groupby(sorted(chain(current, used)), key=lambda key: key[:2])
    for batch in store.batches((pair, set(keys)) for pair, keys in of_customers):
        pairs = [pair for pair, _ in batch]
        catalog.prefetch(pairs)
        until = periods.known_until(connection, settings.names, pairs)
        for pair, keys in batch:
            closed, own = keys & current, keys & used
            try:
                final |= current_by_calendar(catalog, pair, closed, own, scope, until.get(pair))
            except EdgeError as error:
                if pair[0] in with_levels:
                    raise _gap(error.first, error.second) from error
                # Then a period without usage has no lines, whatever lies across it.
                final |= current_periods({key for key in closed if scope.holds(key.start, key.end)}, own)
    return final


def _below(settings: Settings, replay: Replay) -> Settings:
    """Settings of the run that feeds open periods without this replay: a replay promoted earlier, or the live run."""
    own = replay.overlay(settings.names)
    with postgres.connect(settings.postgres.owner) as connection:
        running_on = [one for one in rollup_views.overlays(connection, settings.names) if one.end is None]
    others = [one for one in running_on if one != own and _meets(one, replay)]
    return settings.with_changes({"run_id": run_of(others[-1])}) if others else settings


def _meets(overlay: Overlay, replay: Replay) -> bool:
    return not overlay.tenants or not replay.tenants or bool(set(overlay.tenants) & set(replay.tenants))


def _refuse_across(connection: psycopg.Connection, settings: Settings, replay: Replay) -> None:
    overlap = connection.execute(_scoped(_ACROSS, settings, replay)).fetchone()
    if overlap:
        raise _crosses(*overlap)


def _crosses(tenant: str, customer: str, below: datetime, above: datetime) -> TidemarkError:
    return TidemarkError(
        f"the period of {tenant}/{customer} from {below} overlaps that of the replay from {above}, and the edge of the "
        "replay lies across one of them alone: the same usage would count twice, or not at all.",
        _OTHER_EDGES,
    )


def _gap(first: PeriodKey, second: PeriodKey) -> TidemarkError:
    return TidemarkError(
        f"at the edge of the replay, the period of {'/'.join(first[:2])} to {first.end} and the next one from "
        f"{second.start} do not meet: a level would count twice there, or not at all.",
        _OTHER_EDGES,
    )


def _scoped(statement: str, settings: Settings, replay: Replay) -> sql.Composed:
    tenants = sql.SQL("tenant_id IN ({})").format(sql.SQL(", ").join(map(sql.Literal, replay.tenants)))
    end = replay.scope_end.isoformat() if replay.scope_end else "infinity"
    return sql.SQL(statement).format(
        schema=sql.Identifier(settings.names.billing_schema),
        replayed=sql.Identifier(replay.overlay(settings.names).usage_schema),
        replay=sql.Literal(replay.replay_id),
        tenants=tenants if replay.tenants else sql.SQL("true"),
        start=sql.SQL("{}::timestamptz").format(sql.Literal(replay.scope_start.isoformat())),
        end=sql.SQL("{}::timestamptz").format(sql.Literal(end)),
    )


def _add_overlay(connection: psycopg.Connection, settings: Settings, replay: Replay) -> None:
    overlay: Overlay = replay.overlay(settings.names)
    statement = sql.SQL(
        "INSERT INTO {}.overlay (replay_id, usage_schema, tenants, scope_start, scope_end) VALUES (%s, %s, %s, %s, %s)"
    ).format(sql.Identifier(settings.names.billing_schema))
    values: list[object] = [
        replay.replay_id,
        overlay.usage_schema,
        list(overlay.tenants) or None,
        overlay.start,
        overlay.end,
    ]
    connection.execute(statement, values)


def _remove_overlay(connection: psycopg.Connection, settings: Settings, replay: Replay) -> None:
    """Raises if another overlay lies on it: removing the lower one would change what the upper was compared with."""
    schema = sql.Identifier(settings.names.billing_schema)
    above = sql.SQL(
        """SELECT a.replay_id FROM {schema}.overlay a JOIN {schema}.overlay b ON a.position > b.position
           WHERE b.replay_id = %s
             AND a.scope_start < coalesce(b.scope_end, 'infinity') AND b.scope_start < coalesce(a.scope_end, 'infinity')
             AND (a.tenants IS NULL OR b.tenants IS NULL OR a.tenants && b.tenants)
           ORDER BY a.position DESC LIMIT 1"""
    ).format(schema=schema)
    upper = connection.execute(above, [replay.replay_id]).fetchone()
    if upper:
        raise TidemarkError(f"replay {upper[0]!r} lies on {replay.replay_id!r}.", f"revert {upper[0]} first.")
    connection.execute(sql.SQL("DELETE FROM {}.overlay WHERE replay_id = %s").format(schema), [replay.replay_id])


def _find(settings: Settings, replay_id: str) -> Replay:
    with postgres.connect(settings.postgres.owner) as connection:
        replay = record.find(connection, settings.names, replay_id)
    if replay.state == "discarded":
        raise UsageError(f"replay {replay_id!r} was discarded.", "start another one.")
    return replay
