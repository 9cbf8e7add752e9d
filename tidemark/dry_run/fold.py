"""Adds measurements up as the rollups do: a row per series, part and bucket, at four grains; plain Python."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from typing import Literal, NamedTuple

from udfs.calendars.calendar import HOUR_MS, MINUTE_MS
from udfs.meters.packing import Packed

Grain = Literal["minute", "hour", "day", "period"]
GRAINS: tuple[Grain, ...] = ("minute", "hour", "day", "period")
# DECIMAL(38, 9) holds 38 digits: intermediate sums are never rounded.
EXACT = Context(prec=100)
# Prefix of parts that hold a value of a unique meter: there are too many to keep them by minute and hour.
UNIQUE_PART = "u"


class Series(NamedTuple):
    """Key of a series; `dims` is canonical JSON of the group-by values, '' without group-by."""

    tenant: str
    customer: str
    meter: str
    dims: str


# Start of a minute, hour or period in UTC epoch ms, or a local day as ISO text.
Bucket = int | str
# Parts of a bucket by name; '' for the plain total.
Parts = dict[str, "Cell"]


@dataclass(slots=True)
class Cell:
    """One row of a rollup.

    Parameters
    ----------
    n:
        Measurements applied, voids too.
    samples:
        Number of values in it: a void takes one back.
    total:
        Sum of the amounts.
    lo, hi:
        Least and greatest amount of measurements that are not voids; None if there are none.
    latest:
        The greatest text, by code point, which is the order by UTF-8 byte; '' without a text.
    period_end_ms:
        Earliest period end of its measurements.
    minute_ms:
        Start of the first minute with a measurement.
    """

    n: int
    samples: int
    total: Decimal
    lo: Decimal | None
    hi: Decimal | None
    latest: str
    period_end_ms: int
    minute_ms: int

    def copy(self) -> Cell:
        """A copy, for merging other rows into it."""
        return Cell(self.n, self.samples, self.total, self.lo, self.hi, self.latest, self.period_end_ms, self.minute_ms)

    def merge(self, other: Cell) -> None:
        """Add another row; the order of merges does not matter. Must be called in the context EXACT."""
        self.n += other.n
        self.samples += other.samples
        self.total += other.total
        if other.lo is not None and (self.lo is None or other.lo < self.lo):
            self.lo = other.lo
        if other.hi is not None and (self.hi is None or other.hi > self.hi):
            self.hi = other.hi
        self.latest = max(self.latest, other.latest)
        self.period_end_ms = min(self.period_end_ms, other.period_end_ms)
        self.minute_ms = min(self.minute_ms, other.minute_ms)


def cell_of(measurement: Packed) -> Cell:
    """A measurement as a row."""
    m, amount = measurement, Decimal(measurement.amount)
    bound = amount if m.samples > 0 else None
    return Cell(1, m.samples, amount, bound, bound, m.latest, m.period_end_ms, m.minute_ms)


# Part, minute, day and period: the buckets of every grain follow from these.
_Place = tuple[str, int, str, int]


class Fold:
    """Everything counted so far, by series."""

    def __init__(self) -> None:
        self._cells: dict[Series, dict[_Place, Cell]] = {}
        self._last_ms: int | None = None

    def add(self, measurements: Iterable[Packed]) -> None:
        """Add measurements; each must be added once."""
        with localcontext(EXACT):
            for measurement in measurements:
                self._add(measurement)

    def _add(self, m: Packed) -> None:
        series = Series(m.tenant, m.customer, m.meter, m.dims)
        cells = self._cells.get(series)
        if cells is None:
            cells = self._cells[series] = {}
        place = m.part, m.minute_ms, m.day, m.period_start_ms
        cell = cells.get(place)
        if cell is None:
            cells[place] = cell_of(m)
        else:
            cell.merge(cell_of(m))
        if self._last_ms is None or m.minute_ms > self._last_ms:
            self._last_ms = m.minute_ms

    @property
    def last_ms(self) -> int | None:
        """Start of the minute of the latest event time, UTC epoch ms; None before the first measurement."""
        return self._last_ms

    def series(self) -> list[Series]:
        """All series, sorted."""
        return sorted(self._cells)

    def buckets(self, series: Series, grain: Grain) -> Mapping[Bucket, Parts]:
        """Rows of one series by bucket and part, in the order of time; values of `unique` by day and period only."""
        buckets: dict[Bucket, Parts] = {}
        with localcontext(EXACT):
            for (part, minute_ms, day, period_start_ms), cell in self._cells[series].items():
                if part.startswith(UNIQUE_PART) and grain in {"minute", "hour"}:
                    continue
                parts = buckets.setdefault(_bucket(grain, minute_ms, day, period_start_ms), {})
                if part in parts:
                    parts[part].merge(cell)
                else:
                    parts[part] = cell.copy()
        return dict(sorted(buckets.items(), key=lambda item: item[0]))

    def rows(self, grain: Grain) -> Iterator[tuple[Series, str, Bucket, Cell]]:
        """All rows of a grain: series, part, bucket and the row of the rollup's table."""
        for series in self.series():
            for bucket, parts in self.buckets(series, grain).items():
                for part, cell in sorted(parts.items()):
                    yield series, part, bucket, cell


def _bucket(grain: Grain, minute_ms: int, day: str, period_start_ms: int) -> Bucket:
    match grain:
        case "minute":
            return minute_ms
        case "hour":
            return minute_ms - minute_ms % HOUR_MS
        case "day":
            return day
        case "period":
            return period_start_ms


def end_of(grain: Literal["minute", "hour"], start_ms: int) -> int:
    """First instant after a minute or hour."""
    return start_ms + (MINUTE_MS if grain == "minute" else HOUR_MS)
