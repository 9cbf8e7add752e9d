"""Measurements as one text: what an event adds, packed for its way through the jobs, and unpacked again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from udfs.wire import MEASUREMENT, PERIOD, PLACEHOLDER, SERIES, STAMP, Measurement

# Of amount, tenant, customer, meter, dims, part and stamp: a measurement of one sample without `latest`.
pack_plain = MEASUREMENT.pack_required_with("series", SERIES)


@dataclass(frozen=True, slots=True)
class Packed:
    """One measurement with the series it belongs to.

    Parameters
    ----------
    amount:
        Plain decimal text.
    samples:
        Values it stands for: 1, -1 for one taken back, 0 for none.
    latest:
        Event time (ns, 21 digits), source, event id and value as `udfs.wire.LATEST`; '' but for `latest` meters.
    dims:
        Canonical JSON of the group-by values, '' for none.
    part:
        Which piece of a total that is kept in pieces, '' for the others.
    minute_ms, day, period_start_ms, period_end_ms:
        UTC epoch ms, and the local date as ISO text.
    """

    amount: str
    samples: int
    latest: str
    tenant: str
    customer: str
    meter: str
    dims: str
    part: str
    minute_ms: int
    day: str
    period_start_ms: int
    period_end_ms: int


def unstamped(
    tenant: str,
    customer: str,
    meter: str,
    amount: str,
    dims: str = "",
    part: str = "",
    samples: int = 1,
    latest: str = "",
) -> str:
    """One measurement as text, with a placeholder for its stamp: the calendar of its customer may not be known yet."""
    if samples == 1 and not latest:
        return pack_plain(amount, tenant, customer, meter, dims, part, PLACEHOLDER)
    return MEASUREMENT.pack(amount, SERIES.pack(tenant, customer, meter, dims, part, PLACEHOLDER), samples, latest)


def stamped(texts: list[str], stamp: str) -> str:
    """The measurements of one event, as `unstamped` returns them, in one text.

    Parameters
    ----------
    texts:
        At least one.
    stamp:
        As `udfs.calendars.calendar.Calendar.stamp_at` returns it.
    """
    return MEASUREMENT.between.join(texts).replace(PLACEHOLDER, stamp)


def pack(measurements: Iterable[Packed]) -> str:
    """The measurements of one event in one text."""
    return MEASUREMENT.between.join(map(_packed, measurements))


def _packed(measurement: Packed) -> str:
    m = measurement
    text = unstamped(m.tenant, m.customer, m.meter, m.amount, m.dims, m.part, m.samples, m.latest)
    return stamped([text], STAMP.pack(m.minute_ms, m.day, PERIOD.pack(m.period_start_ms, m.period_end_ms)))


def unpack(text: str) -> list[Packed]:
    """The measurements in a text.

    Raises
    ------
    ValueError
        The text is not of `pack` or `stamped`.
    """
    return [_unpacked(measurement) for measurement in MEASUREMENT.split(text)]


def _unpacked(measurement: Measurement) -> Packed:
    series = SERIES.unpack(measurement.series)
    return Packed(
        amount=measurement.amount,
        samples=measurement.samples,
        latest=measurement.latest,
        tenant=series.tenant_id,
        customer=series.customer_id,
        meter=series.meter,
        dims=series.dims,
        part=series.part,
        minute_ms=series.stamp.minute_ms,
        day=series.stamp.local_day,
        period_start_ms=series.stamp.period.period_start_ms,
        period_end_ms=series.stamp.period.period_end_ms,
    )
