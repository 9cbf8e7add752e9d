"""What reconciliation recomputes from: the source topics, whole, in part or cut off, and the stored catalog."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tests.streams import HISTORY, StreamRecord, generate
from tests.unit.catalogs import source_of_history
from tidemark.catalog import file as catalog_file
from tidemark.catalog.file import TABLES
from tidemark.catalog.instants import shown
from tidemark.catalog.timeline import Timeline, Version
from tidemark.core.kafka import Record
from tidemark.core.settings import Settings
from tidemark.oracle.oracle import Oracle
from tidemark.reconcile import raw
from tidemark.reconcile.catalog import steps
from tidemark.reconcile.sample import Wanted
from udfs.calendars.localtime import Period
from udfs.catalog.index import Account, CatalogIndex
from udfs.meters.meter import BEGINNING_MS, FOREVER_MS
from udfs.values import instant as utc

HOUR_MS = 3_600_000


def stored(folder: Path) -> dict[str, dict[Any, Timeline]]:
    """Timelines as two applies of the stream's catalogs leave them: the second replaces the first from its begin on."""
    tables: dict[str, dict[Any, Timeline]] = {table: {} for table in TABLES}
    bounds = [BEGINNING_MS, 1_710_678_840_000, FOREVER_MS]
    for place, step in enumerate(HISTORY):
        file = folder / f"{place}.yaml"
        file.write_text(yaml.safe_dump(step["catalog"]))
        for table, rows in catalog_file.rows(catalog_file.read(file)).items():
            for row in rows:
                version = Version(row.values, bounds[place], bounds[place + 1])
                tables[table][row.key] = (*tables[table].get(row.key, ()), version)
    return tables


def counted(history: Any) -> tuple[Any, ...]:
    records = [(r.partition, offset, r.timestamp_ms, r.value) for offset, r in enumerate(generate(events=500, seed=3))]
    with Oracle(history, records) as oracle:
        return oracle.counts(), oracle.rows("usage_period"), oracle.rows("usage_day")


def test_the_stored_catalog_means_to_the_oracle_what_its_files_mean(tmp_path: Path) -> None:
    history = steps(stored(tmp_path))
    assert [step["valid_from"] for step in history] == [step["valid_from"] for step in HISTORY]
    assert counted(history) == counted(HISTORY)


def test_a_pruned_tenant_ends_its_periods_where_the_jobs_end_them(tmp_path: Path) -> None:
    at_ms, gone = 1_710_928_800_000, "globex"
    source, tables = source_of_history(HISTORY), stored(tmp_path)
    for table in ("tenant", "customer"):
        for key, timeline in tables[table].items():
            if key[0] == gone:
                tables[table][key] = tuple(replace(one, valid_to_ms=min(one.valid_to_ms, at_ms)) for one in timeline)
    source.tenants, source.customer_versions = (
        [replace(one, valid_to_ms=min(one.valid_to_ms, at_ms)) if one.tenant_id == gone else one for one in versions]
        for versions in (source.tenants, source.customer_versions)
    )
    records = [(r.partition, offset, r.timestamp_ms, r.value) for offset, r in enumerate(generate(events=800, seed=3))]
    with Oracle(steps(tables), records) as oracle:
        columns = "customer_id, event_ms, epoch_ms(period_start), epoch_ms(period_end)"
        found = oracle.db.execute(f"SELECT {columns} FROM usage WHERE tenant_id = ?", [gone]).fetchall()
    accounts = {
        pair[1]: Account(pair[0], versions, CatalogIndex(source.snapshot()))
        for pair, versions in source.customers([(gone, row[0]) for row in found]).items()
    }
    for customer, event_ms, start_ms, end_ms in found:
        assert accounts[customer].calendar_at(event_ms).period_at(event_ms) == Period(start_ms, end_ms)
    assert at_ms in {row[3] for row in found}


def test_versions_that_change_nothing_that_counts_are_no_step(tmp_path: Path) -> None:
    tables = stored(tmp_path)
    (customer, *_) = tables["customer"]
    (first, second) = tables["customer"][customer]
    cut = Version(second.values, second.valid_from_ms, second.valid_from_ms + HOUR_MS)
    # The same calendar, another plan.
    later = Version((second.values[0], "another", None), second.valid_from_ms + HOUR_MS)
    tables["customer"][customer] = (first, cut, later)
    assert len(steps(tables)) == 2


