"""Promotes a replay and takes it back: views and ledger in one transaction, so that no reader sees a mixture."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import psycopg
from psycopg import sql

from tidemark.billing import periods, store
from tidemark.billing.lines import PeriodKey
from tidemark.billing.messages import Context
from tidemark.billing.sources import run_of
from tidemark.billing.true_up import Cause, TrueUp, still_periods, true_up
from tidemark.billing.watermark import as_text, committed
from tidemark.core import postgres, rollup_views
from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.rollup_views import Layer
from tidemark.core.settings import Settings
from tidemark.replay import record
from tidemark.replay.record import Replay, run_settings
from tidemark.replay.run import applied

# How long the views may be waited for: whoever has read one of them holds it until its transaction ends. Others wait
# behind, so it is short, and tried again.
LOCK_TIMEOUT_S = 5
_LOCK_ATTEMPTS = 12

# Periods of the version below that reach into the replay's range from outside, and usage of the replay across them.
_ACROSS = """
SELECT b.tenant_id, b.customer_id, b.period_start, r.period_start
FROM {schema}.usage_period b
JOIN {replayed}.usage_period r USING (tenant_id, customer_id)
WHERE {tenants}
  AND b.period_start < {start} AND b.period_end > {start}
  AND r.period_start >= {start} AND r.period_start < b.period_end AND r.period_end <= {end}
