"""The catalog file: YAML read without surprises, and the rows it wants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from tidemark.catalog.entries import (
    decimal_text,
    limit_groups,
    limit_values,
    mapping,
    meter_groups,
    policy_body,
    policy_entries,
)
from tidemark.catalog.instants import instant_ms
from tidemark.catalog.text import Fault, Loader
from tidemark.core.errors import UsageError
from udfs.catalog.model import CalendarDef, Customer, InMemoryCatalogSource, Tenant, canonical_filter
from udfs.meters.meter import BEGINNING_MS, Meter

# Per table: the columns that identify a row, then those that make a version.
TABLES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "calendar": (("calendar_id",), ("anchor", "interval", "timezone", "boundaries")),
    "tenant": (("tenant_id",), ("calendar_id",)),
    "customer": (("tenant_id", "customer_id"), ("calendar_id", "plan", "revenue_weight")),
    "meter": (
        ("tenant_id", "meter"),
        (
            "event_types",
            "aggregation",
            "value",
            "group_by",
            "unit",
            "allow_negative",
            "filter",
            "on_missing",
            "per",
        ),
    ),
    "usage_limit": (("tenant_id", "scope", "scope_id", "meter"), ("cap", "mode", "thresholds", "on_unknown")),
    "alert_policy": (("kind", "name"), ("body",)),
}
Key = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One row the catalog should have.

    Parameters
    ----------
    key, values:
        In the order of the columns in `TABLES`; lists are tuples, decimals plain text, a filter is `canonical_filter`
        text and a body `canonical_json`.
    valid_from_ms:
        First event time it should hold for, UTC epoch ms; None when the file leaves it to the rule.
    path:
        Where the file names it.
    """

    key: Key
    values: tuple[Any, ...]
    valid_from_ms: int | None = field(default=None, kw_only=True)
    path: str = field(default="", kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class CatalogFile:
    """A parsed file, with the faults that only its text shows (a key given twice)."""

    content: Any
    faults: tuple[Fault, ...] = ()


def read(path: Path) -> CatalogFile:
    """Parse a file.

    Raises
    ------
    UsageError
        It cannot be read, or is no YAML.

    """
    try:
        loader = Loader(path.read_text("utf-8"))
        content = loader.get_single_data()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "name a readable UTF-8 file.") from error
    except (yaml.YAMLError, RecursionError, ValueError, ArithmeticError) as error:
        raise UsageError(f"{path} is not YAML: {error}", "correct the file.") from error
    return CatalogFile(content, tuple(loader.faults))


def fail(path: Path, faults: Sequence[Fault]) -> None:
    """Raise UsageError that lists the faults, if there are any."""
    if faults:
        lines = "\n".join(f"  {fault.path}: {fault.message}" for fault in faults)
        raise UsageError(f"{path} has {len(faults)} fault(s):\n{lines}", "correct them all.")


def default_valid_from(file: CatalogFile) -> int | None:
    """The top-level valid_from of a file without faults, UTC epoch ms; None when there is none."""
    return _valid_from(mapping(file.content), None)


def rows(file: CatalogFile) -> dict[str, list[Row]]:
    """Rows by table of a file without faults."""
    content, default = mapping(file.content), default_valid_from(file)
    tenants = {name: mapping(tenant) for name, tenant in mapping(content.get("tenants")).items()}
    return {
        "calendar": [
            Row((name,), _calendar(one), valid_from_ms=_valid_from(one, default), path=f"calendars.{name}")
            for name, one in mapping(content.get("calendars")).items()
        ],
        "tenant": [
            Row((name,), (one.get("calendar"),), valid_from_ms=_valid_from(one, default), path=f"tenants.{name}")
            for name, one in tenants.items()
        ],
        "customer": [row for name, one in tenants.items() for row in _customers(name, one, default)],
        "meter": [
            Row((owner, name), _meter(one), valid_from_ms=_valid_from(one, default), path=f"{path}.{name}")
            for owner, path, meters in meter_groups(content)
            for name, one in meters.items()
        ],
        "usage_limit": [
            Row(
                (group.tenant, group.scope, group.scope_id, meter),
                limit_values(one),
                valid_from_ms=_valid_from(one, default),
                path=f"{group.path}.{meter}",
            )
            for group in limit_groups(content)
            for meter, one in group.limits.items()
        ],
        "alert_policy": [
            Row((kind, name), (policy_body(kind, one),), valid_from_ms=_valid_from(one, default), path=path)
            for kind, name, path, one in policy_entries(content)
        ],
    }


def in_memory(file: CatalogFile) -> InMemoryCatalogSource:
    """A file without faults as a catalog of its own, every entry from its valid_from on, or from the beginning.

    Limits and alert policy are left out: they count nothing.
    """
    found = {
        table: [
            dict(zip(sum(TABLES[table], ()), row.key + row.values, strict=True))
            | {"valid_from_ms": BEGINNING_MS if row.valid_from_ms is None else row.valid_from_ms}
            for row in wanted
        ]
        for table, wanted in rows(file).items()
    }
    return InMemoryCatalogSource(
        tenants=[Tenant(**row) for row in found["tenant"]],
        meters=[Meter(**row) for row in found["meter"]],
        calendars=[CalendarDef(**row) for row in found["calendar"]],
        customer_versions=[_customer(row) for row in found["customer"]],
    )


def _customers(tenant: str, entry: Mapping[str, Any], default: int | None) -> Iterator[Row]:
    for name, value in mapping(entry.get("customers")).items():
        one, path = mapping(value), f"tenants.{tenant}.customers.{name}"
        weight = decimal_text(one["revenue_weight"]) if "revenue_weight" in one else None
        values = one.get("calendar"), one.get("plan"), weight
        yield Row((tenant, name), values, valid_from_ms=_valid_from(one, default), path=path)


def _customer(row: Mapping[str, Any]) -> Customer:
    weight = row["revenue_weight"]
    return Customer(**{**row, "revenue_weight": None if weight is None else Decimal(weight)})


def _calendar(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return entry.get("anchor"), entry.get("interval"), entry["timezone"], tuple(entry.get("boundaries", ()))


def _meter(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    types = entry["event_types"]
    return (
        (types,) if isinstance(types, str) else tuple(types),
        entry["aggregation"],
        entry.get("value", "quantity"),
        tuple(entry.get("group_by", ())),
        entry["unit"],
        entry.get("allow_negative", False),
        canonical_filter(entry.get("filter")),
        entry.get("on_missing", "reject"),
        entry.get("per", "hour"),
    )


def _valid_from(entry: Mapping[str, Any], default: int | None) -> int | None:
    return instant_ms(entry["valid_from"]) if "valid_from" in entry else default
