"""Which version of the rollups people read: views over the live run, and promoted replays where they reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from tidemark.core.names import Names

# What a layer takes of each table, and the columns all versions have. A day belongs to the layer by its date: replays
# read two days more at each side, so that every such day is whole in them.
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
_LAYERS = """
SELECT usage_schema, tenants, scope_start, scope_end FROM {schema}.layer ORDER BY position
"""


@dataclass(frozen=True, slots=True)
class Layer:
    """A version of the rollups, and where it stands for the ones below.

    Parameters
    ----------
    usage_schema:
        Schema of its tables.
    tenants:
        Tenants it holds; none for all.
    start, end:
        Half-open range of event time it holds whole; `end` None: it runs on.
    """

    usage_schema: str
    tenants: tuple[str, ...]
    start: datetime
    end: datetime | None


def layers(connection: psycopg.Connection, names: Names) -> list[Layer]:
    """Promoted replays, the lowest first; empty before the first promotion."""
    statement = sql.SQL(_LAYERS).format(schema=sql.Identifier(names.billing_schema))
    return [Layer(row[0], tuple(row[1] or ()), row[2], row[3]) for row in connection.execute(statement)]


def follow(connection: psycopg.Connection, names: Names, stack: Sequence[Layer] | None = None) -> None:
    """Let the views of the ledger's schema read the versions given (None: those promoted now), in one transaction.

    The view is replaced, not written to: replacing waits for every transaction that has read one of the views, so none
    sees two versions, and reading through them costs nothing.
    """
    with connection.transaction():
        known = connection.execute(
            "SELECT to_regclass(format('%%I.layer', %s::text)) IS NOT NULL", [names.billing_schema]
        ).fetchone()
        if stack is None:
            stack = layers(connection, names) if known and known[0] else []
        for relation in RELATIONS:
            connection.execute(view_of(names.billing_schema, relation, names.usage_schema, stack))


def view_of(schema: str, relation: str, base: str, stack: Sequence[Layer]) -> sql.Composed:
    """The statement that makes `schema.relation` of the live rollups in `base` and the layers on them."""
    branches = [_branch(relation, base, None, stack)]
    branches += [_branch(relation, one.usage_schema, one, stack[place + 1 :]) for place, one in enumerate(stack)]
    head = sql.SQL("CREATE OR REPLACE VIEW {} AS ").format(sql.Identifier(schema, relation))
    return head + sql.SQL(" UNION ALL ").join(branches)


def set_grace(connection: psycopg.Connection, names: Names, grace_s: int) -> None:
    """Tell the views when an estimate becomes final; unchanged values are not written."""
    statement = sql.SQL(
        "UPDATE {}.policy SET grace = make_interval(secs => %(grace)s) WHERE grace <> make_interval(secs => %(grace)s)"
    )
    connection.execute(statement.format(sql.Identifier(names.billing_schema)), {"grace": grace_s})


def _branch(relation: str, schema: str, own: Layer | None, above: Sequence[Layer]) -> sql.Composed:
    columns = sql.SQL(f"{_SERIES}, {_COLUMNS[relation]}, {_TOTALS}")
    conditions = [_scope(relation, own)] if own is not None else []
    conditions += [sql.SQL("NOT ({})").format(_scope(relation, layer)) for layer in above]
    where = sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(conditions)) if conditions else sql.SQL("")
    return sql.SQL("SELECT {} FROM {}").format(columns, sql.Identifier(schema, relation)) + where


def _scope(relation: str, layer: Layer) -> sql.Composable:
    start, end = (_instant(moment) for moment in (layer.start, layer.end))
    bounds = sql.SQL(RELATIONS[relation]).format(start=start, end=end)
    if not layer.tenants:
        return bounds
    tenants = sql.SQL(", ").join(map(sql.Literal, layer.tenants))
    return sql.SQL("{} AND tenant_id IN ({})").format(bounds, tenants)


def _instant(moment: datetime | None) -> sql.Composed:
    text = "infinity" if moment is None else moment.astimezone(UTC).isoformat()
    return sql.SQL("{}::timestamptz").format(sql.Literal(text))
