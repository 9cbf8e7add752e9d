"""One stream through the real jobs and through the model without an engine: every stored row is equal, both ways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from jobs.flink.rest import wait_until
from tests.pipeline import COUNTED_WITHIN_S, Pipeline, pipeline
from tests.streams import CATALOG, FUTURE_TOLERANCE_MS, GRACE_MS, StreamRecord, generate
from tests.unit.catalogs import source_of
from tidemark.demo.report import applied
from tidemark.dry_run.fold import GRAINS, Bucket, Grain
from tidemark.dry_run.model import Model
from tidemark.dry_run.usage_rows import usage_rows
from udfs.decode.decoder import DecodePolicy

EVENTS = 10_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BUCKETS = {"minute": "minute_start", "hour": "hour_start", "day": "day", "period": "period_start"}
# Postgres reckons the middle of a bin with less digits than the model.
_BIN_ERROR = Decimal("1E-9")

Rows = Counter[tuple[Any, ...]]


@pytest.fixture(scope="module")
def records() -> list[StreamRecord]:
    return generate(EVENTS)


@pytest.fixture(scope="module")
def model(records: list[StreamRecord]) -> Model:
    """What the stream comes to without an engine, by the same arrivals."""
    made = Model(source_of(CATALOG), DecodePolicy("any", GRACE_MS, FUTURE_TOLERANCE_MS))
    for first in range(0, len(records), 1_000):
        batch = records[first : first + 1_000]
        places = range(first, first + len(batch))
        made.feed([r.value for r in batch], [r.timestamp_ms for r in batch], [r.partition for r in batch], places)
    return made


@pytest.fixture(scope="module")
def counted(
    stack: Any, records: list[StreamRecord], model: Model, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pipeline]:
    """The stream, counted by both jobs, with as many measurements stored as the model has, or more."""
    with pipeline(stack.settings, "dry_run", CATALOG, tmp_path_factory.mktemp("dry_run")) as run:
        run.start()
        run.send(records)
        run.wait_drained()
        expected = {f"usage_{grain}": sum(cell.n for *_, cell in model.fold.rows(grain)) for grain in GRAINS}
        wait_until(
            lambda: all(applied(run.settings)[table] >= n for table, n in expected.items()),
            COUNTED_WITHIN_S,
            f"{expected} measurements to be stored",
        )
        yield run


@pytest.mark.parametrize("grain", GRAINS)
def test_every_row_the_jobs_store_is_one_of_the_model_and_every_one_of_the_model_is_stored(
    counted: Pipeline, model: Model, grain: Grain
) -> None:
    stored, modelled = _stored(counted, grain), _modelled(model, grain)
    # Each side shows what the other lacks; a row that differs is one of each.
    assert (_few(modelled - stored), _few(stored - modelled)) == ([], [])
    assert stored.total() > 0


def test_both_reject_the_same_events_for_the_same_reasons(counted: Pipeline, model: Model) -> None:
    assert counted.dead_letters() == Counter(model.rejected())
    assert counted.partial_dead_letters() == Counter(model.partly_rejected())


@pytest.mark.parametrize("grain", GRAINS)
def test_what_people_read_is_what_a_dry_run_says(counted: Pipeline, model: Model, grain: Grain) -> None:
    # Postgres knows no buckets without events, so those a level is carried through are the dry run's alone; and it
    # reckons the days of a level only when asked.
    counted_in = {(series, bucket) for series, _, bucket, _ in model.fold.rows(grain)}
    said = {
        (*row.series, _moment(row.bucket)): (row.value, row.samples)
        for row in usage_rows(model, grain)
        if (row.series, row.bucket) in counted_in and (grain, row.meter.aggregation) != ("day", "weighted_sum")
    }
    read = _values(counted, grain)
    assert said.keys() == read.keys()
    assert [
        (key, said[key], read[key])
        for key in said
        if said[key][1] != read[key][1] or abs(said[key][0] - read[key][0]) > _BIN_ERROR * max(1, abs(said[key][0]))
    ] == []


def _stored(run: Pipeline, grain: Grain) -> Rows:
    end = "period_end" if grain == "period" else "NULL"
    query = f"""
        SELECT tenant_id, customer_id, meter, dims, part, {_BUCKETS[grain]}, n, samples, total, lo, hi, latest, {end}
        FROM usage_{grain}"""
    return Counter(_query(run, query))


def _modelled(model: Model, grain: Grain) -> Rows:
    return Counter(
        (
            *(*series, part, _moment(bucket)),
            *(cell.n, cell.samples, cell.total, cell.lo, cell.hi, cell.latest or None),
            _moment(cell.period_end_ms) if grain == "period" else None,
        )
        for series, part, bucket, cell in model.fold.rows(grain)
    )


def _values(run: Pipeline, grain: Grain) -> dict[tuple[Any, ...], tuple[Decimal, int]]:
    query = f"""
        SELECT tenant_id, customer_id, meter, dims, {_BUCKETS[grain]}, value, samples FROM usage_{grain}_value"""
    return {key: (value, samples) for *ids, value, samples in _query(run, query) if (key := tuple(ids))}


def _query(run: Pipeline, query: str) -> list[tuple[Any, ...]]:
    options = f"-c timezone=UTC -c search_path={run.settings.names.usage_schema},public"
    with psycopg.connect(run.settings.postgres.url, connect_timeout=10, options=options) as connection:
        return connection.execute(query.encode()).fetchall()


def _moment(bucket: Bucket) -> datetime | date:
    return date.fromisoformat(bucket) if isinstance(bucket, str) else _EPOCH + timedelta(milliseconds=bucket)


def _few(rows: Rows) -> list[tuple[Any, ...]]:
    return sorted(rows.elements(), key=str)[:10]
