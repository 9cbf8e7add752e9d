"""What the catalog knows: tenants, calendars, customers and meters, as versions in event time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from udfs.meters.filters import filter_text
from udfs.meters.meter import BEGINNING_MS, FOREVER_MS, Meter

# Tenant id and customer id.
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Tenant:
    """One version of a tenant, for event times in [valid_from_ms, valid_to_ms); default calendar None = UTC month.

    Of its events those of `sources` are counted, '' for those without one; None: of any.
    """

    tenant_id: str
    calendar_id: str | None = None
    valid_from_ms: int = BEGINNING_MS
    valid_to_ms: int = FOREVER_MS
    sources: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class CalendarDef:
    """One version of a calendar, as the text `udfs.calendars.calendar.parse_calendar` takes."""

    calendar_id: str
    anchor: str | None
    interval: str | None
    timezone: str
    valid_from_ms: int = BEGINNING_MS
    valid_to_ms: int = FOREVER_MS
    boundaries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Customer:
    """One version of a customer; calendar None = the default calendar of the tenant.

    Its plan is what its limits may follow, None for none; its revenue weight the declared share of the tenant's
    revenue, 0 to 1. Neither changes how it is counted.
    """

    tenant_id: str
    customer_id: str
    calendar_id: str | None = None
    valid_from_ms: int = BEGINNING_MS
    valid_to_ms: int = FOREVER_MS
    plan: str | None = None
    revenue_weight: Decimal | None = None


@dataclass(frozen=True, slots=True)
class CatalogSnapshot:
    """Everything but the customers, as of one revision; all versions, in any order."""

    revision: int
    tenants: Sequence[Tenant] = ()
    meters: Sequence[Meter] = ()
    calendars: Sequence[CalendarDef] = ()


class CatalogSource(Protocol):
    """Where the catalog is stored. Every call must end in bounded time; any exception counts as unavailable."""

    def revision(self) -> int:
        """A number that changes with every change of the catalog."""
        ...

    def snapshot(self) -> CatalogSnapshot:
        """Tenants, meters and calendars, with the revision they were read at."""
        ...

    def customers(self, pairs: Sequence[Pair]) -> Mapping[Pair, Sequence[Customer]]:
        """All versions of the customers named; a pair without any is absent or has none."""
        ...


@dataclass(slots=True)
class InMemoryCatalogSource:
    """A catalog from plain data, for tests, benchmarks and dry runs; change the fields and raise `revision_number`."""

    tenants: Iterable[Tenant] = ()
    meters: Iterable[Meter] = ()
    calendars: Iterable[CalendarDef] = ()
    customer_versions: Iterable[Customer] = ()
    revision_number: int = 1
    lookups: list[tuple[Pair, ...]] = field(default_factory=list)

    def revision(self) -> int:
        """The number set."""
        return self.revision_number

    def snapshot(self) -> CatalogSnapshot:
        """The data set."""
        return CatalogSnapshot(self.revision_number, tuple(self.tenants), tuple(self.meters), tuple(self.calendars))

    def customers(self, pairs: Sequence[Pair]) -> Mapping[Pair, Sequence[Customer]]:
        """Versions by pair; each call is noted in `lookups`."""
        self.lookups.append(tuple(pairs))
        found: dict[Pair, list[Customer]] = {pair: [] for pair in pairs}
        for version in self.customer_versions:
            if (pair := (version.tenant_id, version.customer_id)) in found:
                found[pair].append(version)
        return found


def canonical_filter(document: Any) -> str:
    """Canonical JSON of a filter without faults, '' for none; equal filters have equal text (5 and 5.0 are one)."""
    return "" if document is None else filter_text(_plain(document))


def stored_filter(text: str | None) -> str:
    """`canonical_filter` of the JSON text a database returns, '' for None; decimals stay exact."""
    return "" if text is None else canonical_filter(json.loads(text, parse_float=Decimal, parse_int=Decimal))


def _plain(value: Any) -> Any:
    """The document with every number as a Decimal that has no zeros at its end and is no negative zero."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return _plain_number(Decimal(str(value)))
    return value


def _plain_number(number: Decimal) -> Decimal:
    whole, _, decimals = f"{number or Decimal(0):f}".partition(".")
    # Decimal.normalize would round to the precision of the context.
    return Decimal(f"{whole}.{kept}" if (kept := decimals.rstrip("0")) else whole)
