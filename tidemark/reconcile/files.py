"""Files of other systems: CSV with a header or JSON lines; every fault is reported with its line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from tidemark.core.errors import UsageError
from udfs.values import EXACT, parse_rfc3339

_MOST_FAULTS = 20
# Digits of a column of DECIMAL(38, 9).
_PLACES, _WHOLE_DIGITS = 9, 29
_LAST_PLACE = Decimal(1).scaleb(-_PLACES)

Row = dict[str, Any]
Reader = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a file: how its text is read, and the default if it is absent or empty (`required`: a fault)."""

    read: Reader
    required: bool = True
    default: Any = None


def read_rows(path: Path, columns: Mapping[str, Column]) -> list[Row]:
    """All rows of a `.csv`, or of `.ndjson` or `.jsonl`; columns that are not named are ignored.

    Raises
    ------
    UsageError
        The file cannot be read, or has faults: the first ones are listed, each with its line.
    """
    rows: list[Row] = []
    faults: list[str] = []
    for line, raw in _lines(path):
        try:
            rows.append({name: _cell(name, column, raw) for name, column in columns.items()})
        except ValueError as error:
            faults.append(f"  line {line}: {error}")
    if faults:
        listed = "\n".join(faults[:_MOST_FAULTS])
        raise UsageError(f"{path} has {len(faults)} faulty line(s):\n{listed}", "correct them; nothing was imported.")
    return rows


def text(value: str) -> str:
    """Text as it is."""
    return value


def instant(value: str) -> datetime:
    """An RFC 3339 instant with a zone, in UTC; ValueError for anything else."""
    return parse_rfc3339(value).astimezone(UTC)


def hour(value: str) -> datetime:
    """An instant at the start of an hour of UTC; ValueError for anything else."""
    at = instant(value)
    if at.minute or at.second or at.microsecond:
        raise ValueError(f"{value!r} is not the start of an hour")
    return at


def figure(value: str) -> Decimal:
    """A finite decimal below 1e29, with any number of decimals; ValueError for anything else."""
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ValueError(f"{value!r} is not a number") from None
    if not number.is_finite() or number.adjusted() >= _WHOLE_DIGITS:
        raise ValueError(f"{value!r} is not a number of at most {_WHOLE_DIGITS} digits")
    return number


def decimal(value: str) -> Decimal:
    """A finite decimal that DECIMAL(38, 9) holds; ValueError for anything else."""
    number = figure(value)
    if EXACT.quantize(number, _LAST_PLACE) != number:
        raise ValueError(f"{value!r} is not a number of at most {_WHOLE_DIGITS} digits and {_PLACES} decimals")
    return number


def count(value: str) -> int:
    """A whole number, 0 or more; ValueError for anything else."""
    number = int(value)
    if number < 0:
        raise ValueError(f"{value!r} is below 0")
    return number


def _cell(name: str, column: Column, raw: Mapping[str, Any]) -> Any:
    value = raw.get(name)
    if value is None or value == "":
        if column.required:
            raise ValueError(f"{name} is missing")
        return column.default
    try:
        return column.read(str(value))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix in {".ndjson", ".jsonl"}:
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield number, _document(path, number, line)
            else:
                rows = csv.DictReader(file)
                yield from ((rows.line_num, row) for row in rows)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read: {error}.", "name a readable UTF-8 CSV or JSON lines file.") from error


def _document(path: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        # Numbers keep their digits.
        document = json.loads(line, parse_float=str, parse_int=str)
    except ValueError as error:
        raise UsageError(f"{path} line {number} is not JSON: {error}.", "write one JSON object a line.") from error
    if not isinstance(document, Mapping):
        raise UsageError(f"{path} line {number} is not a JSON object.", "write one JSON object a line.")
    return document
