"""What promoting a replay would change: every line of its scope, as it is now and as it would be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tidemark.core import postgres, rollup_views
from tidemark.core.csv_text import csv_of
from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.migrate import values_files
from tidemark.core.settings import Settings
from tidemark.replay import record
from tidemark.replay.record import Replay
from udfs.values import EXACT, exact_sum, plain, rfc3339

# Made for the comparison alone, in a transaction that is never committed.
_PREVIEW = "tidemark_preview"
_LINES = """
SELECT tenant_id, customer_id, meter, dims, coalesce(a.period_start, b.period_start),
       coalesce(a.period_end, b.period_end), coalesce(a.unit, b.unit), b.value, a.value, coalesce(b.final, false)
FROM (
    SELECT tenant_id, customer_id, meter, dims, period_start, period_end, unit, value, final
    FROM {current}.usage_current_by_dims WHERE {scope}
) b
FULL JOIN (
    SELECT tenant_id, customer_id, meter, dims, period_start, period_end, unit, value
    FROM {preview}.usage_period_value WHERE {scope}
) a USING (tenant_id, customer_id, meter, dims, period_start)
WHERE a.value IS DISTINCT FROM b.value
  -- A level that no event changed has no row in the rollups.
  AND NOT (a.value IS NULL AND EXISTS (
      SELECT FROM {current}.meter_kind k
      WHERE (k.tenant_id, k.meter, k.aggregation) = (tenant_id, meter, 'weighted_sum')
  ))
ORDER BY abs(coalesce(a.value, 0) - coalesce(b.value, 0)) DESC, tenant_id, customer_id, meter, period_start, dims
"""


@dataclass(frozen=True, slots=True)
class Line:
    """A line that a replay changes; None: there is no such line before, or after.

    Parameters
    ----------
    tenant_id, customer_id, meter, dims, period_start, period_end, unit:
        Which line.
    before, after:
        The value now, closed periods with their corrections; and the value after promotion.
    final:
        Whether the period is closed: the change would be a correction.
    """

    tenant_id: str
    customer_id: str
    meter: str
    dims: str
    period_start: datetime
    period_end: datetime
    unit: str
    before: Decimal | None
    after: Decimal | None
    final: bool

    @property
    def delta(self) -> Decimal:
        """After less before; a missing line counts as 0."""
        return EXACT.subtract(self.after or Decimal(0), self.before or Decimal(0))

    def document(self) -> dict[str, Any]:
        """The line as JSON values; decimals are text."""
        return {
            "tenant_id": self.tenant_id, "customer_id": self.customer_id, "meter": self.meter, "dims": self.dims,
            "period_start": rfc3339(self.period_start), "period_end": rfc3339(self.period_end), "unit": self.unit,
            "before": None if self.before is None else plain(self.before),
            "after": None if self.after is None else plain(self.after),
            "delta": plain(self.delta), "final": self.final,
        }  # fmt: skip


def diff(settings: Settings, replay_id: str) -> list[Line]:
    """Lines that differ between the active version and the replay, the largest difference first.

    Raises
    ------
    TidemarkError
        The replay is still rebuilding, or is already promoted.
    """
    with postgres.connect(settings.postgres.owner) as connection:
        replay = record.find(connection, settings.names, replay_id)
        if replay.state not in {"caught_up", "reverted"}:
            raise TidemarkError(
                f"replay {replay_id!r} is {replay.state}: there is nothing to compare.",
                f"`tidemark replay resume {replay_id}` waits until it is caught up.",
            )
        with connection.transaction(force_rollback=True):
            _preview(connection, settings, replay)
            return [Line(*row) for row in connection.execute(_statement(settings, replay))]


def by_meter(lines: Iterable[Line]) -> list[tuple[str, str, int, Decimal]]:
    """Tenant, meter, number of lines that change, and the sum of their deltas; most lines first."""
    deltas_of: dict[tuple[str, str], list[Decimal]] = defaultdict(list)
    for line in lines:
        deltas_of[line.tenant_id, line.meter].append(line.delta)
    rows = [(tenant, meter, len(deltas), exact_sum(deltas)) for (tenant, meter), deltas in deltas_of.items()]
    return sorted(rows, key=lambda row: (-row[2], row[0], row[1]))


def write_csv(lines: Sequence[Line], file: Path) -> None:
    """All lines as CSV with a header; values are exact decimals. Raises UsageError where the file cannot be written."""
    text = csv_of([line.document() for line in lines], [*Line.__slots__, "delta"])
    try:
        file.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error}.", "name a file in a folder that exists.") from error


def _preview(connection: psycopg.Connection, settings: Settings, replay: Replay) -> None:
    names = settings.names
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(_PREVIEW)))
    stack = [*rollup_views.overlays(connection, names), replay.overlay(names)]
    for relation in rollup_views.RELATIONS:
        connection.execute(rollup_views.view_of(_PREVIEW, relation, names.usage_schema, stack))
    connection.execute(sql.SQL("SET LOCAL search_path TO {}, public").format(sql.Identifier(_PREVIEW)))
    for file in values_files():
        connection.execute(file.content)


def _statement(settings: Settings, replay: Replay) -> sql.Composed:
    bounds = [sql.SQL("period_start >= {}::timestamptz").format(sql.Literal(replay.scope_start.isoformat()))]
    if replay.scope_end:
        bounds.append(sql.SQL("period_end <= {}::timestamptz").format(sql.Literal(replay.scope_end.isoformat())))
    if replay.tenants:
        bounds.append(sql.SQL("tenant_id IN ({})").format(sql.SQL(", ").join(map(sql.Literal, replay.tenants))))
    return sql.SQL(_LINES).format(
        current=sql.Identifier(settings.names.billing_schema),
        preview=sql.Identifier(_PREVIEW),
        scope=sql.SQL(" AND ").join(bounds),
    )
