"""The active version of the rollups: views over the live run and, inside their scopes, promoted replays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from tidemark.core.errors import UsageError
from tidemark.core.names import Names

# Rows of each table that an overlay covers. A day belongs to it by its date: replays read two more days at each side,
# so that every such day is complete in them.
RELATIONS = {
    "usage_minute": "minute_start >= {start} AND minute_start < {end}",
    "usage_hour": "hour_start >= {start} AND hour_start < {end}",
    "usage_day": "day >= ({start} AT TIME ZONE 'UTC')::date AND day < ({end} AT TIME ZONE 'UTC')::date",
    "usage_period": "period_start >= {start} AND period_end <= {end}",
}
_SERIES = "tenant_id, customer_id, meter, dims, part"
_COLUMNS = {
    "usage_minute": "minute_start",
    "usage_hour": "hour_start",
    "usage_day": "day",
    "usage_period": "period_start, period_end",
}
_TOTALS = "n, samples, total, lo, hi, latest, updated_at"
_OVERLAYS = """
SELECT usage_schema, tenants, scope_start, scope_end FROM {schema}.overlay ORDER BY position
"""


@dataclass(frozen=True, slots=True)
class Overlay:
    """A promoted version of the rollups, and the scope in which it replaces those below it.

    Parameters
    ----------
    usage_schema:
        Schema of its tables.
    tenants:
        Tenants it covers; empty for all.
    start, end:
        Half-open range of event time it covers; `end` None: it follows the live stream.
    """

    usage_schema: str
    tenants: tuple[str, ...]
    start: datetime
    end: datetime | None

    def holds(self, start: datetime, end: datetime) -> bool:
        """Whether it replaces a period of its tenants: one that lies wholly within its range, as in RELATIONS."""
        return self.start <= start and (self.end is None or end <= self.end)


def overlays(connection: psycopg.Connection, names: Names) -> list[Overlay]:
    """Promoted replays, the lowest first; empty before the first promotion."""
    statement = sql.SQL(_OVERLAYS).format(schema=sql.Identifier(names.billing_schema))
    return [Overlay(row[0], tuple(row[1] or ()), row[2], row[3]) for row in connection.execute(statement)]


def apply(connection: psycopg.Connection, names: Names, stack: Sequence[Overlay] | None = None) -> None:
    """Point the views of the ledger's schema to the given versions (None: those promoted now), in one transaction.

    The views are replaced: that waits for every transaction that has read one of them, so no transaction sees two
    versions, and reading through them costs nothing.
    """
    with connection.transaction():
        exists = connection.execute(
            "SELECT to_regclass(format('%%I.overlay', %s::text)) IS NOT NULL", [names.billing_schema]
        ).fetchone()
        if stack is None:
            stack = overlays(connection, names) if exists and exists[0] else []
        for relation in RELATIONS:
            connection.execute(view_of(names.billing_schema, relation, names.usage_schema, stack))


def view_of(schema: str, relation: str, base: str, stack: Sequence[Overlay]) -> sql.Composed:
    """The statement that creates `schema.relation` from the live rollups in `base` and the overlays on them."""
    branches = [_branch(relation, base, None, stack)]
    for place, overlay in enumerate(stack):
        branches.append(_branch(relation, overlay.usage_schema, overlay, stack[place + 1 :]))
    head = sql.SQL("CREATE OR REPLACE VIEW {} AS ").format(sql.Identifier(schema, relation))
    return head + sql.SQL(" UNION ALL ").join(branches)


def set_grace(connection: psycopg.Connection, names: Names, grace_s: int) -> None:
    """Store the grace of a run that nothing counts yet, by which the views know when an estimate becomes final."""
    statement = sql.SQL("UPDATE {}.policy SET grace = make_interval(secs => %s) WHERE NOT counted")
    connection.execute(statement.format(sql.Identifier(names.billing_schema)), [grace_s])


def count_by_grace(connection: psycopg.Connection, names: Names, grace_s: int) -> None:
    """Store the grace that `meter` counts by from now on; nothing in a run without a ledger, as a replay."""
    policy = _policy(connection, names)
    if policy is not None:
        statement = sql.SQL("UPDATE {}.policy SET grace = make_interval(secs => %s), counted = true")
        connection.execute(statement.format(sql.Identifier(names.billing_schema)), [grace_s])


def check_grace(connection: psycopg.Connection, names: Names, grace_s: int) -> None:
    """Refuse a grace that is not the one that `meter` counts by.

    Raises
    ------
    UsageError
        Names both.
    """
    policy = _policy(connection, names)
    if policy is not None and policy[1] and policy[0] != grace_s:
        raise UsageError(
            f"events.grace_s is {grace_s} here, and the job {names.job('meter')} counts by {policy[0]}: what is final "
            "would be decided by the wrong one.",
            f"set events.grace_s={policy[0]}, or `tidemark stop meter` and `tidemark submit meter` with the other one.",
        )


def _policy(connection: psycopg.Connection, names: Names) -> tuple[int, bool] | None:
    """Seconds of grace and whether a job counts by them; None without a ledger."""
    found = connection.execute("SELECT to_regclass(format('%%I.policy', %s::text))", [names.billing_schema]).fetchone()
    if found is None or found[0] is None:
        return None
    statement = sql.SQL("SELECT extract(epoch FROM grace)::bigint, counted FROM {}.policy")
    row: tuple[int, bool] | None = connection.execute(statement.format(sql.Identifier(names.billing_schema))).fetchone()
    return row


def _branch(relation: str, schema: str, overlay: Overlay | None, above: Sequence[Overlay]) -> sql.Composed:
    columns = sql.SQL(f"{_SERIES}, {_COLUMNS[relation]}, {_TOTALS}")
    conditions = [_scope(relation, overlay)] if overlay is not None else []
    conditions += [sql.SQL("NOT ({})").format(_scope(relation, upper)) for upper in above]
    where = sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(conditions)) if conditions else sql.SQL("")
    return sql.SQL("SELECT {} FROM {}").format(columns, sql.Identifier(schema, relation)) + where


def _scope(relation: str, overlay: Overlay) -> sql.Composable:
    start, end = (_instant(moment) for moment in (overlay.start, overlay.end))
    bounds = sql.SQL(RELATIONS[relation]).format(start=start, end=end)
    if not overlay.tenants:
        return bounds
    tenants = sql.SQL(", ").join(map(sql.Literal, overlay.tenants))
    return sql.SQL("{} AND tenant_id IN ({})").format(bounds, tenants)


def _instant(moment: datetime | None) -> sql.Composed:
    text = "infinity" if moment is None else moment.astimezone(UTC).isoformat()
    return sql.SQL("{}::timestamptz").format(sql.Literal(text))
