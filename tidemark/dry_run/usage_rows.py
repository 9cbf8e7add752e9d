"""Usage with values: one row per series and bucket, from the counts of a `Model`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from tidemark.dry_run.carry import Integral, Stretch, day_stretches, integrals_by_day, integrals_by_period
from tidemark.dry_run.fold import Bucket, Grain, Parts, Series, end_of
from tidemark.dry_run.model import Model
from tidemark.dry_run.values import value_of
from udfs.catalog.index import Account
from udfs.meters.meter import Meter


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The value of one bucket of one series.

    Parameters
    ----------
    meter:
        The version that is valid at the start of the bucket.
    bucket:
        Start of a minute, hour or period in UTC epoch ms, or a local day as ISO text.
    end_ms:
        First instant after a minute, hour or period; None for a day.
    percentiles:
        By name, for a `percentile` meter.
    """

    series: Series
    meter: Meter
    bucket: Bucket
    end_ms: int | None
    value: Decimal
    samples: int
    percentiles: Mapping[str, Decimal] = field(default_factory=dict)


def usage_rows(model: Model, grain: Grain) -> Iterator[UsageRow]:
    """All usage at one grain, by series and time; buckets without a value are left out.

    A `unique` meter has values by day and period. So has a `weighted_sum`, whose level is carried to the bucket of the
    last event of all series.
    """
    days: dict[tuple[str, str], list[Stretch]] = {}
    for series in model.fold.series():
        if model.meters.aggregation(series.tenant, series.meter) != "weighted_sum":
            yield from _bucket_rows(model, series, grain)
        elif grain == "period":
            yield from _rows_of(model, series, _periods(model, series), grain)
        elif grain == "day":
            yield from _rows_of(model, series, _days(model, series, days), grain)


def _bucket_rows(model: Model, series: Series, grain: Grain) -> Iterator[UsageRow]:
    """Rows of a meter whose buckets do not depend on each other."""
    aggregation = model.meters.aggregation(series.tenant, series.meter)
    for bucket, parts in model.fold.buckets(series, grain).items():
        value = value_of(aggregation, parts)
        if value is not None:
            meter = model.meters.meter_at(series.tenant, series.meter, _first_minute(parts, bucket))
            end_ms = _end(grain, bucket, parts)
            yield UsageRow(series, meter, bucket, end_ms, value.value, value.samples, value.percentiles)


def _first_minute(parts: Parts, bucket: Bucket) -> int:
    """An instant of a bucket; it determines the version of the meter."""
    return bucket if isinstance(bucket, int) else min(cell.minute_ms for cell in parts.values())


def _end(grain: Grain, bucket: Bucket, parts: Parts) -> int | None:
    if grain == "day" or not isinstance(bucket, int):
        return None
    if grain == "period":
        return min(cell.period_end_ms for cell in parts.values())
    return end_of(grain, bucket)


def _rows_of(
    model: Model, series: Series, integrals: Iterator[Integral], grain: Literal["day", "period"]
) -> Iterator[UsageRow]:
    for integral in integrals:
        meter = model.meters.meter_at(series.tenant, series.meter, integral.start_ms)
        end_ms = integral.end_ms if grain == "period" else None
        yield UsageRow(series, meter, integral.bucket, end_ms, integral.value, integral.samples)


def _periods(model: Model, series: Series) -> Iterator[Integral]:
    periods, last_ms = model.fold.buckets(series, "period"), _last_ms(model)
    return integrals_by_period(periods, _account(model, series), last_ms, _per(model, series))


def _days(model: Model, series: Series, known: dict[tuple[str, str], list[Stretch]]) -> Iterator[Integral]:
    """`known`: days of customers that were computed before; those of this customer are added."""
    minutes, last_ms = model.fold.buckets(series, "minute"), _last_ms(model)
    first_ms = min(start for start in minutes if isinstance(start, int))
    pair = series.tenant, series.customer
    stretches = known.get(pair)
    if stretches is None or stretches[0].start_ms > first_ms:
        stretches = known[pair] = day_stretches(_account(model, series), first_ms, last_ms)
    return integrals_by_day(minutes, model.fold.buckets(series, "day"), stretches, last_ms, _per(model, series))


def _per(model: Model, series: Series) -> Literal["second", "minute", "hour", "day"]:
    return model.meters.meter_at(series.tenant, series.meter, _last_ms(model)).per


def _last_ms(model: Model) -> int:
    return model.fold.last_ms or 0


def _account(model: Model, series: Series) -> Account:
    account = model.catalog.account((series.tenant, series.customer))
    if account is None:
        raise LookupError(f"{series.tenant}/{series.customer} was counted, but is not in the catalog")
    return account
