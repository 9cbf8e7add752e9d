"""One check of a catalog file for all who use it: against what is stored, or against nothing as in a dry run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tidemark.catalog import file as catalog_file
from tidemark.catalog.check import check
from tidemark.catalog.check_limits import NOTHING, Known
from tidemark.catalog.entries import mapping
from tidemark.catalog.file import TABLES, CatalogFile, Key
from tidemark.catalog.merge import alone, completed, stored_base, stored_limits
from tidemark.catalog.plan import Plan, is_free, plan
from tidemark.catalog.plan_faults import Terms
from tidemark.catalog.timeline import Stored
from udfs.meters.meter import BEGINNING_MS

EMPTY: Stored = {table: {} for table in TABLES}


def planned(
    file: CatalogFile,
    path: Path,
    terms: Terms,
    *,
    longest_period_days: int,
    stored: Stored = EMPTY,
    known: Known = NOTHING,
) -> Plan:
    """What applying a file would do; the plan's own faults are left in it.

    Parameters
    ----------
    file, path:
        The file, and where it is.
    terms:
        Terms of the apply.
    longest_period_days:
        How long totals are kept.
    stored, known:
        What is stored of the tenants in the file, and what it may name besides; empty for a complete file.

    Raises
    ------
    UsageError
        Every fault of the file itself, each with its line.
    """
    content = alone(file.content) if terms.is_whole else _merged(file, stored, terms)
    faults = check(
        file,
        known_calendars=[str(key[0]) for key in stored["calendar"]],
        longest_period_days=longest_period_days,
        known=_left(known, file, terms),
        content=content,
    )
    catalog_file.fail(path, catalog_file.placed(file, faults))
    terms = replace(terms, default_ms=catalog_file.default_valid_from(file))
    made = plan(catalog_file.rows(file, None if terms.is_whole else content), stored, terms)
    return replace(made, faults=tuple(catalog_file.placed(file, made.faults)))


def _merged(file: CatalogFile, stored: Stored, terms: Terms) -> Any:
    return completed(file.content, stored_base(stored, _effect(file, stored, terms)), stored_limits(stored))


def _effect(file: CatalogFile, stored: Stored, terms: Terms) -> Callable[[str, Key, Mapping[str, Any]], int]:
    """When the change of an entry takes effect; a start that cannot be read is refused by the check."""
    tenants = {name for name in mapping(mapping(file.content).get("tenants")) if (name,) not in stored["tenant"]}
    default = _begin(mapping(file.content), None)

    def effect_ms(table: str, key: Key, entry: Mapping[str, Any]) -> int:
        begin = _begin(entry, default)
        if begin is not None:
            return begin
        free = terms.first or is_free(table, key, stored[table].get(key, ()), tenants)
        return BEGINNING_MS if free else terms.earliest_ms

    return effect_ms


def _begin(entry: Mapping[str, Any], default: int | None) -> int | None:
    try:
        return catalog_file.valid_from_of(entry, default)
    except (ValueError, TypeError):
        return default


def _left(known: Known, file: CatalogFile, terms: Terms) -> Known:
    """What stays open for the file to name: pruned, nothing does of its tenants."""
    if terms.is_whole:
        return NOTHING
    if not terms.prune:
        return known
    tenants = {*mapping(mapping(file.content).get("tenants"))}
    meters = {key: aggregation for key, aggregation in known.meters.items() if key[0] not in tenants}
    return replace(known, meters=meters, plans=[item for item in known.plans if item[0] not in tenants])
