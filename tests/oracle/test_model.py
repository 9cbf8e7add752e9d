"""The model and the oracle, which share no code, on one stream: every row of every grain is equal, both ways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from tests.streams import HISTORY, StreamRecord, generate
from tests.unit.catalogs import source_of_history
from tests.unit.dry_run.models import POLICY
from tidemark.dry_run.fold import GRAINS, Bucket, Cell, Grain, Series
from tidemark.dry_run.model import Model
from tidemark.oracle.compare import compare
from tidemark.oracle.oracle import Oracle
from tidemark.oracle.relations import schema_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def records() -> list[StreamRecord]:
    return generate(6_000, seed=3)


@pytest.fixture(scope="module")
def model(records: list[StreamRecord]) -> Model:
    made = Model(source_of_history(HISTORY), POLICY)
    arrivals, partitions = [r.timestamp_ms for r in records], [r.partition for r in records]
    made.feed([r.value for r in records], arrivals, partitions, range(len(records)))
    return made


@pytest.fixture(scope="module")
def oracle(records: list[StreamRecord]) -> Iterator[Oracle]:
    offsets: Counter[int] = Counter()
    raw = []
    for record in records:
        raw.append((record.partition, offsets[record.partition], record.timestamp_ms, record.value))
        offsets[record.partition] += 1
    with Oracle(HISTORY, raw) as built:
        yield built


@pytest.mark.parametrize("grain", GRAINS)
def test_every_row_of_the_model_is_one_of_the_oracle_and_the_other_way_round(
    model: Model, oracle: Oracle, grain: Grain
) -> None:
    names = schema_of(f"usage_{grain}").names
    rows = [[_columns(*row)[name] for name in names] for row in model.fold.rows(grain)]
    assert rows
    assert compare(oracle, f"usage_{grain}", rows) == []


def test_both_count_and_reject_the_same(model: Model, oracle: Oracle) -> None:
    counts = oracle.counts()
    assert (counts.offsets_in, counts.counted, counts.duplicates, counts.rejected, counts.partial) == (
        model.counts.read, model.counts.counted, model.counts.duplicates, model.rejected(), model.partly_rejected(),
    )  # fmt: skip


def _columns(series: Series, part: str, bucket: Bucket, cell: Cell) -> dict[str, Any]:
    start = _moment(bucket)
    return {
        "tenant_id": series.tenant, "customer_id": series.customer, "meter": series.meter, "dims": series.dims,
        "part": part, "minute_start": start, "hour_start": start, "day": start, "period_start": start,
        "period_end": _moment(cell.period_end_ms), "n": cell.n, "samples": cell.samples, "total": cell.total,
        "lo": cell.lo, "hi": cell.hi, "latest": cell.latest or None,
    }  # fmt: skip


def _moment(bucket: Bucket) -> datetime | date:
    return date.fromisoformat(bucket) if isinstance(bucket, str) else EPOCH + timedelta(milliseconds=bucket)
