"""Billing periods that a plan cuts: where a customer's calendar changes, the running period ends and another starts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tidemark.catalog.file import Key
from tidemark.catalog.timeline import Change, Stored, Timeline, changed_timeline, values_at
from udfs.calendars.calendar import MAX_MS, MIN_MS, UTC_MONTH, BillingCalendar, CalendarError, parse_calendar
from udfs.calendars.localtime import local_at
from udfs.meters.meter import BEGINNING_MS, FOREVER_MS

_SHOWN = 3
# Calendars of a customer by event time: (calendar or None for the tenant's, start, end).
_Calendars = tuple[tuple[Any, int, int], ...]
_UTC_MONTH_RULE = ("UTC month",)


@dataclass(frozen=True, slots=True)
class Cut:
    """One period that customers of a tenant have, and where it is cut.

    Parameters
    ----------
    customers:
        Those that the catalog names, sorted.
    others:
        Whether it is also the period of every customer that the catalog does not name.
    period:
        In words: `2026-11-15..2026-12-15`, local dates.
    at:
        Local time of the cut, in words.
    at_ms:
        The same as UTC epoch ms.
    zone:
        Time zone of both.
    is_start:
        Whether the period begins late, since the one before it ends where it should; else it ends early.
    """

    tenant: str
    customers: tuple[str, ...]
    others: bool
    period: str
    at: str
    at_ms: int
    zone: str
    is_start: bool = False

    @property
    def text(self) -> str:
        """The cut as a sentence."""
        what = f"begins on {self.at} only" if self.is_start else f"is cut on {self.at}"
        return f"{self._whose}: the period {self.period} {what} ({self.zone})"

    @property
    def _whose(self) -> str:
        count = len(self.customers)
        if self.others:
            named = f", {count:,} of them in the catalog{self._few}" if count else ""
            return f"tenant {self.tenant}, every customer on its default calendar{named}"
        if count == 1:
            return f"customer {self.tenant}/{self.customers[0]}"
        return f"tenant {self.tenant}, {count:,} customers{self._few}"

    @property
    def _few(self) -> str:
        more = ", …" if len(self.customers) > _SHOWN else ""
        return f" ({', '.join(self.customers[:_SHOWN])}{more})"


def cuts(changes: Sequence[Change], stored: Stored, unused: Collection[Key] = ()) -> tuple[Cut, ...]:
    """Every cut that these changes make, earliest first.

    Parameters
    ----------
    changes:
        What a plan changes.
    stored:
        With all customers of a tenant whose default changes, and all that name a calendar which changes.
    unused:
        Customers without usage: nothing of theirs is cut.
    """
    return _Cuts(changes, stored).result(unused)


def changed_calendars(changes: Sequence[Change]) -> list[str]:
    """Calendars whose versions change: customers of any tenant may name them."""
    return [str(change.key[0]) for change in changes if change.table == "calendar" and change.kind != "added"]


class _Cuts:
    def __init__(self, changes: Sequence[Change], stored: Stored) -> None:
        self._before = stored
        self._changes = {(change.table, change.key): change for change in changes}
        self._moved = {(table, key[0]) for table, key in self._changes if table in ("calendar", "tenant")}
        self._parsed: dict[Any, BillingCalendar | None] = {}

    def result(self, unused: Collection[Key]) -> tuple[Cut, ...]:
        groups: dict[tuple[str, _Calendars, _Calendars], list[str | None]] = {}
        for (tenant, customer), before, after in self._accounts():
            if customer is None or (tenant, customer) not in unused:
                groups.setdefault((str(tenant), _calendars(before), _calendars(after)), []).append(customer)
        by_period: dict[tuple[Any, ...], list[str | None]] = {}
        for (tenant, before_ids, after_ids), customers in groups.items():
            for cut in self._of(tenant, before_ids, after_ids):
                by_period.setdefault((tenant, *cut), []).extend(customers)
        made = [
            Cut(tenant, tuple(sorted(item for item in customers if item is not None)), None in customers, *cut)
            for (tenant, *cut), customers in by_period.items()
        ]
        return tuple(sorted(made, key=lambda cut: (cut.at_ms, cut.tenant, cut.customers)))

    def _accounts(self) -> Iterator[tuple[Key, Timeline, Timeline]]:
        """Customers whose calendar may change; of those that the catalog does not name, one for all of a tenant."""
        if not self._moved:
            # The usual file: nothing but customers of its own change.
            for (table, key), change in self._changes.items():
                if table == "customer":
                    before = self._before[table].get(key, ())
                    yield key, before, changed_timeline(before, change)
            return
        for key in {*self._before["customer"], *(key for table, key in self._changes if table == "customer")}:
            yield key, *self._both("customer", key)
        for (tenant,) in self._before["tenant"]:
            yield (tenant, None), (), ()

    def _both(self, table: str, key: Key) -> tuple[Timeline, Timeline]:
        before, change = self._before[table].get(key, ()), self._changes.get((table, key))
        return before, before if change is None else changed_timeline(before, change)

    def _of(self, tenant: str, before_ids: _Calendars, after_ids: _Calendars) -> Iterator[tuple[Any, ...]]:
        tenant_before, tenant_after = self._both("tenant", (tenant,))
        instants = {at for _, *bounds in (*before_ids, *after_ids) for at in bounds}
        instants |= {at for item in (*tenant_before, *tenant_after) for at in (item.valid_from_ms, item.valid_to_ms)}
        named = {calendar for calendar, _, _ in (*before_ids, *after_ids)}
        named |= {item.values[0] for item in (*tenant_before, *tenant_after)}
        for calendar in named - {None}:
            for timeline in self._both("calendar", (calendar,)):
                instants |= {at for item in timeline for at in (item.valid_from_ms, item.valid_to_ms)}
        for at_ms in sorted(instants - {BEGINNING_MS, FOREVER_MS}):
            was = [self._rule(0, tenant_before, before_ids, ms) for ms in (at_ms - 1, at_ms)]
            now = [self._rule(1, tenant_after, after_ids, ms) for ms in (at_ms - 1, at_ms)]
            if now[0] != now[1] and None not in now and not (was[0] != was[1] and None not in was):
                yield from self._cut(now[0], now[1], at_ms)

    def _rule(self, place: int, tenant: Timeline, ids: _Calendars, ms: int) -> Any:
        """What makes the calendar that holds at an instant; None for a tenant or calendar that is not there."""
        default = values_at(tenant, ms)
        if default is None:
            return None
        customers_calendar = next((calendar for calendar, start, end in ids if start <= ms < end), None)
        calendar = customers_calendar or default[0]
        if calendar is None:
            return _UTC_MONTH_RULE
        return values_at(self._both("calendar", (calendar,))[place], ms)

    def _cut(self, before: Any, after: Any, at_ms: int) -> Iterator[tuple[Any, ...]]:
        old, new = self._calendar(before), self._calendar(after)
        if old is None or new is None or old == new or not MIN_MS <= at_ms < MAX_MS:
            return
        try:
            for calendar, rule, is_start in ((old, before, False), (new, after, True)):
                period = calendar.period_at(at_ms)
                if period.start_ms < at_ms:
                    zone = "UTC" if rule == _UTC_MONTH_RULE else str(rule[2])
                    span = f"{_local(period.start_ms, zone)}..{_local(period.end_ms, zone)}"
                    yield span, _local(at_ms, zone), at_ms, zone, is_start
                    return
        except CalendarError:
            return  # a list of boundaries that has no period there

    def _calendar(self, rule: Any) -> BillingCalendar | None:
        if rule not in self._parsed:
            try:
                self._parsed[rule] = UTC_MONTH if rule == _UTC_MONTH_RULE else parse_calendar(*rule)
            except CalendarError:
                self._parsed[rule] = None
        return self._parsed[rule]


def _calendars(timeline: Timeline) -> _Calendars:
    return tuple((item.values[0], item.valid_from_ms, item.valid_to_ms) for item in timeline)


def _local(ms: int, zone: str) -> str:
    local: datetime = local_at(ms, zone)
    return f"{local:%Y-%m-%d}" if (local.hour, local.minute) == (0, 0) else f"{local:%Y-%m-%d %H:%M}"
