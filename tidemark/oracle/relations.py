"""Relations of the oracle as Arrow tables: which there are, their columns, and rows put beside them to be compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from tidemark.oracle.oracle import Oracle

GRAINS = ("usage_minute", "usage_hour", "usage_day", "usage_period")
# Compared where the watermark bound covers all disorder of the stream.
SLIDING = ("usage_sliding", "usage_sliding_customer")
_BATCH = 50_000
_DECIMAL = pa.decimal128(38, 9)
_TIME = pa.timestamp("us", tz="UTC")
_KEYS = {
    "usage_minute": [("minute_start", _TIME)],
    "usage_hour": [("hour_start", _TIME)],
    "usage_day": [("day", pa.date32())],
    "usage_period": [("period_start", _TIME), ("period_end", _TIME)],
    "delta_minutes": [("minute_start", _TIME)],
    "live": [("period_start", pa.int64()), ("period_end", pa.int64())],
}
_WINDOW = [("window_s", pa.int32()), ("window_start", _TIME), ("window_end", _TIME)]


def schema_of(relation: str) -> pa.Schema:
    """Arrow schema of a relation of the oracle; decimals are exact, times are UTC; lo, hi and latest may be NULL."""
    if relation in SLIDING:
        names = (
            ("tenant_id", "customer_id", "meter") if relation == "usage_sliding_customer" else ("tenant_id", "meter")
        )
        windows = [*((name, pa.string()) for name in names), *_WINDOW]
        return pa.schema([*windows, ("n", pa.int64()), ("total", _DECIMAL)])
    series = [] if relation == "live" else ["dims", "part"]
    ids = [(name, pa.string()) for name in ("tenant_id", "customer_id", "meter", *series)]
    counts = [(name, pa.int64()) for name in ("n", "samples")]
    totals = [(name, _DECIMAL) for name in ("total", "lo", "hi")]
    return pa.schema([*ids, *_KEYS[relation], *counts, *totals, ("latest", pa.string())])


def load(oracle: Oracle, table: str, schema: pa.Schema, rows: Iterable[Sequence[Any]]) -> None:
    """Put rows into a new table of the oracle's database."""
    oracle.db.register("empty", schema.empty_table())
    oracle.db.execute(f"CREATE OR REPLACE TABLE {table} AS FROM empty")
    oracle.db.unregister("empty")
    iterator = iter(rows)
    while batch := list(islice(iterator, _BATCH)):
        columns = [pa.array(column, field.type) for column, field in zip(zip(*batch, strict=True), schema, strict=True)]
        oracle.db.register("batch", pa.table(columns, schema=schema))
        oracle.db.execute(f"INSERT INTO {table} FROM batch")
        oracle.db.unregister("batch")
