"""Faults of a catalog file, by its schema and by its meaning: every fault at once, each with its path."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from typing import Any

from tidemark.catalog.check_limits import NOTHING, Known, limit_faults, limit_reference_faults
from tidemark.catalog.check_meters import MAX_ID_BYTES, listed_meters, meter_faults, plain_operand_faults, size_of
from tidemark.catalog.check_missing import missing_faults
from tidemark.catalog.check_policy import policy_entry_faults, policy_faults
from tidemark.catalog.entries import limit_groups, mapping, meter_groups, policy_entries
from tidemark.catalog.file import CatalogFile
from tidemark.catalog.instants import instant_ms
from tidemark.catalog.merge import alone
from tidemark.catalog.schema_faults import schema_faults
from tidemark.catalog.text import Fault
from udfs.calendars.calendar import MINUTE_MS, BoundaryCalendar, CalendarError, parse_calendar
from udfs.meters.meter import BEGINNING_MS

# Longest length of each unit of an interval, in days.
_DAYS = {"H": 1 / 24, "D": 1, "W": 7, "M": 31, "Y": 366}
_DAY_MS = 86_400_000


def check(
    file: CatalogFile,
    *,
    known_calendars: Collection[str],
    longest_period_days: int,
    known: Known = NOTHING,
    content: Any = None,
) -> list[Fault]:
    """Everything wrong with a file: by its text, by the schema, by its meaning.

    Parameters
    ----------
    file:
        What `read` returned.
    known_calendars:
        Calendars a tenant or customer may name beside those of the file.
    longest_period_days:
        How long totals are kept: a longer period would lose its beginning.
    known:
        Meters, plans and receivers that limits, customers and routes may name beside those of the file.
    content:
        Its content merged with what is stored, which gives it its meaning; None: it is complete by itself.

    """
    stated = mapping(file.content)
    whole = mapping(alone(file.content) if content is None else content)
    plainer = [
        *_valid_from_faults(stated),
        *meter_faults(whole),
        *plain_operand_faults(file, stated),
        *limit_faults(whole),
        *policy_faults(whole),
        *missing_faults(whole),
    ]
    return [
        *file.faults,
        *schema_faults(file.content, {fault.path for fault in plainer}),
        *plainer,
        *_calendar_faults(mapping(whole.get("calendars")), longest_period_days),
        *_reference_faults(stated, {*mapping(stated.get("calendars")), *known_calendars}),
        *_aggregation_faults(whole),
        *limit_reference_faults(stated, whole, known),
        *policy_entry_faults(whole, known),
        *_long_identifiers(stated),
    ]


def _valid_from_faults(content: Mapping[str, Any]) -> Iterator[Fault]:
    for path, entry in _entries(content):
        text = entry.get("valid_from", "beginning")
        try:
            ms = instant_ms(text) if isinstance(text, str) else BEGINNING_MS
        except ValueError as error:
            yield Fault(f"{path}valid_from", f"{error} Or write beginning.")
            continue
        if ms != BEGINNING_MS and ms % MINUTE_MS:
            # A minute of usage must not be counted by two rules.
            yield Fault(f"{path}valid_from", f"{text} is not on a whole minute.")


def _entries(content: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "", content
    for name, calendar in mapping(content.get("calendars")).items():
        yield f"calendars.{name}.", mapping(calendar)
    for name, tenant in mapping(content.get("tenants")).items():
        yield f"tenants.{name}.", mapping(tenant)
        for customer, entry in mapping(mapping(tenant).get("customers")).items():
            yield f"tenants.{name}.customers.{customer}.", mapping(entry)
    for path, meter in listed_meters(content):
        yield f"{path}.", meter
    for group in limit_groups(content):
        yield from ((f"{group.path}.{name}.", mapping(limit)) for name, limit in group.limits.items())
    for _, _, path, entry in policy_entries(content):
        yield f"{path}.", entry


def _calendar_faults(calendars: Mapping[str, Any], longest_period_days: int) -> Iterator[Fault]:
    for name, entry in calendars.items():
        if not _has_form(entry):
            continue  # reported by the schema, or as missing
        boundaries = entry.get("boundaries", ())
        try:
            calendar = parse_calendar(entry.get("anchor"), entry.get("interval"), entry["timezone"], boundaries)
        except CalendarError as error:
            yield Fault(f"calendars.{name}", str(error))
            continue
        if isinstance(calendar, BoundaryCalendar):
            instants = map(calendar.boundary, range(len(boundaries)))
            days = max((after - before) / _DAY_MS for before, after in pairwise(instants))
        else:
            days = calendar.interval.count * _DAYS[calendar.interval.unit]
        if days > longest_period_days:
            part = "boundaries" if boundaries else "interval"
            yield Fault(
                f"calendars.{name}.{part}",
                f"a period has up to {days:g} days; totals live {longest_period_days} (flink.state_ttl_days).",
            )


def _has_form(entry: Any) -> bool:
    """Whether the parts of a calendar that are there have their types; `parse_calendar` reports what does not fit."""
    parts = mapping(entry)
    texts = [parts[part] for part in ("anchor", "interval") if part in parts] + [parts.get("timezone")]
    boundaries = parts.get("boundaries", [])
    both = isinstance(boundaries, list) and all(isinstance(text, str) for text in (*boundaries, *texts))
    return both and bool(boundaries or "interval" in parts)


def _reference_faults(content: Mapping[str, Any], calendars: Collection[str]) -> Iterator[Fault]:
    for tenant, entry in mapping(content.get("tenants")).items():
        named = [(f"tenants.{tenant}.calendar", mapping(entry).get("calendar"))]
        named += [
            (f"tenants.{tenant}.customers.{customer}.calendar", mapping(value).get("calendar"))
            for customer, value in mapping(mapping(entry).get("customers")).items()
        ]
        for path, calendar in named:
            if isinstance(calendar, str) and calendar not in calendars:
                yield Fault(path, f"there is no calendar {calendar!r}, here or in the database.")


def _aggregation_faults(content: Mapping[str, Any]) -> Iterator[Fault]:
    """A tenant's own meter is read like the one it hides, so it must add up like it."""
    common, *owned = [(path, meters) for _, path, meters in meter_groups(content)]
    for path, meters in owned:
        for name in meters.keys() & common[1].keys():
            for part, default in (("aggregation", None), ("per", "hour")):
                stated, shared = (mapping(group[name]).get(part, default) for group in (meters, common[1]))
                if stated != shared:
                    yield Fault(f"{path}.{name}.{part}", f"{stated} differs from {shared}, that of the common {name}.")


def _long_identifiers(content: Mapping[str, Any]) -> Iterator[Fault]:
    for tenant, entry in mapping(content.get("tenants")).items():
        named = [(f"tenants.{tenant[:40]}", tenant)]
        named += [
            (f"tenants.{tenant[:40]}.customers.{customer[:40]}", customer)
            for customer in mapping(mapping(entry).get("customers"))
        ]
        sources = mapping(entry).get("sources")
        named += [(f"tenants.{tenant[:40]}.sources", one) for one in _texts(sources)]
        for path, text in named:
            if (size := size_of(text)) > MAX_ID_BYTES:
                yield Fault(path, f"the identifier has {size} bytes; the limit is {MAX_ID_BYTES}.")


def _texts(value: Any) -> list[str]:
    """The texts of a list; other types are reported by the schema."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
