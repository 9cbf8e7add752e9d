"""Catalog: YAML into versions, versions read back by the jobs, through restarts of the database's sessions."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from jobs import catalog_tool, db
from jobs.errors import UsageError
from jobs.settings import Settings
from udfs.catalog import CatalogUnavailable
from udfs.catalog_model import CalendarDef, Customer, Tenant
from udfs.catalog_store import PostgresCatalogSource
from udfs.meters import BEGINNING_MS, FOREVER_MS, Meter

YAML = """
calendars:
  {name}-month: {{anchor: "2013-01-01T00:00:00", interval: P1M, timezone: America/New_York}}
  {name}-quarter: {{anchor: "2013-01-01T00:00:00", interval: P3M, timezone: Etc/UTC}}
tenants:
  {name}:
    calendar: {name}-month
    customers:
      ua: {{calendar: {calendar}}}
      aa: {{}}
    meters:
      seats: {{event_types: [seat], aggregation: count, unit: seats}}
meters:
  {name}-miles: {{event_types: [{name}-flight], aggregation: sum, group_by: [dest], unit: miles, allow_negative: true}}
"""


@pytest.fixture
def settings(stack: Any) -> Settings:
    db.migrate(stack.settings)
    found: Settings = stack.settings
    return found


@pytest.fixture
def name(settings: Settings) -> Iterator[str]:
    """Name that everything of one test begins with; removed at the end, so that the shared catalog stays small."""
    name = f"t-{secrets.token_hex(5)}"
    yield name
    with db.connect(settings) as connection:
        connection.execute("DELETE FROM catalog.customer WHERE tenant_id = %s", [name])
        connection.execute("DELETE FROM catalog.tenant WHERE tenant_id = %s", [name])
        connection.execute("DELETE FROM catalog.meter WHERE tenant_id = %s OR meter = %s", [name, f"{name}-miles"])
        connection.execute("DELETE FROM catalog.calendar WHERE calendar_id LIKE %s", [f"{name}-%"])


@pytest.fixture
def source(settings: Settings) -> Iterator[PostgresCatalogSource]:
    source = PostgresCatalogSource(settings.postgres_url)
    yield source
    source.close()


def write(path: Path, name: str, calendar: str) -> Path:
    file = path / "catalog.yaml"
    file.write_text(YAML.format(name=name, calendar=calendar), "utf-8")
    return file


def test_a_file_is_applied_once_and_read_back(
    settings: Settings, name: str, source: PostgresCatalogSource, tmp_path: Path
) -> None:
    file = write(tmp_path, name, f"{name}-quarter")
    first = catalog_tool.apply(settings, file)
    second = catalog_tool.apply(settings, file)
    assert (len(first.changes), first.unchanged) == (7, 0)
    assert (second.changes, second.unchanged, second.revision) == ((), 7, first.revision)

    snapshot = source.snapshot()
    assert snapshot.revision == source.revision() == first.revision
    assert Tenant(name, f"{name}-month", BEGINNING_MS, FOREVER_MS) in snapshot.tenants
    assert CalendarDef(f"{name}-quarter", "2013-01-01T00:00:00", "P3M", "Etc/UTC") in snapshot.calendars
    assert Meter(f"{name}-miles", (f"{name}-flight",), "sum", ("dest",), True, "miles") in snapshot.meters
    assert Meter("seats", ("seat",), "count", unit="seats", tenant_id=name) in snapshot.meters


def test_customers_are_looked_up_in_one_batch(
    settings: Settings, name: str, source: PostgresCatalogSource, tmp_path: Path
) -> None:
    catalog_tool.apply(settings, write(tmp_path, name, f"{name}-quarter"))
    found = source.customers([(name, "ua"), (name, "aa"), (name, "unknown"), ("other", "ua")])
    assert found == {
        (name, "ua"): [Customer(name, "ua", f"{name}-quarter", BEGINNING_MS, FOREVER_MS)],
        (name, "aa"): [Customer(name, "aa", None, BEGINNING_MS, FOREVER_MS)],
    }
    assert source.customers([]) == {}


def test_a_changed_row_closes_its_version_and_opens_the_next_at_one_instant(
    settings: Settings, name: str, source: PostgresCatalogSource, tmp_path: Path
) -> None:
    before = catalog_tool.apply(settings, write(tmp_path, name, f"{name}-quarter"))
    after = catalog_tool.apply(settings, write(tmp_path, name, f"{name}-month"))
    assert after.changes == (catalog_tool.Change("customer", (name, "ua"), "changed"),)
    assert after.revision == before.revision + 1
    #  -infinity ---- quarter ----| now |---- month ---- infinity
    old, new = sorted(source.customers([(name, "ua")])[name, "ua"], key=lambda version: version.valid_from_ms)
    assert (old.calendar_id, old.valid_from_ms) == (f"{name}-quarter", BEGINNING_MS)
    assert (new.calendar_id, new.valid_to_ms) == (f"{name}-month", FOREVER_MS)
    assert old.valid_to_ms == new.valid_from_ms
    assert abs(new.valid_from_ms / 1_000 - time.time()) < 60


def test_applies_in_quick_succession_never_overlap(settings: Settings, name: str, tmp_path: Path) -> None:
    for number in range(20):
        catalog_tool.apply(settings, write(tmp_path, name, f"{name}-{'quarter' if number % 2 else 'month'}"))
    with db.connect(settings) as connection:
        count = connection.execute("SELECT count(*) FROM catalog.customer WHERE tenant_id = %s", [name]).fetchall()
        twice = "INSERT INTO catalog.customer (tenant_id, customer_id, valid_from) VALUES (%s, 'ua', now())"
        with pytest.raises(psycopg.errors.ExclusionViolation):
            connection.execute(twice, [name])
    assert count == [(21,)]


def test_a_file_with_a_fault_changes_nothing(settings: Settings, name: str, tmp_path: Path) -> None:
    revision = catalog_tool.show(settings)["revision"]
    with pytest.raises(UsageError, match="there is no calendar"):
        catalog_tool.apply(settings, write(tmp_path, name, "nowhere"))
    shown = catalog_tool.show(settings)
    assert shown["revision"] == revision
    assert name not in {tenant["tenant_id"] for tenant in shown["tenants"]}


def test_show_lists_the_open_versions(settings: Settings, name: str, tmp_path: Path) -> None:
    catalog_tool.apply(settings, write(tmp_path, name, f"{name}-quarter"))
    catalog_tool.apply(settings, write(tmp_path, name, f"{name}-month"))
    customers = [row for row in catalog_tool.show(settings)["customers"] if row["tenant_id"] == name]
    assert [(row["customer_id"], row["calendar_id"]) for row in customers] == [("aa", None), ("ua", f"{name}-month")]


def test_a_dropped_session_is_replaced_without_a_word(settings: Settings, source: PostgresCatalogSource) -> None:
    revision = source.revision()
    with db.connect(settings) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tidemark catalog'"
        )
    assert source.revision() == revision


def test_a_database_that_is_away_is_unavailable() -> None:
    with pytest.raises(CatalogUnavailable):
        PostgresCatalogSource("postgresql://tidemark@127.0.0.1:9/tidemark").revision()


def test_a_database_that_never_answers_is_unavailable_within_its_time_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        began = time.monotonic()
        with pytest.raises(CatalogUnavailable):
            PostgresCatalogSource(f"postgresql://tidemark@127.0.0.1:{mute.getsockname()[1]}/tidemark").revision()
    assert time.monotonic() - began < 6
