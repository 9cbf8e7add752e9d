"""Recomputes usage from raw Kafka records in DuckDB SQL, sharing no code with the jobs that it checks."""

from __future__ import annotations

import importlib.resources
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa  # type: ignore[import-untyped]

from jobs.errors import TidemarkError, UsageError

# The order of the statements; each is one file in `sql/` and builds on those before it.
_STEPS = (
    "first_instant", "decoded", "skeleton", "nesting", "parsed", "fields", "typed", "amounted", "measured", "verdicts",
    "boundaries", "usage", "doubts", "usage_minute", "usage_hour", "usage_day", "usage_period", "live", "outcomes",
)  # fmt: skip
_RAW = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("arrival_ms", pa.int64()),
        ("value", pa.binary()),
    ]
)
_BATCH = 50_000
_CATALOG_TABLES = """
CREATE TABLE calendars (calendar_id VARCHAR, anchor TIMESTAMP, interval VARCHAR, timezone VARCHAR);
CREATE TABLE tenants   (tenant_id VARCHAR, calendar_id VARCHAR);
CREATE TABLE customers (tenant_id VARCHAR, customer_id VARCHAR, calendar_id VARCHAR);
CREATE TABLE meters    (tenant_id VARCHAR, meter VARCHAR, event_types VARCHAR[], aggregation VARCHAR,
                        group_by VARCHAR[], allow_negative BOOLEAN);
"""

# Of one Kafka record: partition, offset, arrival in ms, value.
RawRecord = tuple[int, int, int, bytes | None]


@dataclass(frozen=True, slots=True)
class Rules:
    """Limits of the documented rules, with the values of the documentation."""

    grace_ms: int = 172_800_000
    future_tolerance_ms: int = 300_000
    max_event_bytes: int = 65_536
    max_id_bytes: int = 256
    max_depth: int = 64
    max_dims_bytes: int = 1_024


@dataclass(frozen=True, slots=True)
class Counts:
    """Where every offset went: offsets_in = counted + duplicates + the sum of rejected."""

    offsets_in: int
    counted: int
    duplicates: int
    rejected: Mapping[str, int]


class Oracle:
    """Usage recomputed from raw records; a context manager that owns a DuckDB database in memory.

    Parameters
    ----------
    catalog:
        The catalog file as plain data: `calendars`, `tenants` (with `customers` and `meters`), `meters`.
    records:
        (partition, offset, arrival_ms, value) of every record, in any order.
    rules:
        Limits.

    Raises
    ------
    TidemarkError
        Some record cannot be decided with certainty by these statements (see `sql/doubts.sql`).

    """

    def __init__(self, catalog: Mapping[str, Any], records: Iterable[RawRecord], rules: Rules | None = None) -> None:
        self.db = duckdb.connect(":memory:")
        self.db.execute("SET timezone = 'UTC'")
        self.db.execute(_CATALOG_TABLES)
        _load_catalog(self.db, catalog)
        _load_records(self.db, records)
        values = _parameters(rules or Rules())
        for step in _STEPS:
            statement = statement_named(step)
            self.db.execute(statement, {name: value for name, value in values.items() if f"${name}" in statement})
        self._refuse_doubts()

    def rows(self, relation: str) -> list[tuple[Any, ...]]:
        """All rows of a relation: usage_minute, usage_hour, usage_day, usage_period, live."""
        rows: list[tuple[Any, ...]] = self.db.execute(f"FROM {relation} ORDER BY ALL").fetchall()
        return rows

    def counts(self) -> Counts:
        """How many offsets ended in which way."""
        outcomes = Counter(dict(self.db.execute("FROM outcomes").fetchall()))
        offsets_in = outcomes.total()
        counted, duplicates = outcomes.pop("counted", 0), outcomes.pop("duplicate", 0)
        return Counts(offsets_in, counted, duplicates, dict(sorted(outcomes.items())))

    def number(self, query: str) -> int:
        """The one number a query answers with; 0 for none. Read to its end: DuckDB allows nothing else before that."""
        rows = self.db.execute(query).fetchall()
        return int(rows[0][0] or 0) if rows else 0

    def verdicts(self) -> dict[tuple[int, int], str]:
        """Say `counted`, `duplicate` or the reason of rejection, by (partition, offset)."""
        rows = self.db.execute('SELECT partition, "offset", verdict FROM verdicts').fetchall()
        return {(partition, offset): verdict for partition, offset, verdict in rows}

    def close(self) -> None:
        """Free the database."""
        self.db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _refuse_doubts(self) -> None:
        doubts = self.db.execute("FROM doubts LIMIT 5").fetchall()
        if doubts:
            lines = "; ".join(f"partition {p} offset {o}: {doubt}" for p, o, doubt in doubts)
            raise TidemarkError(f"the oracle cannot decide every record: {lines}.", "make the stream unambiguous.")


def statement_named(name: str) -> str:
    """Text of one SQL statement of the oracle."""
    return importlib.resources.files("jobs.oracle").joinpath(f"sql/{name}.sql").read_text(encoding="utf-8")


def _parameters(rules: Rules) -> dict[str, int]:
    return {name: getattr(rules, name) for name in Rules.__dataclass_fields__}


def _load_records(db: duckdb.DuckDBPyConnection, records: Iterable[RawRecord]) -> None:
    db.execute('CREATE TABLE raw (partition INTEGER, "offset" BIGINT, arrival_ms BIGINT, value BLOB)')
    for batch in _batches(records):
        partitions, offsets, arrivals, values = zip(*batch, strict=True)
        table = pa.table([partitions, offsets, arrivals, values], schema=_RAW)
        db.register("batch", table)
        db.execute("INSERT INTO raw FROM batch")
        db.unregister("batch")


def _batches(records: Iterable[RawRecord]) -> Iterator[Sequence[RawRecord]]:
    iterator = iter(records)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def _load_catalog(db: duckdb.DuckDBPyConnection, catalog: Mapping[str, Any]) -> None:
    unknown = set(catalog) - {"calendars", "tenants", "meters"}
    if unknown:
        raise UsageError(f"the oracle does not know {', '.join(sorted(unknown))} of a catalog.", "extend jobs/oracle.")
    # '' is the calendar of those that name none.
    calendars = [("", "1970-01-01T00:00:00", "P1M", "Etc/UTC")]
    calendars += [(k, c["anchor"], c["interval"], c["timezone"]) for k, c in catalog.get("calendars", {}).items()]
    tenants = {name: tenant or {} for name, tenant in catalog.get("tenants", {}).items()}
    meters = list(_meters(None, catalog.get("meters", {})))
    customers = []
    for name, tenant in tenants.items():
        meters += _meters(name, tenant.get("meters", {}))
        customers += [(name, key, (c or {}).get("calendar")) for key, c in tenant.get("customers", {}).items()]
    _insert(db, "calendars", calendars)
    _insert(db, "tenants", [(name, tenant.get("calendar")) for name, tenant in tenants.items()])
    _insert(db, "customers", customers)
    _insert(db, "meters", meters)


def _meters(tenant: str | None, meters: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for name, m in meters.items():
        allow_negative = m.get("allow_negative", False)
        yield tenant, name, m["event_types"], m["aggregation"], m.get("group_by", []), allow_negative


def _insert(db: duckdb.DuckDBPyConnection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if rows:
        db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
