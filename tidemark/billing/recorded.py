"""The ledger as its tables have it, each close and correction made into its record again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal, NamedTuple, TypeVar

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from tidemark.billing.chain import Link
from tidemark.billing.lines import Line, LineKey, PeriodKey, content_hash
from tidemark.billing.messages import Context, close_message, correction_message
from tidemark.billing.true_up import Cause, Change, Close, Correction
from tidemark.core.names import Names

Topic = Literal["closes", "corrections"]
# Rows that come over the network at once.
_FETCHED = 5_000
# Compared in Python, which orders text by code points.
_ORDER = 'tenant_id COLLATE "C", customer_id COLLATE "C", period_start, period_end, number'
_HEADS = f"""
SELECT * FROM (
    SELECT tenant_id, customer_id, period_start, period_end, 0 AS number, closed_at AS at, closed_by AS by, run_id,
           rests_on, content_hash, chain_no, previous_hash, record_hash, catalog_revision, watermark, dead_letters,
           '' AS cause, NULL AS replay_id, true AS is_current
    FROM {{schema}}.period_close
    WHERE %(tenant)s::text IS NULL OR tenant_id = %(tenant)s
    UNION ALL
    SELECT tenant_id, customer_id, period_start, period_end, correction_no, made_at, made_by, run_id,
           rests_on, content_hash, chain_no, previous_hash, record_hash, 0, made_at, 0, cause, replay_id, is_current
    FROM {{schema}}.correction
    WHERE %(tenant)s::text IS NULL OR tenant_id = %(tenant)s
) rows
ORDER BY {_ORDER}
"""
_LINES = f"""
SELECT * FROM (
    SELECT tenant_id, customer_id, period_start, period_end, 0 AS number, meter, dims, aggregation, unit,
           NULL::numeric AS before, 0::bigint AS before_n, 0::bigint AS before_samples, value AS after, n AS after_n,
           samples AS after_samples, value AS delta
    FROM {{schema}}.period_close_line
    WHERE %(tenant)s::text IS NULL OR tenant_id = %(tenant)s
    UNION ALL
    SELECT tenant_id, customer_id, period_start, period_end, correction_no, meter, dims, aggregation, unit,
           before, before_n, before_samples, after, after_n, after_samples, delta
    FROM {{schema}}.correction_line
    WHERE %(tenant)s::text IS NULL OR tenant_id = %(tenant)s
) rows
ORDER BY {_ORDER}
"""


class Place(NamedTuple):
    """A record of the ledger: the period, and 0 for its close or the number of the correction."""

    tenant_id: str
    customer_id: str
    start: datetime
    end: datetime
    number: int

    @property
    def key(self) -> PeriodKey:
        """The period."""
        return PeriodKey(*self[:4])


@dataclass(frozen=True, slots=True)
class Head:
    """A row of `period_close`, or of `correction`; see the comments of their columns."""

    tenant_id: str
    customer_id: str
    period_start: datetime
    period_end: datetime
    number: int
    at: datetime
    by: str
    run_id: str
    rests_on: dict[str, dict[str, int]]
    content_hash: str
    chain_no: int | None
    previous_hash: str | None
    record_hash: str | None
    catalog_revision: int
    watermark: datetime
    dead_letters: int
    cause: Cause
    replay_id: str | None
    is_current: bool

    @property
    def place(self) -> Place:
        """Which record it is."""
        return Place(self.tenant_id, self.customer_id, self.period_start, self.period_end, self.number)

    @property
    def link(self) -> Link | None:
        """Its place in the chain; None for one from before there was a chain."""
        return Link(self.chain_no, self.previous_hash) if self.chain_no is not None and self.previous_hash else None


@dataclass(frozen=True, slots=True)
class LineRow:
    """A row of `period_close_line`, where all is `after`, or of `correction_line`."""

    tenant_id: str
    customer_id: str
    period_start: datetime
    period_end: datetime
    number: int
    meter: str
    dims: str
    aggregation: str
    unit: str
    before: Decimal | None
    before_n: int
    before_samples: int
    after: Decimal | None
    after_n: int
    after_samples: int
    delta: Decimal

    @property
    def place(self) -> Place:
        """Which record it is of."""
        return Place(self.tenant_id, self.customer_id, self.period_start, self.period_end, self.number)

    @property
    def at(self) -> LineKey:
        """Meter and dimensions."""
        return LineKey(self.meter, self.dims)

    @property
    def then(self) -> Line | None:
        """The line after it."""
        return self._line(self.after_n, self.after_samples, self.after)

    def follows(self, before: Line | None) -> bool:
        """Whether it changes a line as it was."""
        was = self._line(self.before_n, self.before_samples, self.before)
        if was is None or before is None:
            return was is before and self.delta == Change(None, self.then).delta
        same = (was.n, was.samples, was.value) == (before.n, before.samples, before.value)
        return same and self.delta == Change(before, self.then).delta

    def _line(self, n: int, samples: int, value: Decimal | None) -> Line | None:
        return None if value is None else Line(self.aggregation, self.unit, n, samples, value)


_Row = TypeVar("_Row", Head, LineRow)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A close or correction of the tables.

    Parameters
    ----------
    head:
        Its row.
    body:
        Value that its record in Kafka has by these rows.
    lines_hash:
        Hash of the period and its lines by these rows.
    astray:
        Lines that do not follow from those before them, or that have no close or correction.
    """

    head: Head
    body: str
    lines_hash: str
    astray: tuple[LineKey, ...] = ()

    @property
    def topic(self) -> Topic:
        """Where its record is published."""
        return "corrections" if self.head.number else "closes"


