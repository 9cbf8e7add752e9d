"""Measurements as one text: what an event adds, packed for its way through the jobs, and unpacked again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from udfs.wire import MEASUREMENT, PERIOD, PLACEHOLDER, SERIES, STAMP, Measurement

# A measurement without its stamp, for the calendar of its customer may not be known yet: its amount, and its series
# with a placeholder for the stamp, behind which there is more unless it is plain: of one sample, without `latest`.
Unstamped = tuple[str, str]


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
) -> Unstamped:
    """One measurement that waits for its stamp."""
    series = SERIES.pack(tenant, customer, meter, dims, part, PLACEHOLDER)
    if samples == 1 and not latest:
        return amount, series
    _, _, rest = MEASUREMENT.pack(amount, series, samples, latest).partition(MEASUREMENT.separator)
    return amount, rest


def pack_plain(amount: str, series: str) -> str:
    """A plain measurement as text, of its amount and the text of its series."""
    return MEASUREMENT.pack_required(amount, series)


def stamped(measured: Sequence[Unstamped], stamp: str) -> str:
    """The measurements of one event, at least one, in one text.

    `stamp` is as `udfs.calendars.calendar.Calendar.stamp_at` returns it.
    """
    texts = [MEASUREMENT.pack_required(amount, rest) for amount, rest in measured]
    return MEASUREMENT.between.join(texts).replace(PLACEHOLDER, stamp)


def pack(measurements: Iterable[Packed]) -> str:
    """The measurements of one event in one text."""
    return MEASUREMENT.between.join(map(_packed, measurements))


def _packed(measurement: Packed) -> str:
    m = measurement
    one = unstamped(m.tenant, m.customer, m.meter, m.amount, m.dims, m.part, m.samples, m.latest)
    return stamped([one], STAMP.pack(m.minute_ms, m.day, PERIOD.pack(m.period_start_ms, m.period_end_ms)))


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
