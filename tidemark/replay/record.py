"""Replays in Postgres: their scope, their progress, the decisions about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tidemark.core.errors import UsageError
from tidemark.core.names import Names
from tidemark.core.rollup_views import Overlay
from tidemark.core.settings import Settings
from tidemark.core.settings.jobs import PROFILES
from udfs.values import rfc3339

State = Literal["running", "caught_up", "promoted", "reverted", "discarded"]
Decision = Literal["promote", "revert", "discard"]
# Next offsets by topic and partition (as text, which JSON keys are).
Offsets = Mapping[str, Mapping[str, int]]

# Days are stored by local date, and an overlay covers them by date: with two more days at each side all of them are
# complete, in any time zone. Usage outside the scope itself is never shown.
MARGIN = timedelta(days=2)
# At least, for a replay with an end: nobody waits for its counters or rows, so there may be fewer and larger writes.
UNHURRIED = {
    **{f"meter.{name}": value for name, value in PROFILES["throughput"].items()},
    "meter.backlog_tick_ms": 5_000, "rollup.minibatch_ms": 10_000, "rollup.checkpoint_interval_ms": 10_000,
}  # fmt: skip
_OVERLAPPING = """
SELECT replay_id FROM {schema}.replay
WHERE replay_id <> %(id)s AND state IN ('running', 'caught_up', 'reverted')
  AND scope_start < coalesce(%(end)s::timestamptz, 'infinity')
  AND %(start)s::timestamptz < coalesce(scope_end, 'infinity')
  AND (tenants IS NULL OR %(tenants)s::text[] IS NULL OR tenants && %(tenants)s::text[])
ORDER BY started_at LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Replay:
    """A row of `replay`; see the comments of its columns."""

    replay_id: str
    state: State
    scope_start: datetime
    scope_end: datetime | None
    tenants: tuple[str, ...]
    from_archive: bool
    events_topic: str
    catalog_at: datetime | None
    events_per_s: int
    read_from: datetime | None
    late_until: datetime
    starts: Offsets
    target: Offsets
    reached: Offsets | None
    watermark: datetime | None
    started_at: datetime
    started_by: str
    caught_up_at: datetime | None

    @property
    def bounded(self) -> bool:
        """Whether it has an end; otherwise it follows the live stream."""
        return self.scope_end is not None

    def overlay(self, names: Names) -> Overlay:
        """Its rollups as an overlay of the run that `names` belong to."""
        schema = Names(names.replay(self.replay_id)).usage_schema
        return Overlay(schema, self.tenants, self.scope_start, self.scope_end)


def run_settings(settings: Settings, replay: Replay) -> Settings:
    """Settings of the jobs of a replay: a run of its own, over its scope and a margin."""
    return settings.with_changes(
        {
            "run_id": settings.names.replay(replay.replay_id),
            "topics.events": replay.events_topic,
            "replay.scope_from": rfc3339(replay.scope_start - MARGIN),
            "replay.scope_to": rfc3339(replay.scope_end + MARGIN) if replay.scope_end else "",
            "replay.scope_tenants": replay.tenants,
            "replay.late_until": replay.late_until.isoformat(),
            "replay.events_per_s": replay.events_per_s,
            "catalog.schema_name": catalog_schema(settings, replay),
            **(_of_history(settings) if replay.bounded else {}),
        }
    )


def _of_history(settings: Settings) -> dict[str, Any]:
    # Sliding windows of a past range are of no use, and those of customers are most of the rows.
    changes: dict[str, Any] = {"rollup.customer_windows": False}
    for name, least in UNHURRIED.items():
        section, _, field = name.partition(".")
        changes[name] = max(least, getattr(getattr(settings, section), field))
    return changes


def catalog_schema(settings: Settings, replay: Replay) -> str:
    """Schema of the catalog it measures by: the present catalog, or a catalog of the replay."""
    own = f"catalog_{settings.names.replay(replay.replay_id)}"
    return own if replay.catalog_at is not None else settings.catalog.schema_name


