"""The catalog file: YAML read without surprises, and the rows it wants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from tidemark.catalog.entries import decimal_text, entries, limit_values, mapping, named, policy_body
from tidemark.catalog.instants import instant_ms
from tidemark.catalog.text import BoundError, Fault, Place, parse
from tidemark.core.errors import UsageError
from tidemark.core.yaml_errors import not_yaml
from udfs.catalog.model import CalendarDef, Customer, InMemoryCatalogSource, Tenant, canonical_filter
from udfs.meters.meter import BEGINNING_MS, Meter

# Per table: the columns that identify a row, then those that make a version.
TABLES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "calendar": (("calendar_id",), ("anchor", "interval", "timezone", "boundaries")),
    "tenant": (("tenant_id",), ("calendar_id", "sources")),
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
            "precision",
        ),
    ),
    "usage_limit": (("tenant_id", "scope", "scope_id", "meter"), ("cap", "mode", "thresholds", "on_unknown")),
    "alert_policy": (("kind", "name"), ("body",)),
}
Key = tuple[str | None, ...]
# Tables whose rows may be those of a tenant, which is then the first part of their key.
OWNED = ("tenant", "customer", "meter", "usage_limit")
# A million customers with a limit each; what is larger is no catalog.
MAX_BYTES = 256 * 1024 * 1024


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
    named:
        Columns (of a body: keys) that the file says something of, None for all; of the others stored versions keep what
        they say.
    closes:
        Whether the row is to end: the file has null in its place, and there are no values.
    """

    key: Key
    values: tuple[Any, ...]
    valid_from_ms: int | None = field(default=None, kw_only=True)
    path: str = field(default="", kw_only=True, compare=False)
    named: frozenset[str] | None = field(default=None, kw_only=True, compare=False)
    closes: bool = field(default=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class CatalogFile:
    """A parsed file, with the faults that only its text shows (a key given twice), and its text."""

    content: Any
    faults: tuple[Fault, ...] = ()
    text: str = field(default="", repr=False, compare=False)
    _places: list[Mapping[str, Place]] = field(default_factory=list, init=False, repr=False, compare=False)

    def place(self, path: str) -> Place | None:
        """Where the file has a path, or else the nearest entry around it; None if that is the whole file."""
        if not self._places:
            # Only a file with faults needs places: they are looked up in a second reading.
            self._places.append(parse(self.text, with_places=True).places)
        while path not in self._places[0] and "." in path:
            path = path.rpartition(".")[0]
        return self._places[0].get(path)


def read(path: Path) -> CatalogFile:
    """Parse a file.

    Raises
    ------
    UsageError
        It cannot be read, is too large, or is no YAML.

    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UsageError(f"{path} has more than {MAX_BYTES:,} bytes.", "split it: what a file does not name stays.")
        text = content.decode("utf-8-sig")
        made = parse(text)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "name a readable UTF-8 file.") from error
    except BoundError as error:
        raise UsageError(f"{path}, {error}", "correct the file.") from error
    except (yaml.YAMLError, RecursionError, ValueError, ArithmeticError) as error:
        raise not_yaml(path, error) from error
    return CatalogFile(made.content, tuple(made.faults), text)


def placed(file: CatalogFile, faults: Iterable[Fault]) -> list[Fault]:
    """The faults with the lines of their paths, in the order of the file."""
    located = [
        replace(fault, line=place.line)
        if fault.line is None and (place := file.place(fault.path)) is not None
        else fault
        for fault in faults
    ]
    return sorted(located, key=lambda fault: fault.line or 0)


def fail(path: Path, faults: Sequence[Fault]) -> None:
    """Raise UsageError that lists the faults, if there are any."""
    if faults:
        lines = "\n".join(f"  {_fault_place(path, fault)}: {fault.message}" for fault in faults)
        raise UsageError(f"{path} has {len(faults)} fault(s):\n{lines}", "correct them all.")


def _fault_place(path: Path, fault: Fault) -> str:
    return fault.path if fault.line is None else f"{path.name}:{fault.line}: {fault.path}"


def default_valid_from(file: CatalogFile) -> int | None:
    """The top-level valid_from of a file without faults, UTC epoch ms; None when there is none."""
    return valid_from_of(mapping(file.content), None)


def rows(file: CatalogFile, content: Any = None) -> dict[str, list[Row]]:
    """Rows by table of a file without faults.

    Parameters
    ----------
    file:
        What `read` returned.
    content:
        Its content merged with what is stored, see `tidemark.catalog.merge`: rows then know what the file itself names.
        None: the file is complete by itself.
    """
    default = default_valid_from(file)
    stated = {} if content is None else {path: value for _, _, path, value in entries(mapping(file.content))}
    rows_by_table: dict[str, list[Row]] = {table: [] for table in TABLES}
    for table, key, path, stated_entry in entries(mapping(file.content if content is None else content)):
        if table == "usage_limit" and stated_entry is None:
            rows_by_table[table].append(Row(key, (), valid_from_ms=default, path=path, closes=True))
            continue
        # Null clears: it means the same as an absent key of a new entry.
        entry = {name: value for name, value in mapping(stated_entry).items() if value is not None}
        stated_names = None if content is None else named(table, mapping(stated.get(path)))
        values = policy_body_of(key, entry) if table == "alert_policy" else _VALUES[table](entry)
        valid_from_ms = valid_from_of(entry, default)
        rows_by_table[table].append(Row(key, values, valid_from_ms=valid_from_ms, path=path, named=stated_names))
    return rows_by_table


def in_memory(file: CatalogFile) -> InMemoryCatalogSource:
    """A file without faults as a catalog of its own, every entry from its valid_from on, or from the start of time.

    Limits and alert policy are left out: they count nothing.
    """
    values = {
        table: [
            dict(zip(sum(TABLES[table], ()), row.key + row.values, strict=True))
            | {"valid_from_ms": BEGINNING_MS if row.valid_from_ms is None else row.valid_from_ms}
            for row in wanted
            if not row.closes
        ]
        for table, wanted in rows(file).items()
    }
    return InMemoryCatalogSource(
        tenants=[Tenant(**row) for row in values["tenant"]],
        meters=[Meter(**row) for row in values["meter"]],
        calendars=[CalendarDef(**row) for row in values["calendar"]],
        customer_versions=[_customer(row) for row in values["customer"]],
    )


def _customer(row: Mapping[str, Any]) -> Customer:
    weight = row["revenue_weight"]
    return Customer(**{**row, "revenue_weight": None if weight is None else Decimal(weight)})


def policy_body_of(key: Key, entry: Mapping[str, Any]) -> tuple[Any, ...]:
    """The one value of an entry of `alerts`."""
    return (policy_body(str(key[0]), entry),)


def _tenant(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    sources = entry.get("sources")
    return entry.get("calendar"), None if sources is None else tuple(sorted(sources))


def _customer_values(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    weight = entry.get("revenue_weight")
    return entry.get("calendar"), entry.get("plan"), None if weight is None else decimal_text(weight)


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
        entry.get("precision", "rounded"),
    )


def valid_from_of(entry: Mapping[str, Any], default: int | None) -> int | None:
    """The start that an entry without faults names, UTC epoch ms; None when it leaves it to the rule."""
    return instant_ms(entry["valid_from"]) if "valid_from" in entry else default


_VALUES: Mapping[str, Callable[[Mapping[str, Any]], tuple[Any, ...]]] = {
    "calendar": _calendar,
    "tenant": _tenant,
    "customer": _customer_values,
    "meter": _meter,
    "usage_limit": limit_values,
}
