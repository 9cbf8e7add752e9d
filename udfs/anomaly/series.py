"""Series that are watched, the minutes they come in, and the changes their detectors report."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, NamedTuple, get_args

from udfs.wire import WATCHED_SERIES

SeriesKind = Literal["meter", "customer", "tenant"]
Kind = Literal["spike", "drop", "missing", "drift", "customer_spike", "error_rate"]
Status = Literal["firing", "resolved"]
_KINDS: dict[str, SeriesKind] = {kind: kind for kind in get_args(SeriesKind)}


class Series(NamedTuple):
    """What is watched: a meter of a tenant, a meter of one customer, or the dead letters of a tenant.

    Parameters
    ----------
    kind:
        Which of them.
    tenant_id, customer_id, meter:
        Whose; customer and meter are empty where the kind has none.
    """

    kind: SeriesKind
    tenant_id: str
    customer_id: str = ""
    meter: str = ""

    @property
    def key(self) -> str:
        """The series as one text; `series_of` reads it."""
        return WATCHED_SERIES.pack(*self)


def series_of(key: str) -> Series:
    """The series of a key.

    Raises
    ------
    ValueError
        The text is not a key.
    """
    series = WATCHED_SERIES.unpack(key)
    if series.kind not in _KINDS:
        raise ValueError(f"{series.kind!r} is not a kind of series")
    return Series(_KINDS[series.kind], series.tenant_id, series.customer_id, series.meter)


class Minute(NamedTuple):
    """What happened to a series in one minute.

    Parameters
    ----------
    at_ms:
        Its start, UTC epoch ms.
    n:
        Measurements; of a tenant the events that were counted.
    total:
        Sum of the amounts, in the unit of the meter; of a tenant the number of dead letters.
    """

    at_ms: int
    n: int
    total: Decimal


class Figures(NamedTuple):
    """What an anomaly was decided by.

    Parameters
    ----------
    expected, observed, threshold:
        Volume of the window, and what would have been too much or too little of it; unit of the meter, or a share.
    score:
        Standard deviations between observed and expected.
    window_ms:
        Length of what was judged.
    """

    expected: Decimal
    observed: Decimal
    threshold: Decimal
    score: Decimal
    window_ms: int


class Change(NamedTuple):
    """An anomaly that begins or ends.

    Parameters
    ----------
    kind, status:
        What it is, and whether it begins or ends.
    since_ms, at_ms:
        When it began, and when this was decided, event time, UTC epoch ms; the window ended at `at_ms`.
    expected, observed, threshold, score, window_ms:
        See `Figures`.
    """

    kind: Kind
    status: Status
    since_ms: int
    at_ms: int
    expected: Decimal
    observed: Decimal
    threshold: Decimal
    score: Decimal
    window_ms: int


def rounded(value: float) -> Decimal:
    """An estimate as a decimal with at most 3 decimals."""
    return Decimal(f"{value:.3f}").normalize() + 0 if value else Decimal(0)
