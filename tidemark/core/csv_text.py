"""Rows as CSV: customers choose their ids, so none becomes a formula of who opens the file in a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def csv_of(rows: Sequence[Mapping[str, Any]], fields: Sequence[str] = (), line_end: str = "\r\n") -> str:
    """Rows with a header.

    Parameters
    ----------
    rows:
        Values by field; a text that a spreadsheet would take for a formula gets a quote before it, numbers do not.
    fields:
        Of the header; those of the first row when empty.
    line_end:
        What ends a line.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=fields or list(rows[0] if rows else ()), lineterminator=line_end)
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_FORMULA) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value