def find(connection: psycopg.Connection, names: Names, replay_id: str) -> Replay:
    """The replay of that name.

    Raises
    ------
    UsageError
        There is no such replay.
    """
    replay = known(connection, names, replay_id)
    if replay is None:
        raise UsageError(f"there is no replay {replay_id!r}.", "`tidemark replay list` shows them.")
    return replay


def known(connection: psycopg.Connection, names: Names, replay_id: str) -> Replay | None:
    """The replay of that name; None where there never was one."""
    return next((one for one in every(connection, names) if one.replay_id == replay_id), None)


def every(connection: psycopg.Connection, names: Names) -> list[Replay]:
    """All replays of the run, the newest first."""
    statement = sql.SQL("SELECT * FROM {}.replay ORDER BY started_at DESC").format(_schema(names))
    with connection.cursor(row_factory=dict_row) as cursor:
        return [Replay(**{**row, "tenants": tuple(row["tenants"] or ())}) for row in cursor.execute(statement)]


def refuse(
    connection: psycopg.Connection, names: Names, replay_id: str, start: datetime, end: datetime | None,
    tenants: Sequence[str],
) -> None:  # fmt: skip
    """Refuse a new replay that cannot be inserted.

    Raises
    ------
    UsageError
        The name is taken, or another replay that is not decided yet covers some of the same usage.
    """
    scope = {"id": replay_id, "start": start, "end": end, "tenants": list(tenants) or None}
    if known(connection, names, replay_id) is not None:
        raise UsageError(f"replay {replay_id!r} was used before.", "choose another --id; ids stay in the history.")
    other = connection.execute(sql.SQL(_OVERLAPPING).format(schema=_schema(names)), scope).fetchone()
    if other:
        raise UsageError(
            f"replay {other[0]!r} covers some of the same usage and is not decided yet.",
            f"promote it, or `tidemark replay discard {other[0]}`.",
        )


def insert(connection: psycopg.Connection, names: Names, replay: Replay) -> None:
    """Insert a new replay; in a transaction that holds the lock of the ledger. Raises as `refuse` does."""
    refuse(connection, names, replay.replay_id, replay.scope_start, replay.scope_end, replay.tenants)
    row = {
        **{name: getattr(replay, name) for name in Replay.__slots__ if name not in {"started_at", "caught_up_at"}},
        "tenants": list(replay.tenants) or None, "starts": Jsonb(replay.starts), "target": Jsonb(replay.target),
        "reached": None,
    }  # fmt: skip
    statement = sql.SQL("INSERT INTO {}.replay ({}) VALUES ({})").format(
        _schema(names),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(map(sql.Placeholder, row)),
    )
    connection.execute(statement, row)


def update(connection: psycopg.Connection, names: Names, replay_id: str, **changes: Any) -> None:
    """Change columns of a replay; mappings become JSON."""
    values = {name: Jsonb(value) if isinstance(value, Mapping) else value for name, value in changes.items()}
    assigned = [sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in values]
    statement = sql.SQL("UPDATE {}.replay SET {} WHERE replay_id = %(replay)s").format(
        _schema(names), sql.SQL(", ").join(assigned)
    )
    connection.execute(statement, {**values, "replay": replay_id})


def decide(
    connection: psycopg.Connection, names: Names, replay_id: str, decision: Decision, by: str, counts: Sequence[int]
) -> None:
    """Store a decision with its number of closes and corrections."""
    statement = sql.SQL(
        "INSERT INTO {}.replay_decision (replay_id, decision, by, closes, corrections) VALUES (%s, %s, %s, %s, %s)"
    ).format(_schema(names))
    connection.execute(statement, [replay_id, decision, by, *counts])


def _schema(names: Names) -> sql.Identifier:
    return sql.Identifier(names.billing_schema)
