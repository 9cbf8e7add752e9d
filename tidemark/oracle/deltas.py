"""Checks the exactly-once topic of deltas: its sums equal the oracle's minutes, and no delta occurs twice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from tidemark.core.kafka import dump
from tidemark.core.settings import Settings
from tidemark.oracle.compare import Difference, compare_relations
from tidemark.oracle.oracle import Oracle, statement_named
from tidemark.oracle.relations import load, schema_of

_BIGINT = 2**63 - 1
_OFFSETS = [
    ("events", pa.int64()),
    ("source_topic", pa.string()),
    ("source_partition", pa.int32()),
    ("first_offset", pa.int64()),
]


@dataclass(frozen=True, slots=True)
class DeltaCheck:
    """What the deltas say against the oracle.

    Parameters
    ----------
    deltas:
        Records read.
    events:
        Sum of their `events`; each counted event is in it once.
    counted:
        Events the oracle counted.
    repeated:
        Deltas that occur more than once.
    foreign:
        Records that are no deltas; they add nothing.
    differences:
        Parts of minutes whose sums differ.

    """

    deltas: int
    events: int
    counted: int
    repeated: int
    differences: list[Difference]
    foreign: int = 0

    @property
    def equal(self) -> bool:
        """Whether every counted event is in the deltas exactly once."""
        return self.events == self.counted and not self.repeated and not self.differences


def committed_deltas(oracle: Oracle, settings: Settings) -> DeltaCheck:
    """Check what a `read_committed` consumer sees of the run's deltas, from the start to the current end."""
    return check_deltas(oracle, (record.value for record in dump(settings.kafka, settings.names.deltas)))


def check_deltas(oracle: Oracle, values: Iterable[bytes | None]) -> DeltaCheck:
    """Check deltas given as the values of their Kafka records."""
    schema = schema_of("delta_minutes")
    for name, kind in _OFFSETS:
        schema = schema.append(pa.field(name, kind))
    foreign: list[bytes] = []
    load(oracle, "deltas", schema, read_rows(values, foreign))
    for view in ("delta_totals", "delta_repeats"):
        oracle.db.execute(statement_named(view))
    return DeltaCheck(
        deltas=oracle.number("SELECT count(*) FROM deltas"),
        events=oracle.number("SELECT coalesce(sum(events), 0)::BIGINT FROM deltas"),
        counted=oracle.counts().counted,
        repeated=oracle.number("SELECT count(*) FROM delta_repeats"),
        differences=compare_relations(oracle, "delta_minutes", "delta_totals"),
        foreign=len(foreign),
    )


def read_rows(values: Iterable[bytes | None], foreign: list[bytes]) -> Iterator[tuple[Any, ...]]:
    """Deltas as rows of `deltas`; of records that are none, the values are added to `foreign`."""
    for value in values:
        if value is None:
            continue
        try:
            yield _row(json.loads(value))
        except (ValueError, ArithmeticError, LookupError, TypeError, RecursionError):
            foreign.append(value)


def _row(d: Any) -> tuple[Any, ...]:
    """A delta as a row; raises one of several errors for any other record."""
    texts = [_is(str, d[name]) for name in ("tenant_id", "customer_id", "meter", "dims", "part")]
    lo, hi = (None if d[name] is None else Decimal(d[name]) for name in ("lo", "hi"))
    minute = datetime.fromisoformat(d["minute"])
    place = (_is(int, d["events"]), _is(str, d["source_topic"]), _is(int, d["source_partition"]))
    totals = (_is(int, d["n"]), _is(int, d["samples"]), Decimal(d["total"]), lo, hi, d["latest"] or None)
    if d["n"] < 1 or minute.second or minute.microsecond:
        raise ValueError("no delta")
    return *texts, minute, *totals, *place, _is(int, d["first_offset"])


def _is(kind: type, value: Any) -> Any:
    if not isinstance(value, kind) or (isinstance(value, int) and not -_BIGINT <= value <= _BIGINT):
        raise TypeError
    return value
