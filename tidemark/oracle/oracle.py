"""Recomputes usage from raw Kafka records in DuckDB SQL, sharing no code with the jobs that it checks."""

from __future__ import annotations

import importlib.resources
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa  # type: ignore[import-untyped]

from tidemark.core.errors import TidemarkError
from tidemark.oracle.history import History, load_history
from tidemark.oracle.meters import statements_of

# The order of the statements; each is a file in `sql/` and builds on those before it. The two statements that are
# compiled from the catalog's meters come in between.
_BEFORE_METERS = (
    "numbers", "bins", "measured_types", "opened", "decoded", "skeleton", "nesting", "parsed",
    "fields", "typed", "amounted", "spans", "boundaries", "placed",
)  # fmt: skip
_AFTER_METERS = (
    "outcomes", "partial", "usage", "doubts", "delta_minutes", "usage_minute", "usage_hour", "usage_day",
    "usage_period", "live", "reached", "outcome_counts",
)  # fmt: skip
_VALUES = ("final_values", "levels", "value_minute", "value_hour", "value_day", "value_period")
_SLIDING = ("usage_sliding", "usage_sliding_customer")
_RAW = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("arrival_ms", pa.int64()),
        ("value", pa.binary()),
    ]
)
_BATCH = 50_000
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
    max_properties: int = 256
    # Tenant of CloudEvents that name no tenant; '' where there is no default.
    default_tenant: str = ""
    # Events that arrived before this instant are never too late: a replay counts them.
    late_until_ms: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """How many offsets had each outcome: offsets_in = counted + duplicates + the sum of rejected.

    `partial` counts, by reason, the refusals of single meters where other meters count the event.
    """

    offsets_in: int
    counted: int
    duplicates: int
    rejected: Mapping[str, int]
    partial: Mapping[str, int] = field(default_factory=dict)


class Oracle:
    """Usage recomputed from raw records; a context manager that owns a DuckDB database in memory.

    Parameters
    ----------
    catalog:
        The catalog file as plain data: `calendars`, `tenants` (with `customers` and `meters`), `meters`; or its
        history: steps `{"valid_from": RFC 3339 instant or "beginning", "catalog": {...}}` in ascending order, each of
        which replaces all before it for events from its instant on.
    records:
        (partition, offset, arrival_ms, value) of every record, in any order; of the redrive topic's partition p the
        partition is -1 - p.
    rules:
        Limits.

    Raises
    ------
    TidemarkError
        Some record cannot be decided with certainty by these statements (see `sql/doubts.sql`).
    UsageError
        The catalog has something that these statements do not know.

    """

    def __init__(self, catalog: History, records: Iterable[RawRecord], rules: Rules | None = None) -> None:
        self.db = duckdb.connect(":memory:")
        self.db.execute("SET timezone = 'UTC'")
        self._values_built = False
        self._parameters = asdict(rules or Rules())
        meters = load_history(self.db, catalog)
        _load_records(self.db, records)
        self._run(map(statement_named, _BEFORE_METERS))
        self._run(statements_of(meters))
        self._run(map(statement_named, _AFTER_METERS))
        self._refuse_doubts()

    def rows(self, relation: str) -> list[tuple[Any, ...]]:
        """All rows of a relation: usage_minute to usage_period, live, reached; value_* once built."""
        rows: list[tuple[Any, ...]] = self.db.execute(f"FROM {relation} ORDER BY ALL").fetchall()
        return rows

    def build_values(self) -> None:
        """Compute the final values of the meters: relations value_minute, value_hour, value_day and value_period.

        A row has tenant_id, customer_id, meter, dims, the bucket (minute_start, hour_start, day, or period_start),
        samples, value, and p50, p95, p99 for percentile meters. All of it comes from the values of the events: exact
        quantiles, distinct texts, integrals by event time; never from bins, hashes or moments. There is no row where
        no event defines the value. A second call does nothing.
        """
        if not self._values_built:
            self._run(map(statement_named, _VALUES))
            self._values_built = True

    def build_sliding(self) -> None:
        """Compute the sliding windows: relations usage_sliding and usage_sliding_customer; may be called twice.

        A row has tenant_id, meter (and customer_id), window_s, window_start, window_end, n, total. Nothing is late: the
        jobs store the same only if their watermark bound covers all disorder of the stream.
        """
        self._run(map(statement_named, _SLIDING))

    def counts(self) -> Counts:
        """How many offsets had each outcome."""
        counts = Counter(dict(self.db.execute("FROM outcome_counts").fetchall()))
        offsets_in = counts.total()
        counted, duplicates = counts.pop("counted", 0), counts.pop("duplicate", 0)
        partial = self.db.execute("SELECT refusal, count(*) FROM partial GROUP BY ALL ORDER BY ALL").fetchall()
        return Counts(offsets_in, counted, duplicates, dict(sorted(counts.items())), dict(partial))

    def number(self, query: str) -> int:
        """The number that a query returns; 0 for no row."""
        # All rows are fetched: DuckDB runs no other statement before that.
        rows = self.db.execute(query).fetchall()
        return int(rows[0][0] or 0) if rows else 0

    def outcomes(self) -> dict[tuple[int, int], str]:
        """`counted`, `duplicate` or the reason of rejection, by (partition, offset)."""
        rows = self.db.execute('SELECT partition, "offset", outcome FROM outcomes').fetchall()
        return {(partition, offset): outcome for partition, offset, outcome in rows}

    def close(self) -> None:
        """Free the database."""
        self.db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, statements: Iterable[str]) -> None:
        """Execute statements in order, each with the parameters that it has: a text in it may look like one."""
        for text in statements:
            for statement in self.db.extract_statements(text):
                self.db.execute(statement, {name: self._parameters[name] for name in statement.named_parameters})

    def _refuse_doubts(self) -> None:
        doubts = self.db.execute("FROM doubts LIMIT 5").fetchall()
        if doubts:
            lines = "; ".join(f"partition {p} offset {o}: {doubt}" for p, o, doubt in doubts)
            raise TidemarkError(f"the oracle cannot decide every record: {lines}.", "make the stream unambiguous.")


def statement_named(name: str) -> str:
    """Text of one SQL statement of the oracle."""
    return importlib.resources.files("tidemark.oracle").joinpath(f"sql/{name}.sql").read_text(encoding="utf-8")


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