LIMIT 1
"""
_CLOSED = """
SELECT tenant_id, customer_id, period_start, period_end
FROM {schema}.period_close
WHERE {tenants} AND period_start >= {start} AND period_end <= {end}
"""


@dataclass(frozen=True, slots=True)
class Switched:
    """What a promotion or its taking back did; nothing, when it was so before."""

    changed: bool
    closes: int = 0
    corrections: int = 0


def promote(settings: Settings, replay_id: str, by: str) -> Switched:
    """Let a replay stand: closed periods of its scope get corrections, open ones follow its rollups from now on.

    Raises
    ------
    UsageError
        It was discarded.
    TidemarkError
        It is not level, or a period of the version below lies across the beginning of its scope.
    """
    replay = _found(settings, replay_id)
    if replay.state == "promoted":
        return Switched(changed=False)
    if replay.state not in {"level", "reverted"}:
        raise TidemarkError(
            f"replay {replay_id!r} is {replay.state}, not level.", f"`tidemark replay resume {replay_id}` waits for it."
        )
    replay = _level_now(settings, replay)

    def switch(connection: psycopg.Connection) -> None:
        _refuse_across(connection, settings, replay)
        _add_layer(connection, settings, replay)
        rollup_views.follow(connection, settings.names)

    return _switch(settings, replay, by, switch, "replay")


def revert(settings: Settings, replay_id: str, by: str) -> Switched:
    """Take a promotion back: the version below stands again, at once, and is current, because it kept running.

    Raises
    ------
    TidemarkError
        It is not promoted, another promotion stands on it, or what it would go back to has stopped.
    """
    replay = _found(settings, replay_id)
    if replay.state != "promoted":
        return Switched(changed=False)
    if not replay.bounded:
        # Refuses while the version below is behind: it has to be as current as the one people read now.
        applied(_below(settings, replay), {}, as_text(committed(run_settings(settings, replay))))

    def switch(connection: psycopg.Connection) -> None:
        _remove_layer(connection, settings, replay)
        rollup_views.follow(connection, settings.names)

    return _switch(settings, replay, by, switch, "revert")


def _switch(
    settings: Settings, replay: Replay, by: str, switch: Callable[[psycopg.Connection], None], cause: Cause
) -> Switched:
    with postgres.connect(settings.postgres) as connection:
        for _ in range(_LOCK_ATTEMPTS):
            # Within the connection: what leaves it is told as a database that is away.
            with suppress(psycopg.errors.LockNotAvailable):
                return _attempt(connection, settings, replay, by, switch, cause)
    raise TidemarkError(
        f"a transaction has held the views of {settings.names.billing_schema} for {LOCK_TIMEOUT_S * _LOCK_ATTEMPTS} s.",
        "end it (pg_stat_activity shows it), then call again: nothing was changed.",
    )


def _attempt(
    connection: psycopg.Connection, settings: Settings, replay: Replay, by: str,
    switch: Callable[[psycopg.Connection], None], cause: Cause,
) -> Switched:  # fmt: skip
    names = settings.names
    with connection.transaction():
        connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'".encode())
        store.take_turn(connection, names)
        now = record.find(connection, names, replay.replay_id)
        if now.state != replay.state:
            return Switched(changed=False)
        switch(connection)
        due = _due(connection, settings, replay)
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
    return Switched(True, *counts)


def _due(connection: psycopg.Connection, settings: Settings, replay: Replay) -> TrueUp:
    """What the ledger lacks, of all final periods in the scope, as the views read now."""
    names = settings.names
    closed = {PeriodKey(*row) for row in connection.execute(_scoped(_CLOSED, settings, replay))}
    found = _final(connection, settings, replay, closed)
    # A level that is another in the scope is held into all periods after it.
    held = periods.held_after(connection, names, replay.tenants, replay.scope_start)
    outside = {key for key in held if replay.scope_end and key.end > replay.scope_end}
    closed, found = closed | outside, found | outside
    due = TrueUp()
    for part in store.batches(sorted(closed | found)):
        ledger = store.read_entries(connection, names, part)
        wanted = store.wanted_lines(connection, names, [key for key in part if key in found])
        more = true_up(ledger, wanted)
        due.closes.extend(more.closes)
        due.corrections.extend(more.corrections)
    return due


def _final(
    connection: psycopg.Connection, settings: Settings, replay: Replay, closed: set[PeriodKey]
) -> set[PeriodKey]:
    """Periods of the scope that are final by the watermark of the replay, and closed ones that still are periods."""
    cutoff = replay.watermark - timedelta(seconds=settings.events.grace_s) if replay.watermark else None
    latest = max((key.end for key in closed), default=None)
    known = max((moment for moment in (cutoff, latest) if moment is not None), default=None)
    if known is None:
        return set()
    scope_end = known if replay.scope_end is None else min(known, replay.scope_end)
    catalog = periods.catalog_of(run_settings(settings, replay))
    used = periods.with_usage(connection, settings.names, catalog, replay.tenants, replay.scope_start, None, scope_end)
    final = {key for key in used if key in closed or (cutoff is not None and key.end <= cutoff)}
    return still_periods(closed, final)


def _level_now(settings: Settings, replay: Replay) -> Replay:
    """A replay that runs on must hold all that the live run has counted by now."""
    if replay.bounded:
        return replay
    run = run_settings(settings, replay)
    watermark = applied(run, replay.starts, as_text(committed(_below(settings, replay))))
    reached = as_text(watermark.offsets)
    with postgres.connect(settings.postgres) as connection:
        record.update(connection, settings.names, replay.replay_id, reached=reached, watermark=watermark.at)
        return record.find(connection, settings.names, replay.replay_id)


def _below(settings: Settings, replay: Replay) -> Settings:
    """Settings of the run that feeds open periods without this replay: a replay promoted earlier, or the live run."""
    own = replay.layer(settings.names)
    with postgres.connect(settings.postgres) as connection:
        running_on = [one for one in rollup_views.layers(connection, settings.names) if one.end is None]
    others = [one for one in running_on if one != own and _meets(one, replay)]
    return settings.with_changes({"run_id": run_of(others[-1])}) if others else settings


def _meets(layer: Layer, replay: Replay) -> bool:
    return not layer.tenants or not replay.tenants or bool(set(layer.tenants) & set(replay.tenants))


def _refuse_across(connection: psycopg.Connection, settings: Settings, replay: Replay) -> None:
    found = connection.execute(_scoped(_ACROSS, settings, replay)).fetchone()
    if found:
        tenant, customer, below, above = found
        raise TidemarkError(
            f"the period of {tenant}/{customer} from {below} reaches into the replay, which has one from {above}: the "
            "same usage would count twice.",
            f"replay from {below} on.",
        )


def _scoped(statement: str, settings: Settings, replay: Replay) -> sql.Composed:
    tenants = sql.SQL("tenant_id IN ({})").format(sql.SQL(", ").join(map(sql.Literal, replay.tenants)))
    end = replay.scope_end.isoformat() if replay.scope_end else "infinity"
    return sql.SQL(statement).format(
        schema=sql.Identifier(settings.names.billing_schema),
        replayed=sql.Identifier(replay.layer(settings.names).usage_schema),
        tenants=tenants if replay.tenants else sql.SQL("true"),
        start=sql.SQL("{}::timestamptz").format(sql.Literal(replay.scope_start.isoformat())),
        end=sql.SQL("{}::timestamptz").format(sql.Literal(end)),
    )


def _add_layer(connection: psycopg.Connection, settings: Settings, replay: Replay) -> None:
    layer: Layer = replay.layer(settings.names)
    statement = sql.SQL(
        "INSERT INTO {}.layer (replay_id, usage_schema, tenants, scope_start, scope_end) VALUES (%s, %s, %s, %s, %s)"
    ).format(sql.Identifier(settings.names.billing_schema))
    values: list[object] = [replay.replay_id, layer.usage_schema, list(layer.tenants) or None, layer.start, layer.end]
    connection.execute(statement, values)


def _remove_layer(connection: psycopg.Connection, settings: Settings, replay: Replay) -> None:
    """Raises when another layer lies on it: taking it from below would change what the upper one was compared with."""
    schema = sql.Identifier(settings.names.billing_schema)
    above = sql.SQL(
        """SELECT a.replay_id FROM {schema}.layer a JOIN {schema}.layer b ON a.position > b.position
           WHERE b.replay_id = %s
             AND a.scope_start < coalesce(b.scope_end, 'infinity') AND b.scope_start < coalesce(a.scope_end, 'infinity')
             AND (a.tenants IS NULL OR b.tenants IS NULL OR a.tenants && b.tenants)
           ORDER BY a.position DESC LIMIT 1"""
    ).format(schema=schema)
    found = connection.execute(above, [replay.replay_id]).fetchone()
    if found:
        raise TidemarkError(f"replay {found[0]!r} stands on {replay.replay_id!r}.", f"revert {found[0]} first.")
    connection.execute(sql.SQL("DELETE FROM {}.layer WHERE replay_id = %s").format(schema), [replay.replay_id])


def _found(settings: Settings, replay_id: str) -> Replay:
    with postgres.connect(settings.postgres) as connection:
        replay = record.find(connection, settings.names, replay_id)
    if replay.state == "discarded":
        raise UsageError(f"replay {replay_id!r} was discarded.", "start another one.")
    return replay
