"""The display of the demo while it counts: flights so far, and the latest totals of some carriers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tidemark.core.errors import UnavailableError
from tidemark.core.settings import Settings
from tidemark.demo.flights import DemoRecord
from tidemark.demo.report import SETTLE_S, query
from tidemark.demo.screen import Row

COLUMNS: Row = ("airport/carrier", "flights", "miles")
_SHOWN = 8
_POLL_S = 0.5
_CANCELLED = b'"timestamp":null'
_TOTALS = """
    SELECT tenant_id, customer_id, sum(total) FILTER (WHERE meter = 'flights') AS flights,
           coalesce(sum(total) FILTER (WHERE meter = 'miles'), 0) AS miles
    FROM usage_period WHERE meter IN ('flights', 'miles') GROUP BY 1, 2
    HAVING sum(total) FILTER (WHERE meter = 'flights') > 0 ORDER BY 3 DESC, 1, 2"""


def counted_flights(records: Sequence[DemoRecord]) -> int:
    """Number of distinct flights in the records, without those that were cancelled."""
    return len({record.value for record in records if _CANCELLED not in record.value})


def wait_until_flights(settings: Settings, expected: int, show: Callable[[int, Sequence[Row]], None]) -> float:
    """Wait until so many flights are in the stored totals; the time of the first totals, by the monotonic clock.

    Raises
    ------
    UnavailableError
        The totals did not grow for SETTLE_S.
    """
    first_s: float | None = None
    grown_s, before = time.monotonic(), -1
    while True:
        totals = query(settings, _TOTALS)
        counted = sum(int(flights) for _, _, flights, _ in totals)
        now_s = time.monotonic()
        if first_s is None and counted:
            first_s = now_s
        show(counted, [(f"{tenant}/{carrier}", f"{flights:,.0f}", f"{miles:,.0f}")
                       for tenant, carrier, flights, miles in totals[:_SHOWN]])  # fmt: skip
        if counted >= expected:
            return first_s or now_s
        if counted > before:
            grown_s, before = now_s, counted
        elif now_s - grown_s > SETTLE_S:
            raise UnavailableError(
                f"{counted} of {expected} flights are stored, and the number stopped growing.", "see `tidemark status`."
            )
        time.sleep(_POLL_S)
