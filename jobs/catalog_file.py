"""The catalog file: YAML read without surprises, checked against its schema and its meaning, every fault at once."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from jobs.errors import UsageError
from schemas import catalog_schema
from udfs.calendars import CalendarError, Interval, parse_calendar

# Kafka, Redis and the primary keys take ids of this many bytes; the schema can count characters only.
MAX_ID_BYTES = 256
# Longest length of each unit of an interval, in days.
_DAYS = {"H": 1 / 24, "D": 1, "W": 7, "M": 31, "Y": 366}


@dataclass(frozen=True, slots=True)
class Row:
    """One row the catalog should have: its key, and the values that make a version, in the order of the columns."""

    key: tuple[Any, ...]
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a file, and where."""

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class CatalogFile:
    """A parsed file, with the faults that only its text shows (a key given twice)."""

    content: Any
    faults: tuple[Fault, ...] = ()


class _Loader(yaml.SafeLoader):
    """Keys are text as written, dates stay text, only true and false are booleans; keys given twice are noted."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.faults: list[Fault] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            # A customer named 007 or NO is no number and no boolean.
            key = str(key_node.value)
            if key in mapping:
                self.faults.append(Fault(f"line {line}", f"the key {key!r} is given twice."))
            mapping[key] = self.construct_object(value_node, deep=deep)
        return mapping


_PLAIN = {
    "tag:yaml.org,2002:timestamp",
    "tag:yaml.org,2002:bool",
    "tag:yaml.org,2002:merge",
    "tag:yaml.org,2002:value",
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _PLAIN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))


def read(path: Path) -> CatalogFile:
    """Parse a file.

    Raises
    ------
    UsageError
        It cannot be read, or is no YAML.

    """
    try:
        loader = _Loader(path.read_text("utf-8"))
        content = loader.get_single_data()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", "name a readable UTF-8 file.") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{path} is not YAML: {error}", "correct the file.") from error
    return CatalogFile(content, tuple(loader.faults))


def check(file: CatalogFile, *, known_calendars: Collection[str], longest_period_days: int) -> list[Fault]:
    """Everything wrong with a file: by its text, by the schema, by its meaning.

    Parameters
    ----------
    file:
        What `read` returned.
    known_calendars:
        Calendars a tenant or customer may name beside those of the file.
    longest_period_days:
        How long totals are kept: a longer period would lose its beginning.

    """
    faults = list(file.faults)
    faults += [
        Fault(".".join(map(str, error.absolute_path)) or "file", f"{error.message[:200]}.")
        for error in sorted(Draft202012Validator(catalog_schema()).iter_errors(file.content), key=str)
    ]
    content = _mapping(file.content)
    calendars = _mapping(content.get("calendars"))
    faults += _calendar_faults(calendars, longest_period_days)
    faults += _reference_faults(content, {*calendars, *known_calendars})
    faults += [
        Fault(path, f"the identifier has {size} bytes; the limit is {MAX_ID_BYTES}.")
        for path, text in _identifiers(content)
        if (size := len(text.encode("utf-8", "surrogatepass"))) > MAX_ID_BYTES
    ]
    return faults


def rows(file: CatalogFile) -> dict[str, list[Row]]:
    """Rows by table of a file without faults; the order of values is that of `jobs.catalog_tool.TABLES`."""
    content = _mapping(file.content)
    tenants = {name: _mapping(tenant) for name, tenant in _mapping(content.get("tenants")).items()}
    return {
        "calendar": [
            Row((name,), (calendar["anchor"], calendar["interval"], calendar["timezone"]))
            for name, calendar in _mapping(content.get("calendars")).items()
        ],
        "tenant": [Row((name,), (tenant.get("calendar"),)) for name, tenant in tenants.items()],
        "customer": [
            Row((name, customer), (_mapping(entry).get("calendar"),))
            for name, tenant in tenants.items()
            for customer, entry in _mapping(tenant.get("customers")).items()
        ],
        "meter": [
            _meter_row(owner, name, meter) for owner, meters in _meter_groups(content) for name, meter in meters.items()
        ],
    }


def fail(path: Path, faults: list[Fault]) -> None:
    """Raise UsageError that lists the faults, if there are any."""
    if faults:
        lines = "\n".join(f"  {fault.path}: {fault.message}" for fault in faults)
        raise UsageError(f"{path} has {len(faults)} fault(s), nothing was applied:\n{lines}", "correct them all.")


def _meter_row(owner: str | None, name: str, meter: Mapping[str, Any]) -> Row:
    return Row(
        (owner, name),
        (
            list(meter["event_types"]),
            meter["aggregation"],
            meter.get("value", "quantity"),
            list(meter.get("group_by", [])),
            meter["unit"],
            meter.get("allow_negative", False),
        ),
    )


def _calendar_faults(calendars: Mapping[str, Any], longest_period_days: int) -> Iterator[Fault]:
    for name, entry in calendars.items():
        parts = [_mapping(entry).get(part) for part in ("anchor", "interval", "timezone")]
        texts = [part for part in parts if isinstance(part, str)]
        if len(texts) != len(parts):
            continue  # the schema has said so
        try:
            calendar = parse_calendar(*texts)
        except CalendarError as error:
            yield Fault(f"calendars.{name}", str(error))
            continue
        if (days := _longest(calendar.interval)) > longest_period_days:
            yield Fault(
                f"calendars.{name}.interval",
                f"a period of {texts[1]} has up to {days:g} days; totals live {longest_period_days} (state_ttl_days).",
            )


def _longest(interval: Interval) -> float:
    return interval.count * _DAYS[interval.unit]


def _reference_faults(content: Mapping[str, Any], calendars: Collection[str]) -> Iterator[Fault]:
    for tenant, entry in _mapping(content.get("tenants")).items():
        named = [(f"tenants.{tenant}.calendar", _mapping(entry).get("calendar"))]
        named += [
            (f"tenants.{tenant}.customers.{customer}.calendar", _mapping(value).get("calendar"))
            for customer, value in _mapping(_mapping(entry).get("customers")).items()
        ]
        for path, calendar in named:
            if isinstance(calendar, str) and calendar not in calendars:
                yield Fault(path, f"there is no calendar {calendar!r}, here or in the database.")


def _identifiers(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for tenant, entry in _mapping(content.get("tenants")).items():
        yield f"tenants.{tenant[:40]}", tenant
        for customer in _mapping(_mapping(entry).get("customers")):
            yield f"tenants.{tenant[:40]}.customers.{customer[:40]}", customer


def _meter_groups(content: Mapping[str, Any]) -> Iterator[tuple[str | None, Mapping[str, Any]]]:
    yield None, _mapping(content.get("meters"))
    for tenant, entry in _mapping(content.get("tenants")).items():
        yield tenant, _mapping(_mapping(entry).get("meters"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
