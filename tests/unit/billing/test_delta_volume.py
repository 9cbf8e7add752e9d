"""Events and deltas of tenants by month."""

from __future__ import annotations

from datetime import date

from tidemark.billing.delta_volume import volumes
from tidemark.core.deltas import Delta


def delta(tenant: str, minute: str, events: int) -> Delta:
    start, end = "2026-01-15T00:00:00Z", "2026-02-15T00:00:00Z"
    return Delta(tenant, "c", "calls", "", "", minute, start, end, 9, 9, "9", "usage.events", 0, 1, 2, events)


def test_deltas_are_counted_in_the_month_of_event_time_not_of_the_billing_period() -> None:
    found = volumes(
        [
            delta("a", "2026-01-31T23:59:00Z", 3), delta("a", "2026-02-01T00:00:00Z", 4),
            # An event that feeds a second meter has its number in the delta of the first.
            delta("a", "2026-01-31T23:59:00Z", 0), delta("b", "2026-01-31T23:59:00Z", 5),
        ]
    )  # fmt: skip
    assert found == {
        ("a", date(2026, 1, 1)): [3, 2], ("a", date(2026, 2, 1)): [4, 1], ("b", date(2026, 1, 1)): [5, 1]
    }  # fmt: skip
