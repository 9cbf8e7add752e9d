"""Explains a number on a bill: its versions in the ledger, the deltas behind it, and the events in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

import psycopg
from psycopg import sql

from tidemark.billing import delta_index, periods, store
from tidemark.billing.delta_index import WIDE, Source
from tidemark.billing.events import Event, read_events
from tidemark.billing.lines import Line, LineKey, PeriodKey
from tidemark.billing.moments import Moment, day_start
from tidemark.billing.sources import source_run
from tidemark.billing.true_up import Change
from tidemark.core import rollup_views
from tidemark.core.errors import UsageError
from tidemark.core.postgres import connect
from tidemark.core.settings import Settings
from udfs.catalog.cache import Catalog
from udfs.catalog.model import Pair
from udfs.values import rfc3339

CURRENT = "current"

_PERIOD = """
SELECT period_start, period_end
FROM {schema}.period_status
WHERE tenant_id = %s AND customer_id = %s AND period_start <= %s AND period_end > %s
ORDER BY is_current DESC, closed_at DESC
LIMIT 1
"""
_HISTORY = """
SELECT 0, 'close', NULL, c.closed_at, c.closed_by, l.meter, l.dims, l.aggregation, l.unit, l.n, l.samples, l.value
FROM {schema}.period_close c
LEFT JOIN {schema}.period_close_line l
    ON (l.tenant_id, l.customer_id, l.period_start, l.period_end, l.meter)
     = (c.tenant_id, c.customer_id, c.period_start, c.period_end, %(meter)s)
WHERE (c.tenant_id, c.customer_id, c.period_start, c.period_end) = (%(tenant)s, %(customer)s, %(start)s, %(end)s)
UNION ALL
SELECT c.correction_no, c.cause, c.replay_id, c.made_at, c.made_by,
       l.meter, l.dims, l.aggregation, l.unit, l.after_n, l.after_samples, l.after
FROM {schema}.correction c
LEFT JOIN {schema}.correction_line l
    ON (l.tenant_id, l.customer_id, l.period_start, l.period_end, l.correction_no, l.meter)
     = (c.tenant_id, c.customer_id, c.period_start, c.period_end, c.correction_no, %(meter)s)
WHERE (c.tenant_id, c.customer_id, c.period_start, c.period_end) = (%(tenant)s, %(customer)s, %(start)s, %(end)s)
ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Version:
    """The lines of the meter in the ledger after a close (0) or a correction (its number), by dimensions."""

    number: int
    cause: str
    replay_id: str | None
    at: datetime
    by: str
    lines: Mapping[str, Line]


@dataclass(frozen=True, slots=True)
class Explained:
    """A meter of a period: its versions in the ledger, its present value in the rollups, and its sources.

    `current` is the usage so far; `projected` the value of a level at the end of an open period.
    """

    key: PeriodKey
    meter: str
    run_id: str
    versions: Sequence[Version]
    current: Mapping[str, Line]
    projected: Mapping[str, Line]
    sources: Sequence[Source]
    events: Sequence[Event] | None = None
    copies_complete: bool = True

    @property
    def adds_up(self) -> bool:
        """Whether the events that were read have, per dimensions, the same count and sum as the deltas."""
        if self.events is None:
            return True
        indexed = _sums((source.dims, source.n, source.samples, source.total) for source in self.sources)
        return indexed == _sums((event.dims, 1, event.samples, event.amount) for event in self.events)


def explain(
    settings: Settings, tenant: str, customer: str, meter: str, at: Moment | datetime | None = None, *,
    events: bool = False, copies: bool = False, progress: Callable[[int], None] | None = None,
) -> Explained:  # fmt: skip
    """Everything about a meter of a period, from Postgres and from the delta index, which is updated first.

    Parameters
    ----------
    settings, tenant, customer, meter:
        Which meter of which customer; the names are not checked.
    at:
        A moment in the period, see `period_at`; None: now.
    events:
        Also read the raw records, and find those that count by the catalog of today.
    copies:
        Search all records for their copies, however many there are.
    progress:
        Called with the number of deltas that were added to the index.

    Raises
    ------
    UsageError
        There is no such period.
    UnavailableError
        Postgres or Kafka does not answer.
    """
    catalog = periods.catalog_of(settings)
    with connect(settings.postgres.ops) as connection:
        key = period_at(connection, settings, catalog, (tenant, customer), at)
        run = source_run(rollup_views.overlays(connection, settings.names), settings, key)
        history = _history(connection, settings, key, meter)
        lines = store.wanted_lines(connection, settings.names, [key], so_far=True)[key]
        ends = store.wanted_lines(connection, settings.names, [key])[key]
        run_settings = settings.with_changes({"run_id": run})
        delta_index.catch_up(run_settings, settings.names, progress=progress)
        sources = delta_index.sources(connection, run_settings, settings.names, key, meter)
    read = read_events(run_settings, catalog, key, meter, sources, all_copies=copies) if events else None
    current, projected = (
        {line.dims: value for line, value in values.items() if line.meter == meter} for values in (lines, ends)
    )
    projected = {dims: line for dims, line in projected.items() if current.get(dims) != line}
    if read is None:
        return Explained(key, meter, run, history, current, projected, sources)
    return Explained(key, meter, run, history, current, projected, sources, read.events, read.copies_complete)