def test_one_tenant_alone_has_the_meters_of_all_and_its_own(tmp_path: Path) -> None:
    (_, latest) = steps(stored(tmp_path), "globex")
    assert list(latest["catalog"]["tenants"]) == ["globex"]
    assert latest["catalog"]["meters"].keys() == HISTORY[1]["catalog"]["meters"].keys()


def test_a_sample_of_the_source_counts_its_customers_as_the_whole_does(monkeypatch: pytest.MonkeyPatch) -> None:
    records = generate(events=800, seed=5)
    monkeypatch.setattr(raw, "_records", lambda *_: as_read(records))
    wanted = Wanted(share=Decimal("0.4"))
    whole, _ = raw.recompute(Settings(), HISTORY, Wanted(), {})
    part, _ = raw.recompute(Settings(), HISTORY, wanted, {})
    with whole, part:
        rows = [row for row in whole.rows("usage_day") if wanted.takes(row[0], row[1])]
        assert [row for row in part.rows("usage_day") if wanted.takes(row[0], row[1])] == rows
        assert 0 < len(rows) < len(whole.rows("usage_day"))
        assert part.counts().offsets_in < whole.counts().offsets_in


def test_what_arrived_before_a_replay_began_is_not_too_late_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    records = generate(events=500, seed=5)
    monkeypatch.setattr(raw, "_records", lambda *_: as_read(records))
    latest_ms = max(record.timestamp_ms for record in records)
    for until, late in (("", True), ("1970-01-01T00:00:00Z", True), (shown(latest_ms + 1), False)):
        oracle, _ = raw.recompute(Settings(replay={"late_until": until}), HISTORY, Wanted(), {})
        with oracle:
            assert ("too_late" in oracle.counts().rejected) == late


def test_copies_are_one_event_to_a_sample_also_behind_a_byte_order_mark() -> None:
    event = b'{"event_id": "e-1", "tenant_id": "acme", "customer_id": "c-7"}'
    plain, marked = (raw._identity(Settings(), value) for value in (event, b"\xef\xbb\xbf" + event))
    assert plain is not None
    assert marked == plain


def as_read(records: list[StreamRecord]) -> Any:
    """Records with offsets, in the order of their partitions."""
    offsets: dict[int, int] = {}
    for record in records:
        offset = offsets[record.partition] = offsets.get(record.partition, -1) + 1
        yield record.partition, offset, record.timestamp_ms, record.value


def test_what_retention_has_taken_is_known_by_the_arrival_of_the_first_records_left() -> None:
    source = raw.Source({0: 5, 1: 0, -1: 0})
    for record in ((0, 1_000), (0, 9_000), (1, 7_000), (-1, 8_000)):
        source.see(*record)
    source.finish(now_ms=10_000)
    assert source.known_from_ms == 1_000


def test_the_first_record_left_may_lie_behind_markers_and_an_empty_partition_has_lost_all_there_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Partition 0 begins with the marker of a transaction, partition 1 has nothing left, and 2 never had anything.
    events = Settings().topics.events
    records = [Record(0, 7, 1_000, None, b"{}"), Record(0, 8, 2_000, None, b"{}")]
    monkeypatch.setattr(raw, "dump", lambda _, topic, **__: records if topic == events else [])
    for gone_by_ms, known_from_ms in ((1_500, 1_500), (500, 1_000)):
        gone_by = {events: {1: utc(gone_by_ms)}}
        oracle, known = raw.recompute(Settings(), HISTORY, Wanted(), {events: {0: 5, 1: 9, 2: 0}}, gone_by)
        oracle.close()
        assert known == known_from_ms
    monkeypatch.setattr(raw, "time", SimpleNamespace(time_ns=lambda: 5_000 * 10**6))
    oracle, known = raw.recompute(Settings(), HISTORY, Wanted(), {events: {1: 9}})
    oracle.close()
    assert known == 5_000
