"""Faults of the meters of a catalog file by their meaning: each fault with its path."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tidemark.catalog.entries import UNROUNDED, mapping, meter_groups
from tidemark.catalog.file import CatalogFile
from tidemark.catalog.text import Fault
from udfs.meters.filters import filter_faults
from udfs.meters.paths import path_of

# Kafka, Redis and the primary keys take ids of this many bytes; the schema can count characters only.
MAX_ID_BYTES = 256
# YAML 1.1 reads these as booleans and numbers, YAML 1.2 as text: in a filter the meaning is ambiguous.
_AMBIGUOUS = re.compile(
    r"(?i:yes|no|on|off)|[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]*_[0-9a-fA-F_]*|[0-9][0-9_]*_[0-9_]*(?:\.[0-9_]*)?"
    r"|[0-9]+(?::[0-5]?[0-9])+(?:\.[0-9]*)?)"
)


def listed_meters(content: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Path and content of every meter, of all tenants and of one."""
    for _, path, meters in meter_groups(content):
        yield from ((f"{path}.{name}", mapping(meter)) for name, meter in meters.items())


def meter_faults(content: Mapping[str, Any]) -> Iterator[Fault]:
    """Faults of meters by their meaning; the schema reports other types."""
    for path, meter in listed_meters(content):
        aggregation = meter.get("aggregation")
        if aggregation == "count" and "value" in meter:
            yield Fault(
                f"{path}.value",
                f"a count counts events and reads no value: leave `value` out, or write `aggregation: sum` to add up "
                f"{meter['value']}.",
            )
        if aggregation == "unique" and meter.get("value", "quantity") == "quantity":
            yield Fault(f"{path}.value", "a unique meter counts the different values of a property: name it here.")
        if "per" in meter and aggregation != "weighted_sum":
            yield Fault(f"{path}.per", f"only a weighted_sum is per unit of time; this is {aggregation}.")
        if "precision" in meter and aggregation in UNROUNDED:
            yield Fault(f"{path}.precision", f"a {aggregation} rounds no value: leave `precision` out.")
        if "filter" in meter:
            yield from (_placed(path, fault) for fault in filter_faults(meter["filter"]))
        for part in ("event_types", "value", "group_by"):
            yield from _text_faults(f"{path}.{part}", meter.get(part), is_path=part != "event_types")


def _placed(path: str, fault: str) -> Fault:
    where, _, message = fault.partition(": ")
    return Fault(f"{path}.{where}".replace("[", ".").replace("]", ""), message)


def _text_faults(path: str, value: Any, *, is_path: bool) -> Iterator[Fault]:
    """Faults of a property path or an event type, or of those in a list; the schema reports other types."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from () if isinstance(item, list) else _text_faults(f"{path}.{index}", item, is_path=is_path)
    elif isinstance(value, str):
        if (size := size_of(value)) > MAX_ID_BYTES:
            yield Fault(path, f"it has {size} bytes; the limit is {MAX_ID_BYTES}.")
        elif is_path and (message := _path_fault(value)):
            yield Fault(path, message)


def _path_fault(text: str) -> str:
    """Why a path cannot be read, or nothing; `$.a` and `$['a.b']` are for `path_of` to read."""
    if not text.startswith(("$.", "$[")) and not all(text.split(".")):
        return f"{text!r} is no property path: write names with single dots between them."
    try:
        path_of(text)
    except ValueError as error:
        return str(error)
    return ""


def plain_operand_faults(file: CatalogFile, content: Mapping[str, Any]) -> Iterator[Fault]:
    """Operands of filters that YAML 1.1 and 1.2 read differently, and that are not in quotes."""
    for path, meter in listed_meters(content):
        for where, text in _texts(f"{path}.filter", meter.get("filter")):
            if not _AMBIGUOUS.fullmatch(text):
                continue
            place = file.place(where)
            if place is not None and place.is_plain and place.text == text:
                yield Fault(where, f"{text} {_either(text)}")


def _either(text: str) -> str:
    quoted = f'or put it in quotes if it is text: "{text}"'
    if text[0].isalpha():
        meant = "true" if text.casefold() in ("yes", "on") else "false"
        return f"is text in YAML 1.2, and true or false in others: write {meant}, {quoted}."
    return f"is text in YAML 1.2, and a number in others: write the number's digits alone, {quoted}."


def _texts(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Path and text of every text within a filter, but for the names of properties."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(f"{path}.{index}", item)
    else:
        for name, item in mapping(value).items():
            yield from () if name == "property" else _texts(f"{path}.{name}", item)


def size_of(text: str) -> int:
    """Bytes of an identifier."""
    return len(text.encode("utf-8", "surrogatepass"))
