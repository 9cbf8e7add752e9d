"""The stored catalog with its history in the form of the oracle: from the tables, not through the jobs' cache."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import psycopg

from tidemark.catalog import rows as catalog_rows
from tidemark.catalog.file import TABLES, Key
from tidemark.catalog.instants import shown
from tidemark.catalog.timeline import Timeline, Version
from udfs.meters.meter import BEGINNING_MS, FOREVER_MS

# Limits and policies send alerts; they count nothing.
_COUNTING = ("calendar", "tenant", "customer", "meter")

Stored = Mapping[str, Mapping[Key, Timeline]]


def history(connection: psycopg.Connection, tenant: str | None = None) -> list[dict[str, Any]]:
    """Steps `{"valid_from": …, "catalog": {…}}` in ascending order, for one tenant or all."""
    stored = catalog_rows.read(connection, None if tenant is None else [tenant])
    return steps(stored, tenant)


def steps(stored: Stored, tenant: str | None = None) -> list[dict[str, Any]]:
    """The history of a catalog from the timelines of its rows; equal neighbours are one step."""
    instants = {BEGINNING_MS}
    for table in _COUNTING:
        for timeline in stored[table].values():
            bounds = (at for version in timeline for at in (version.valid_from_ms, version.valid_to_ms))
            instants |= {at for at in bounds if at != FOREVER_MS}
    catalogs = [(at, _catalog(stored, at, tenant)) for at in sorted(instants)]
    kept = catalogs[:1] + [after for before, after in pairwise(catalogs) if before[1] != after[1]]
    return [{"valid_from": shown(at), "catalog": catalog} for at, catalog in kept]


def _catalog(stored: Stored, at_ms: int, only: str | None) -> dict[str, Any]:
    """One catalog document: the versions that are valid at an event time."""
    valid = {table: dict(_valid(stored[table], TABLES[table][1], at_ms)) for table in _COUNTING}
    tenants: dict[str, dict[str, Any]] = {
        str(name): {"calendar": row["calendar_id"], "sources": row["sources"], "customers": {}, "meters": {}}
        for (name,), row in valid["tenant"].items()
        if only in (None, name)
    }
    for (tenant, customer), row in valid["customer"].items():
        if tenant in tenants:
            tenants[tenant]["customers"][customer] = {"calendar": row["calendar_id"]}
    common: dict[str, Any] = {}
    for (owner, meter), row in valid["meter"].items():
        if owner is None:
            common[str(meter)] = _meter(row)
        elif owner in tenants:
            tenants[owner]["meters"][meter] = _meter(row)
    calendars = {str(name): _calendar(row) for (name,), row in valid["calendar"].items()}
    return {"calendars": calendars, "tenants": tenants, "meters": common}


def _valid(
    timelines: Mapping[Key, Timeline], columns: Sequence[str], at_ms: int
) -> Iterator[tuple[Key, dict[str, Any]]]:
    for key, timeline in timelines.items():
        for version in timeline:
            if _is_valid(version, at_ms):
                yield key, dict(zip(columns, version.values, strict=True))


def _is_valid(version: Version, at_ms: int) -> bool:
    return version.valid_from_ms <= at_ms < version.valid_to_ms


def _calendar(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value}


def _meter(row: Mapping[str, Any]) -> dict[str, Any]:
    text = row["filter"]
    # Decimals stay exact, and are compared as numbers.
    document = json.loads(text, parse_float=Decimal, parse_int=Decimal) if text else None
    return {**row, "filter": document}
