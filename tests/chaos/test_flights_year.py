"""A year of real flights: closed month by month, counted again by other rules, promoted and taken back, all exact."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ledger_lines import (
    closed_lines,
    current_differences,
    current_periods,
    final_periods,
    oracle_lines,
    read_ledger,
)
from tests.pipeline import Pipeline, pipeline
from tests.streams import StreamRecord
from tidemark.billing.close import close
from tidemark.billing.decide import CloseRequest
from tidemark.billing.outbox import publish
from tidemark.catalog import tool as catalog_tool
from tidemark.cli.demo import DEMO_SETTINGS
from tidemark.demo.flights import demo_stream
from tidemark.demo.report import demo_catalog
from tidemark.replay import run as replay_run
from tidemark.replay.diff import diff
from tidemark.replay.promotion import promote, revert

pytestmark = pytest.mark.drill

BEGIN = datetime(2012, 1, 1, tzinfo=UTC)
# All of 2013 is final by then, in every time zone.
AFTER = datetime(2014, 1, 20, tzinfo=UTC)
MONTHS_A_PART = 3


def other_rules() -> dict[str, Any]:
    """The demo's catalog with miles by destination, and the customers of the 31st billed from the 10th."""
    changed: dict[str, Any] = json.loads(json.dumps(demo_catalog()))
    changed["meters"]["miles"]["group_by"] = ["dest"]
    changed["calendars"]["anniversary-31st"]["anchor"] = "2013-01-10T00:00:00"
    return changed


def parts(partitions: int) -> Iterator[list[StreamRecord]]:
    """The year in the order of arrival, a quarter at a time, and an event of the next year in each partition."""

    def quarter(record: StreamRecord) -> tuple[int, int]:
        at = datetime.fromtimestamp(record.timestamp_ms / 1_000, UTC)
        return at.year, (at.month - 1) // MONTHS_A_PART

    records = [StreamRecord(one.partition, one.timestamp_ms, one.key, one.value) for one in demo_stream(partitions)]
    for _, some in groupby(sorted(records, key=lambda one: one.timestamp_ms), quarter):
        yield list(some)
    ms = int(AFTER.timestamp() * 1_000)
    flight = {
        "tenant_id": "EWR", "customer_id": "UA", "event_type": "flight", "timestamp": AFTER.isoformat(), "quantity": 1,
        "properties": {"dest": "LAX", "dep_delay": 0},
    }  # fmt: skip
    last = [json.dumps(flight | {"event_id": f"next year {partition}"}).encode() for partition in range(partitions)]
    yield [StreamRecord(partition, ms, b"next", value) for partition, value in enumerate(last)]


@pytest.fixture(scope="module")
def year(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    changes = {**DEMO_SETTINGS, "close.settle_s": 1, "close.max_dead_letters": 10_000}
    with pipeline(stack.settings, "year", demo_catalog(), tmp_path_factory.mktemp("year"), **changes) as made:
        made.start()
        yield made


def assert_reads_as(made: Pipeline, catalog: dict[str, Any]) -> None:
    """Rollups and ledger are those of the oracle by this catalog, and a consumer of the topics knows the same."""
    with Pipeline(made.settings, catalog).oracle() as oracle:
        assert current_differences(oracle, made.settings) == []
        assert closed_lines(made.settings) == oracle_lines(oracle, made.settings)
        assert final_periods(oracle, AFTER - timedelta(days=3)) <= current_periods(made.settings)
    publish(made.settings)
    reported = read_ledger(made.settings)
    assert {key for key, entry in reported.entries.items() if entry.is_current} == current_periods(made.settings)


def test_a_year_is_closed_as_time_passes_and_reads_as_the_oracle_says_by_every_version(
    year: Pipeline, tmp_path: Path
) -> None:
    settings = year.settings
    # Close as the watermark passes: each part closes something, and nothing that was closed ever changes.
    for part in parts(4):
        before = closed_lines(settings)
        year.send(part)
        year.wait_offsets()
        done = close(settings, "drill", CloseRequest(approved=True))
        assert not done.refused
        assert done.corrections == 0
        assert closed_lines(settings).items() >= before.items()
    assert_reads_as(year, demo_catalog())
    as_closed = closed_lines(settings)
    # Other rules: a meter and a calendar.
    file = tmp_path / "catalog.yaml"
    file.write_text(yaml.safe_dump({"valid_from": "beginning", **other_rules()}))
    catalog_tool.apply(settings, file, backdate=True)
    replay_run.finish(settings, replay_run.start(settings, replay_run.Request("rules", "drill", BEGIN)))
    changed = diff(settings, "rules")
    assert {line.meter for line in changed if line.customer_id != "DL"} == {"miles"}
    assert {line.meter for line in changed if line.customer_id == "DL"} > {"miles", "flights"}
    # Promote, and take back.
    assert promote(settings, "rules", "drill").corrections
    assert_reads_as(year, other_rules())
    assert revert(settings, "rules", "drill").corrections
    assert closed_lines(settings) == as_closed
    assert_reads_as(year, demo_catalog())