def records(connection: psycopg.Connection, names: Names, tenant: str | None = None) -> Iterator[Recorded]:
    """All closes and corrections, or those of a tenant, by period and number; in a transaction of the caller."""
    lines = _Lines(_rows(connection, names, _LINES, LineRow, tenant))
    period = _Period()
    for head in _rows(connection, names, _HEADS, Head, tenant):
        if head.place.key != period.key:
            period = _Period(head.place.key)
        yield period.recorded(head, lines.of(head.place))


@dataclass
class _Period:
    """A period while its close and corrections are read, one after the other."""

    key: PeriodKey | None = None
    lines: dict[LineKey, Line] = field(default_factory=dict)

    def recorded(self, head: Head, rows: list[LineRow]) -> Recorded:
        changes = {row.at: Change(self.lines.get(row.at), row.then) for row in rows}
        astray = tuple(row.at for row in rows if row.place != head.place or not row.follows(self.lines.get(row.at)))
        for at, change in changes.items():
            if change.after is None:
                self.lines.pop(at, None)
            else:
                self.lines[at] = change.after
        return Recorded(head, self._body(head, changes), content_hash(head.place.key, self.lines), astray)

    def _body(self, head: Head, changes: dict[LineKey, Change]) -> str:
        context = Context(head.at, head.by, head.run_id, head.rests_on, head.watermark, head.catalog_revision)
        key = head.place.key
        if head.number == 0:
            return close_message(Close(key, dict(self.lines)), context, head.dead_letters, head.link)
        correction = Correction(key, head.number, changes, dict(self.lines), head.is_current)
        return correction_message(correction, context, head.cause, head.replay_id, head.link)


class _Lines:
    """Lines in the order of their records; those of a record that is not there go to the next one, which says so."""

    def __init__(self, rows: Iterator[LineRow]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def of(self, place: Place) -> list[LineRow]:
        taken = []
        while self._next is not None and self._next.place <= place:
            taken.append(self._next)
            self._next = next(self._rows, None)
        return taken


def _rows(
    connection: psycopg.Connection, names: Names, statement: str, kind: type[_Row], tenant: str | None
) -> Iterator[_Row]:
    text = sql.SQL(statement).format(schema=sql.Identifier(names.billing_schema))
    with connection.cursor(f"ledger_{kind.__name__.lower()}", row_factory=class_row(kind)) as cursor:
        cursor.itersize = _FETCHED
        yield from cursor.execute(text, {"tenant": tenant})
