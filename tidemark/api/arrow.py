"""Buckets of usage as an Arrow stream: a column for each dimension, instants and exact decimals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from tidemark.api.forms import MEDIA_TYPES, Body
from tidemark.api.problem import Problem
from tidemark.api.usage_query import CUSTOMER
from udfs.values import parse_rfc3339

# Digits of a decimal that every reader of Arrow knows; a percentile is the middle of a bin, in 18 decimals.
_DIGITS = 38
_DECIMALS, _DECIMALS_OF_BINS = 9, 18


def stream_of(document: Mapping[str, Any], groups: Sequence[str], *, dates: bool) -> Body:
    """A page of usage in Arrow's streaming format.

    Parameters
    ----------
    document:
        What JSON would answer.
    groups:
        What the buckets are grouped by, in this order.
    dates:
        Whether buckets start with dates, not instants.

    Raises
    ------
    Problem
        422 for a value that has more digits than the column.
    """
    schema = _schema(document, groups, dates=dates)
    try:
        table = pa.Table.from_pylist([_row(row, dates=dates) for row in document["rows"]], schema)
    except pa.ArrowInvalid:
        detail = f"a value has more digits than a decimal of {_DIGITS}; ask for JSON."
        raise Problem(422, "invalid_parameter", detail, more={"parameter": "format"}) from None
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(table)
    return Body(bytes(sink.getvalue()), MEDIA_TYPES["arrow"])


def _schema(document: Mapping[str, Any], groups: Sequence[str], *, dates: bool) -> Any:
    decimals = _DECIMALS_OF_BINS if document["aggregation"] == "percentile" else _DECIMALS
    names = [CUSTOMER] if CUSTOMER in groups else []
    names += [f"dims.{name}" for name in groups if name != CUSTOMER]
    fields = [
        pa.field("start", pa.date32() if dates else pa.timestamp("us", "UTC"), nullable=False),
        *(pa.field(name, pa.string(), nullable=False) for name in names),
        pa.field("value", pa.decimal128(_DIGITS, decimals), nullable=False),
        pa.field("samples", pa.int64(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),
    ]
    about = {name: str(document[name] or "") for name in ("meter", "aggregation", "unit", "grain", "zone")}
    return pa.schema(fields, about)


def _row(row: Mapping[str, Any], *, dates: bool) -> dict[str, Any]:
    start = date.fromisoformat(row["start"]) if dates else parse_rfc3339(row["start"])
    dims = {f"dims.{name}": value for name, value in row["dims"].items()}
    return {**row, **dims, "start": start, "value": Decimal(row["value"])}
