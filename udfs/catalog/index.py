"""One snapshot of the catalog, arranged for look-ups by event time, and what is known of one customer under it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from udfs.calendars.calendar import UTC_MONTH, BillingCalendar, CalendarError, LocalCalendar, parse_calendar
from udfs.calendars.cuts import CutCalendar
from udfs.catalog.model import CalendarDef, CatalogSnapshot, Customer, Tenant
from udfs.meters.meter import BEGINNING_MS, FOREVER_MS, Meter

_Version = TypeVar("_Version", Tenant, CalendarDef, Customer)
# Event times [start_ms, end_ms) for which an answer holds.
_Span = tuple[int, int]
# What makes two calendars the same: anchor, interval, time zone, boundaries.
_Rule = tuple[str | None, str | None, str, tuple[str, ...]]


class CalendarMissingError(LookupError):
    """A calendar is named that has no version at the event time; any other would be a wrong bill."""


class CatalogIndex:
    """A snapshot whose answers are remembered, each with the event times it holds for."""

    def __init__(self, snapshot: CatalogSnapshot) -> None:
        self.revision = snapshot.revision
        self._tenants: dict[str, list[Tenant]] = {}
        for tenant in snapshot.tenants:
            self._tenants.setdefault(tenant.tenant_id, []).append(tenant)
        # Tenants that take events of some sources alone, at some time.
        self.restricted = frozenset(one.tenant_id for one in snapshot.tenants if one.sources is not None)
        self._calendars: dict[str, list[CalendarDef]] = {}
        for one in snapshot.calendars:
            self._calendars.setdefault(one.calendar_id, []).append(one)
        self._parsed: dict[_Rule, LocalCalendar] = {}
        self._meters: dict[str | None, list[Meter]] = {}
        for meter in snapshot.meters:
            self._meters.setdefault(meter.tenant_id, []).append(meter)
        self._fed: dict[tuple[str, str], list[tuple[int, int, tuple[Meter, ...]]]] = {}

    def tenant_at(self, tenant_id: str, ms: int) -> tuple[Tenant | None, _Span]:
        """The version of a tenant at an event time."""
        return _version_at(self._tenants.get(tenant_id, ()), ms)

    def meters_at(self, tenant_id: str, event_type: str, ms: int) -> tuple[Meter, ...] | None:
        """Meters that an event feeds, by name; None for a tenant unknown at that event time."""
        for start_ms, end_ms, fed in self._fed.get((tenant_id, event_type), ()):
            if start_ms <= ms < end_ms:
                return fed
        tenant, span = self.tenant_at(tenant_id, ms)
        return None if tenant is None else self._work_out(tenant_id, event_type, ms, span)

    def _work_out(self, tenant_id: str, event_type: str, ms: int, span: _Span) -> tuple[Meter, ...]:
        visible = [*self._meters.get(None, ()), *self._meters.get(tenant_id, ())]
        names = {one.meter for one in visible if event_type in one.event_types}
        # A meter hides by its name, whatever events it takes itself.
        candidates = sorted((one for one in visible if one.meter in names), key=lambda one: one.meter)
        fed = tuple(one for one in _valid_at(candidates, ms) if event_type in one.event_types)
        if fed:
            # Bounded by the catalog: only what some meter takes is kept.
            bounds = {*span, *(one.valid_from_ms for one in candidates), *(one.valid_to_ms for one in candidates)}
            start_ms, end_ms = max(one for one in bounds if one <= ms), min(one for one in bounds if one > ms)
            self._fed.setdefault((tenant_id, event_type), []).append((start_ms, end_ms, fed))
        return fed

    def calendar_at(self, calendar_id: str | None, ms: int) -> tuple[LocalCalendar, _Span]:
        """The version of a calendar at an event time; the calendar month in UTC if none is named.

        Calendars are parsed when first needed, so that one which cannot be used hurts only its own customers.

        Raises
        ------
        CalendarMissingError, CalendarError
            It has no version then, or one that cannot be used.
        """
        if not calendar_id:
            return UTC_MONTH, (BEGINNING_MS, FOREVER_MS)
        found, span = _version_at(self._calendars.get(calendar_id, ()), ms)
        if found is None:
            raise CalendarMissingError(f"calendar {calendar_id} has no version at the event time")
        rule = found.anchor, found.interval, found.timezone, tuple(found.boundaries)
        if rule not in self._parsed:
            self._parsed[rule] = parse_calendar(*rule)
        return self._parsed[rule], span

    def lacking(self, customers: Iterable[Sequence[Customer]]) -> set[str]:
        """Calendars that customers name and this snapshot does not know at any time."""
        named = {one.calendar_id for versions in customers for one in versions}
        return {one for one in named if one and one not in self._calendars}


class Account:
    """One customer under one snapshot: the calendars already worked out, each with the event times it holds for.

    Where the calendar of a customer changes, the running period is cut: one period ends at the change, another begins.
    Versions that leave the rule as it was (anchor, interval, time zone, boundaries) cut nothing.
    """

    __slots__ = ("_index", "_stretches", "_tenant_id", "_versions")

    def __init__(self, tenant_id: str, versions: Sequence[Customer], index: CatalogIndex) -> None:
        self._tenant_id = tenant_id
        self._versions = versions
        self._index = index
        self._stretches: list[tuple[int, int, BillingCalendar]] = []

    def calendar_at(self, ms: int) -> BillingCalendar:
        """The billing calendar at an event time, cut to the stretch it holds for and to be asked within it alone.

        Raises what `CatalogIndex.calendar_at` does, for the event times it does so for.
        """
        for start_ms, end_ms, calendar in self._stretches:
            if start_ms <= ms < end_ms:
                return calendar
        stretch = self._work_out(ms)
        self._stretches.append(stretch)
        return stretch[2]

    def _work_out(self, ms: int) -> tuple[int, int, BillingCalendar]:
        """The calendar at an instant, with the longest stretch around it in which it stays the same."""
        calendar, (start_ms, end_ms) = self._resolve(ms)
        while start_ms > BEGINNING_MS and (span := self._span_of(calendar, start_ms - 1)):
            start_ms = span[0]
        while end_ms < FOREVER_MS and (span := self._span_of(calendar, end_ms)):
            end_ms = span[1]
        uncut = (start_ms, end_ms) == (BEGINNING_MS, FOREVER_MS)
        return start_ms, end_ms, calendar if uncut else CutCalendar(calendar, start_ms, end_ms)

    def _span_of(self, calendar: LocalCalendar, ms: int) -> _Span | None:
        """Event times around an instant for which this calendar is surely the one; None if it is another or none."""
        try:
            found, span = self._resolve(ms)
        except (CalendarMissingError, CalendarError):
            return None
        return span if found == calendar else None

    def _resolve(self, ms: int) -> tuple[LocalCalendar, _Span]:
        """The calendar at an instant, with the span in which none of the versions it rests on changes."""
        customer, customer_span = _version_at(self._versions, ms)
        tenant, tenant_span = self._index.tenant_at(self._tenant_id, ms)
        calendar_id = (customer and customer.calendar_id) or (tenant and tenant.calendar_id) or None
        calendar, calendar_span = self._index.calendar_at(calendar_id, ms)
        starts, ends = zip(customer_span, tenant_span, calendar_span, strict=True)
        return calendar, (max(starts), min(ends))


def _valid_at(candidates: Iterable[Meter], ms: int) -> tuple[Meter, ...]:
    """Versions that hold; a tenant's own meter hides one for all tenants of the same name."""
    chosen: dict[str, Meter] = {}
    for meter in candidates:
        if meter.valid_from_ms <= ms < meter.valid_to_ms and (meter.meter not in chosen or meter.tenant_id is not None):
            chosen[meter.meter] = meter
    return tuple(chosen.values())


def _version_at(versions: Sequence[_Version], ms: int) -> tuple[_Version | None, _Span]:
    """The version that holds at an instant, if one does, and the stretch around it in which that stays so."""
    for one in versions:
        if one.valid_from_ms <= ms < one.valid_to_ms:
            return one, (one.valid_from_ms, one.valid_to_ms)
    start_ms = max((one.valid_to_ms for one in versions if one.valid_to_ms <= ms), default=BEGINNING_MS)
    end_ms = min((one.valid_from_ms for one in versions if one.valid_from_ms > ms), default=FOREVER_MS)
    return None, (start_ms, end_ms)