def between(explained: Explained, older: str, newer: str) -> dict[LineKey, Change]:
    """What changed between two versions: 0 as closed, k after correction k, `current` from the rollups.

    Raises
    ------
    UsageError
        There is no such version.
    """
    before, after = _lines(explained, older), _lines(explained, newer)
    changes = {dims: Change(before.get(dims), after.get(dims)) for dims in sorted({*before, *after})}
    return {LineKey(explained.meter, dims): change for dims, change in changes.items() if change.before != change.after}


def _lines(explained: Explained, name: str) -> Mapping[str, Line]:
    if name == CURRENT:
        return explained.current
    for version in explained.versions:
        if str(version.number) == name:
            return version.lines
    known = ", ".join([*(str(version.number) for version in explained.versions), CURRENT])
    raise UsageError(f"there is no version {name!r} of this period.", f"take one of {known}.")


def period_at(
    connection: psycopg.Connection, settings: Settings, catalog: Catalog, pair: Pair, at: Moment | datetime | None
) -> PeriodKey:
    """The period at a moment: a closed period first, else the period by the calendar.

    A local day means the period that contains its first instant. A month means the first period that begins in it,
    else the period in which the month begins. None means the open period.

    Raises
    ------
    UsageError
        The calendar has no such period.
    """
    catalog.prefetch([pair])
    try:
        if isinstance(at, datetime) or at is None:
            return _find(connection, settings, catalog, pair, at or store.now(connection))
        if at.day is None:
            return _find(connection, settings, catalog, pair, at.at or store.now(connection))
        start = day_start(catalog, pair, at.day)
        key = _find(connection, settings, catalog, pair, start)
        if at.month and key.start < start and key.end < day_start(catalog, pair, _next_month(at.day)):
            key = _find(connection, settings, catalog, pair, key.end)
    except periods.CALENDAR_ERRORS as error:
        text = at.text if isinstance(at, Moment) else rfc3339(at or store.now(connection))
        raise UsageError(f"{'/'.join(pair)} has no billing period at {text}: {error}", "") from error
    return key


def _find(connection: psycopg.Connection, settings: Settings, catalog: Catalog, pair: Pair, at: datetime) -> PeriodKey:
    schema = sql.Identifier(settings.names.billing_schema)
    closed = connection.execute(sql.SQL(_PERIOD).format(schema=schema), [*pair, at, at]).fetchone()
    if closed is not None:
        return PeriodKey(*pair, *closed)
    return next(periods.walk(catalog, pair, at, periods.FOREVER, None))


def _next_month(day: date) -> date:
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1)


def _history(connection: psycopg.Connection, settings: Settings, key: PeriodKey, meter: str) -> list[Version]:
    statement = sql.SQL(_HISTORY).format(schema=sql.Identifier(settings.names.billing_schema))
    values = {
        "tenant": key.tenant_id, "customer": key.customer_id, "start": key.start, "end": key.end, "meter": meter
    }  # fmt: skip
    versions: list[Version] = []
    lines: dict[str, Line] = {}
    for number, cause, replay, at, by, name, dims, *line in connection.execute(statement, values):
        if not versions or versions[-1].number != number:
            lines = dict(lines)
            versions.append(Version(number, cause, replay, at, by, lines))
        if name is not None and line[-1] is None:
            lines.pop(dims, None)
        elif name is not None:
            lines[dims] = Line(*line)
    return versions


def _sums(rows: Iterable[tuple[str, int, int, Decimal]]) -> dict[str, tuple[int, int, Decimal]]:
    """Measurements, samples and amounts added up by dimensions."""
    sums: dict[str, tuple[int, int, Decimal]] = {}
    for dims, more_n, more_samples, amount in rows:
        n, samples, total = sums.get(dims, (0, 0, Decimal(0)))
        sums[dims] = n + more_n, samples + more_samples, WIDE.add(total, amount)
    return sums
