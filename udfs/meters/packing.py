"""Measurements as one text: what an event adds, packed for its way through the jobs, and unpacked again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from udfs.calendars.calendar import SEPARATOR

# Between the measurements of one event, and between amount, series, samples and latest of one measurement. Control
# characters are rejected in ids and escaped in dims, so none can occur inside a field.
MEASUREMENT_SEPARATOR = "\x1d"
AMOUNT_SEPARATOR = "\x1e"
# Where the stamp (minute, day, period) goes: what an event adds is known before the calendar of its customer is.
STAMP = "\x1c"


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
        Event time (ns, 21 digits), source, event id and value with SEPARATOR between them; '' but for `latest` meters.
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
    owner: str, meter: str, amount: str, dims: str = "", part: str = "", samples: int = 1, latest: str = ""
) -> str:
    """One measurement as text, with STAMP for the stamp; `owner` is tenant and customer, a SEPARATOR after each."""
    head = f"{amount}{AMOUNT_SEPARATOR}{owner}{meter}{SEPARATOR}{dims}{SEPARATOR}{part}{SEPARATOR}{STAMP}"
    if samples == 1 and not latest:
        return head
    return f"{head}{AMOUNT_SEPARATOR}{samples}{AMOUNT_SEPARATOR}{latest}"


def stamped(texts: list[str], stamp: str) -> str:
    """The measurements of one event, as `unstamped` returns them, in one text.

    Parameters
    ----------
    texts:
        At least one.
    stamp:
        As `udfs.calendars.calendar.Calendar.stamp_at` returns it.
    """
    return MEASUREMENT_SEPARATOR.join(texts).replace(STAMP, stamp)


def pack(measurements: Iterable[Packed]) -> str:
    """The measurements of one event in one text."""
    return MEASUREMENT_SEPARATOR.join(map(_packed, measurements))


def _packed(one: Packed) -> str:
    owner = f"{one.tenant}{SEPARATOR}{one.customer}{SEPARATOR}"
    stamp = SEPARATOR.join([str(one.minute_ms), one.day, str(one.period_start_ms), str(one.period_end_ms)])
    text = unstamped(owner, one.meter, one.amount, one.dims, one.part, one.samples, one.latest)
    return text.replace(STAMP, stamp)


def unpack(text: str) -> list[Packed]:
    """The measurements in a text.

    Raises
    ------
    ValueError
        The text is not of `pack` or `stamped`.
    """
    return [_unpacked(one) for one in text.split(MEASUREMENT_SEPARATOR)]


def _unpacked(text: str) -> Packed:
    amount, series, *more = text.split(AMOUNT_SEPARATOR)
    samples, latest = more or ("1", "")
    tenant, customer, meter, dims, part, minute, day, start, end = series.split(SEPARATOR)
    return Packed(
        amount, int(samples), latest, tenant, customer, meter, dims, part, int(minute), day, int(start), int(end)
    )
