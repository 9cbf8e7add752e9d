"""Usage as people read it: one row per series and bucket with its value, from what a `Model` has counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from tidemark.dry_run.carry import Held, Stretch, day_stretches, held_by_day, held_by_period
from tidemark.dry_run.fold import Bucket, Grain, Parts, Series, end_of
from tidemark.dry_run.model import Model
from tidemark.dry_run.values import value_of
from udfs.catalog.index import Account
from udfs.meters.meter import Meter


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What one bucket of one series is worth.

    Parameters
    ----------
    meter:
        The version that holds at the begin of the bucket.
    bucket:
        Begin of a minute, hour or period in UTC epoch ms, or a local day as ISO text.
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

    A `unique` exists by day and period. So does a `weighted_sum`, which is carried to the bucket of the last event of
    all.
    """
    days: dict[tuple[str, str], list[Stretch]] = {}
    for series in model.fold.series():
        if model.meters.aggregation(series.tenant, series.meter) != "weighted_sum":
            yield from _own_rows(model, series, grain)
        elif grain == "period":
            yield from _rows_of(model, series, _periods(model, series), grain)
        elif grain == "day":
            yield from _rows_of(model, series, _days(model, series, days), grain)


def _own_rows(model: Model, series: Series, grain: Grain) -> Iterator[UsageRow]:
    """Rows of a meter whose buckets do not depend on each other."""
    aggregation = model.meters.aggregation(series.tenant, series.meter)
    for bucket, parts in model.fold.buckets(series, grain).items():
        found = value_of(aggregation, parts)
        if found is not None:
            meter = model.meters.meter_at(series.tenant, series.meter, _first_minute(parts, bucket))
            end_ms = _end(grain, bucket, parts)
            yield UsageRow(series, meter, bucket, end_ms, found.value, found.samples, found.percentiles)


def _first_minute(parts: Parts, bucket: Bucket) -> int:
    """An instant of a bucket, by which its meter is found."""
    return bucket if isinstance(bucket, int) else min(cell.minute_ms for cell in parts.values())


def _end(grain: Grain, bucket: Bucket, parts: Parts) -> int | None:
    if grain == "day" or not isinstance(bucket, int):
        return None
    if grain == "period":
        return min(cell.period_end_ms for cell in parts.values())
    return end_of(grain, bucket)


def _rows_of(model: Model, series: Series, held: Iterator[Held], grain: Literal["day", "period"]) -> Iterator[UsageRow]:
    for one in held:
        meter = model.meters.meter_at(series.tenant, series.meter, one.start_ms)
        end_ms = one.end_ms if grain == "period" else None
        yield UsageRow(series, meter, one.bucket, end_ms, one.value, one.samples)


def _periods(model: Model, series: Series) -> Iterator[Held]:
    periods, last_ms = model.fold.buckets(series, "period"), _last_ms(model)
    return held_by_period(periods, _account(model, series), last_ms, _per(model, series))


def _days(model: Model, series: Series, known: dict[tuple[str, str], list[Stretch]]) -> Iterator[Held]:
    """`known`: days of customers that were worked out before, with those of this one added."""
    minutes, last_ms = model.fold.buckets(series, "minute"), _last_ms(model)
    first_ms = min(start for start in minutes if isinstance(start, int))
    pair = series.tenant, series.customer
    stretches = known.get(pair)
    if stretches is None or stretches[0].start_ms > first_ms:
        stretches = known[pair] = day_stretches(_account(model, series), first_ms, last_ms)
    return held_by_day(minutes, model.fold.buckets(series, "day"), stretches, last_ms, _per(model, series))


def _per(model: Model, series: Series) -> Literal["second", "minute", "hour", "day"]:
    return model.meters.meter_at(series.tenant, series.meter, _last_ms(model)).per


def _last_ms(model: Model) -> int:
    return model.fold.last_ms or 0


def _account(model: Model, series: Series) -> Account:
    account = model.catalog.account((series.tenant, series.customer))
    if account is None:
        raise LookupError(f"{series.tenant}/{series.customer} was counted and is not known")
    return account
