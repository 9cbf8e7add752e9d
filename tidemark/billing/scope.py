"""Selects which of the due periods to close."""

from __future__ import annotations

from dataclasses import dataclass

from tidemark.billing.lines import PeriodKey
from tidemark.billing.moments import Moment
from tidemark.billing.periods import CALENDAR_ERRORS
from udfs.catalog.cache import Catalog
from udfs.values import epoch_ms


@dataclass(frozen=True, slots=True)
class Scope:
    """Periods of a tenant and customer that end at or before a moment; None means all."""

    tenant: str | None = None
    customer: str | None = None
    until: Moment | None = None

    @property
    def everybody(self) -> bool:
        """Whether no tenant or customer was named."""
        return self.tenant is None and self.customer is None

    def names(self, key: PeriodKey) -> bool:
        """Whether the period belongs to the selected tenant and customer, whenever it ends."""
        return self.tenant in {None, key.tenant_id} and self.customer in {None, key.customer_id}

    def holds(self, catalog: Catalog, key: PeriodKey) -> bool:
        """Whether a period of a prefetched customer is selected; a day begins at midnight of the customer."""
        return self.names(key) and (self.until is None or _ends_by(catalog, key, self.until))


def _ends_by(catalog: Catalog, key: PeriodKey, until: Moment) -> bool:
    if until.at is not None or until.day is None:
        return until.at is None or key.end <= until.at
    last_ms = epoch_ms(key.end) - 1
    try:
        # If the last instant of the period lies on an earlier day, the period ends at that midnight or before.
        return catalog.calendar_at(key[:2], last_ms).day_at(last_ms) < until.day.isoformat()
    except CALENDAR_ERRORS:
        return key.end.date() < until.day
