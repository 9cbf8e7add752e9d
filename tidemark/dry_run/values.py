"""The value of a bucket by aggregation, from the rows that the rollups keep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

from tidemark.dry_run.fold import EXACT, UNIQUE_PART, Cell, Parts
from udfs.meters.meter import BEGINNING_MS, FOREVER_MS, UNMEASURED, Aggregation, Meter
from udfs.meters.sketch import Bin, percentile
from udfs.wire import LATEST

PERCENTILES = ("p50", "p95", "p99")
_SHARES = {"p50": "0.5", "p95": "0.95", "p99": "0.99"}
_QUANTUM = Decimal("1E-9")
# The moments of a weighted sum do not count as samples.
_MOMENT_PART = "m"
_UNMEASURED = Meter(UNMEASURED, (), "count", unit="events")


@dataclass(frozen=True, slots=True)
class Value:
    """The value of one bucket of one series; percentiles by name for a `percentile` meter, else empty."""

    value: Decimal
    samples: int
    percentiles: Mapping[str, Decimal] = field(default_factory=dict)


def value_of(aggregation: Aggregation, parts: Parts) -> Value | None:
    """The value of a bucket from its rows by part; None where it has no value, as when all was taken back.

    None for a `weighted_sum`, which depends on earlier buckets: see `tidemark.dry_run.carry`.
    """
    percentiles: dict[str, Decimal] = {}
    if aggregation == "percentile":
        percentiles = _percentiles(parts)
        value = percentiles.get("p50")
    else:
        value = _VALUES[aggregation](parts) if aggregation in _VALUES else None
    return None if value is None else Value(value, samples_of(parts), percentiles)


def samples_of(parts: Parts) -> int:
    """Number of values in a bucket, without those taken back."""
    return sum(cell.samples for part, cell in parts.items() if part != _MOMENT_PART)


def mean(total: Decimal, samples: int) -> Decimal | None:
    """Total by samples, rounded half-even to 9 decimals; None where voids leave no sample to average."""
    if samples <= 0:
        return None
    with localcontext(EXACT):
        return (total / samples).quantize(_QUANTUM, ROUND_HALF_EVEN)


def _whole(take: Callable[[Cell], Decimal | None]) -> Callable[[Parts], Decimal | None]:
    """A value from the row that is not a part."""
    return lambda parts: take(parts[""]) if "" in parts else None


def _latest(cell: Cell) -> Decimal | None:
    return Decimal(LATEST.unpack(cell.latest).value) if cell.latest else None


def _unique(parts: Parts) -> Decimal | None:
    count = sum(part.startswith(UNIQUE_PART) and cell.samples > 0 for part, cell in parts.items())
    return Decimal(count) if count else None


def _percentiles(parts: Parts) -> dict[str, Decimal]:
    bins: dict[str, Bin] = {part: (cell.samples, cell.lo, cell.hi) for part, cell in parts.items() if part}
    values = {name: percentile(bins, share) for name, share in _SHARES.items()}
    return {name: value for name, value in values.items() if value is not None}


_VALUES: dict[Aggregation, Callable[[Parts], Decimal | None]] = {
    "count": _whole(lambda cell: cell.total),
    "sum": _whole(lambda cell: cell.total),
    "min": _whole(lambda cell: cell.lo),
    "max": _whole(lambda cell: cell.hi),
    "avg": _whole(lambda cell: mean(cell.total, cell.samples)),
    "latest": _whole(_latest),
    "unique": _unique,
}


class MeterRegistry:
    """Versions of meters by tenant and name."""

    def __init__(self, meters: Iterable[Meter]) -> None:
        self._versions: dict[tuple[str | None, str], list[Meter]] = {}
        for meter in meters:
            self._versions.setdefault((meter.tenant_id, meter.meter), []).append(meter)

    def meter_at(self, tenant: str, name: str, ms: int) -> Meter:
        """The version of a meter at an event time; the nearest version where none is valid.

        All versions have the same aggregation; units may differ.

        Raises
        ------
        KeyError
            The tenant has no such meter.
        """
        if name == UNMEASURED:
            return _UNMEASURED
        own, common = self._versions.get((tenant, name), []), self._versions.get((None, name), [])
        versions = [*own, *common]
        for version in versions:
            if version.valid_from_ms <= ms < version.valid_to_ms:
                return version
        if not versions:
            raise KeyError(f"tenant {tenant} has no meter {name}")
        return min(versions, key=lambda version: _distance(version, ms))

    def aggregation(self, tenant: str, name: str) -> Aggregation:
        """The aggregation of a meter; raises the errors of `meter_at`."""
        return self.meter_at(tenant, name, 0).aggregation


def _distance(meter: Meter, ms: int) -> int:
    before = meter.valid_from_ms - ms if meter.valid_from_ms > BEGINNING_MS else 0
    after = ms - meter.valid_to_ms if meter.valid_to_ms < FOREVER_MS else 0
    return max(before, after, 0)
