"""Catalogs for tests, from documents as a catalog file holds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from tidemark.catalog import check as catalog_check
from tidemark.catalog import file as catalog_file
from tidemark.catalog.file import CatalogFile
from tidemark.catalog.instants import instant_ms
from udfs.catalog.model import CalendarDef, Customer, InMemoryCatalogSource, Tenant
from udfs.meters.meter import BEGINNING_MS, Meter

_Version = TypeVar("_Version", Tenant, Meter, CalendarDef, Customer)


def source_of(content: Mapping[str, Any]) -> InMemoryCatalogSource:
    """A catalog document as a catalog; it must be one without faults."""
    file = CatalogFile(content)
    assert catalog_check.check(file, known_calendars=(), longest_period_days=400) == []
    return catalog_file.in_memory(file)


def source_of_history(history: Sequence[Mapping[str, Any]]) -> InMemoryCatalogSource:
    """Documents applied one after the other, each from its `valid_from` on: what differs becomes a new version."""
    steps = [(instant_ms(step["valid_from"]), source_of(step["catalog"])) for step in history]
    return InMemoryCatalogSource(
        tenants=_versions([(ms, one.tenants) for ms, one in steps]),
        meters=_versions([(ms, one.meters) for ms, one in steps]),
        calendars=_versions([(ms, one.calendars) for ms, one in steps]),
        customer_versions=_versions([(ms, one.customer_versions) for ms, one in steps]),
    )


def _versions(steps: Iterable[tuple[int, Iterable[_Version]]]) -> list[_Version]:
    closed: list[_Version] = []
    running: dict[tuple[str | None, ...], _Version] = {}
    for valid_from_ms, wanted in steps:
        for one in wanted:
            key, before = _key(one), running.get(_key(one))
            if before is not None and replace(before, valid_from_ms=BEGINNING_MS) == one:
                continue
            if before is not None:
                closed.append(replace(before, valid_to_ms=valid_from_ms))
            running[key] = replace(one, valid_from_ms=valid_from_ms)
    return [*closed, *running.values()]


def _key(one: Tenant | Meter | CalendarDef | Customer) -> tuple[str | None, ...]:
    if isinstance(one, Meter):
        return one.tenant_id, one.meter
    if isinstance(one, Customer):
        return one.tenant_id, one.customer_id
    return (one.tenant_id,) if isinstance(one, Tenant) else (one.calendar_id,)
