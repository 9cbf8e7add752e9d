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
    differences:
        Parts of minutes whose sums differ.

    """

    deltas: int
    events: int
    counted: int
    repeated: int
    differences: list[Difference]

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
    load(oracle, "deltas", schema, _rows(values))
    for view in ("delta_totals", "delta_repeats"):
        oracle.db.execute(statement_named(view))
    return DeltaCheck(
        deltas=oracle.number("SELECT count(*) FROM deltas"),
        events=oracle.number("SELECT coalesce(sum(events), 0)::BIGINT FROM deltas"),
        counted=oracle.counts().counted,
        repeated=oracle.number("SELECT count(*) FROM delta_repeats"),
        differences=compare_relations(oracle, "delta_minutes", "delta_totals"),
    )


def _rows(values: Iterable[bytes | None]) -> Iterator[tuple[Any, ...]]:
    for value in values:
        if value is None:
            continue
        d = json.loads(value)
        series = (d["tenant_id"], d["customer_id"], d["meter"], d["dims"], d["part"])
        lo, hi = (None if d[name] is None else Decimal(d[name]) for name in ("lo", "hi"))
        totals = (d["n"], d["samples"], Decimal(d["total"]), lo, hi, d["latest"] or None)
        place = (d["events"], d["source_topic"], d["source_partition"], d["first_offset"])
        yield *series, datetime.fromisoformat(d["minute"]), *totals, *place
