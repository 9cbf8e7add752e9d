"""Catalog: YAML into versions, versions read back by the jobs, through restarts of the database's sessions."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql

from tests.integration.catalog.own_database import own_database
from tests.sessions import end_sessions
from tests.stream_catalog import CATALOG
from tidemark.catalog import tool as catalog_tool
from tidemark.catalog.file import TABLES
from tidemark.catalog.policy import PolicyRow, read_policy
from tidemark.catalog.timeline import Change
from tidemark.core import postgres
from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.settings import Settings
from udfs.calendars.calendar import MINUTE_MS
from udfs.catalog import store as catalog_store
from udfs.catalog.cache import CatalogUnavailable
from udfs.catalog.index import CatalogIndex
from udfs.catalog.model import CalendarDef, Customer, Tenant
from udfs.catalog.store import PostgresCatalogSource
from udfs.meters.meter import BEGINNING_MS, FOREVER_MS, Meter

MARCH_MS = 1_772_323_200_000  # 2026-03-01T00:00:00Z
RETAIL = [f"{year}-02-01" for year in range(2026, 2101)]
FUTURE, FUTURE_MS = "2099-03-01T00:00:00Z", 4_076_006_400_000


@pytest.fixture(scope="module")
def database(stack: Any) -> Iterator[Settings]:
    with own_database(stack, "catalog") as settings:
        yield settings


@pytest.fixture
def settings(database: Settings) -> Settings:
    """A catalog into which nothing was ever applied."""
    with postgres.connect(database.postgres) as connection:
        for table in TABLES:
            connection.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier("catalog", table)))
        connection.execute("UPDATE catalog.revision SET revision = 0, applied_at = '2026-01-01T00:00:00Z'")
    return database


@pytest.fixture
def source(database: Settings) -> Iterator[PostgresCatalogSource]:
    source = PostgresCatalogSource(database.postgres.url)
    yield source
    source.close()


def document(calendar: str = "quarter", **more: Any) -> dict[str, Any]:
    return {
        "calendars": {
            "month": {"anchor": "2013-01-01T00:00:00", "interval": "P1M", "timezone": "America/New_York"},
            "quarter": {"interval": "P3M", "timezone": "Etc/UTC"},
            "retail": {"boundaries": RETAIL, "timezone": "Etc/UTC"},
        },
        "tenants": {
            "acme": {
                "calendar": "month",
                "sources": ["gateway", ""],
                "customers": {"ua": {"calendar": calendar}, "aa": {}},
                "meters": {"seats": {"event_types": "seat", "aggregation": "count", "unit": "seats"}},
            }
        },
        "meters": {
            "slow": {
                "event_types": ["call", "query"], "aggregation": "weighted_sum", "value": "took.ms", "per": "minute",
                "on_missing": "skip", "group_by": ["dest"], "unit": "s", "allow_negative": True,
                "filter": {"all": [{"property": "took.ms", "gte": 0.1}, {"property": "plan", "in": ["pro", 5, True]}]},
            }
        },
        **more,
    }  # fmt: skip


def write(path: Path, content: dict[str, Any]) -> Path:
    file = path / "catalog.yaml"
    file.write_text(yaml.safe_dump(content), "utf-8")
    return file


def versions(source: PostgresCatalogSource, customer: str = "ua") -> list[tuple[str | None, int, int]]:
    found = source.customers([("acme", customer)]).get(("acme", customer), [])
    return sorted(
        ((one.calendar_id, one.valid_from_ms, one.valid_to_ms) for one in found), key=lambda version: version[1]
    )


def moved(before: catalog_tool.Outcome, after: catalog_tool.Outcome) -> Change:
    """The one change of the second apply."""
    assert after.revision == before.revision + 1
    (change,) = after.plan.changes
    return change


def test_a_first_file_is_applied_once_and_read_back(
    settings: Settings, source: PostgresCatalogSource, tmp_path: Path
) -> None:
    file = write(tmp_path, document())
    first = catalog_tool.apply(settings, file)
    second = catalog_tool.apply(settings, file)
    assert (len(first.plan.changes), first.plan.unchanged, first.revision) == (8, 0, 1)
    assert (second.plan.changes, second.plan.unchanged, second.revision) == ((), 8, 1)

    snapshot = source.snapshot()
    assert snapshot.revision == source.revision() == 1
    assert snapshot.tenants == [Tenant("acme", "month", BEGINNING_MS, FOREVER_MS, ("", "gateway"))]
    assert sorted(snapshot.calendars, key=lambda one: one.calendar_id) == [
        CalendarDef("month", "2013-01-01T00:00:00", "P1M", "America/New_York"),
        CalendarDef("quarter", None, "P3M", "Etc/UTC"),
        CalendarDef("retail", None, None, "Etc/UTC", boundaries=tuple(RETAIL)),
    ]
    assert sorted(snapshot.meters, key=lambda one: one.meter) == [
        Meter(meter="seats", event_types=("seat",), aggregation="count", unit="seats", tenant_id="acme"),
        Meter(
            meter="slow", event_types=("call", "query"), aggregation="weighted_sum", value="took.ms", per="minute",
            on_missing="skip", group_by=("dest",), unit="s", allow_negative=True,
            filter='{"all":[{"gte":0.1,"property":"took.ms"},{"in":["pro",5,true],"property":"plan"}]}',
        ),
    ]  # fmt: skip
    assert CatalogIndex(snapshot).meters_at("acme", "call", MARCH_MS)


def test_customers_are_looked_up_in_one_batch(
    settings: Settings, source: PostgresCatalogSource, tmp_path: Path
) -> None:
    catalog_tool.apply(settings, write(tmp_path, document()))
    found = source.customers([("acme", "ua"), ("acme", "aa"), ("acme", "unknown"), ("other", "ua")])
    assert found == {
        ("acme", "ua"): [Customer("acme", "ua", "quarter", BEGINNING_MS, FOREVER_MS)],
        ("acme", "aa"): [Customer("acme", "aa", None, BEGINNING_MS, FOREVER_MS)],
    }
    assert source.customers([]) == {}


def test_a_look_up_among_many_customers_uses_the_index(settings: Settings) -> None:
    count, batch = 100_000, 1_000
    wanted = ["many"] * batch, [f"customer-{number * 97 % count:06d}" for number in range(batch)]
    with postgres.connect(settings.postgres) as connection:
        # A table of its own: without statistics until it is analysed, as after the first apply of many.
        connection.execute("CREATE SCHEMA IF NOT EXISTS many")
        connection.execute("CREATE TABLE many.customer (LIKE catalog.customer INCLUDING ALL)")
        copy = "COPY many.customer (tenant_id, customer_id, valid_from) FROM STDIN"
        with connection.cursor().copy(copy) as rows:
            for number in range(count):
                rows.write_row(("many", f"customer-{number:06d}", "-infinity"))
        statement = f"EXPLAIN (FORMAT JSON) {catalog_store._CUSTOMERS.format(schema='many')}".encode()
        for analyzed in (False, True):
            if analyzed:
                connection.execute("ANALYZE many.customer")
            plan = json.dumps(connection.execute(statement, wanted).fetchall())
            assert "customer_pkey" in plan
            assert "Seq Scan" not in plan


def test_a_changed_row_closes_its_version_and_opens_the_next_at_the_first_minute_all_workers_know_it(
    settings: Settings, source: PostgresCatalogSource, tmp_path: Path
) -> None:
    before = catalog_tool.apply(settings, write(tmp_path, document()))
    after = catalog_tool.apply(settings, write(tmp_path, document("month")))
    change = moved(before, after)
    assert (change.kind, change.key, change.fields) == (
        "changed", ("acme", "ua"), (("calendar_id", "quarter", "month"),),
    )  # fmt: skip
    #  beginning ---- quarter ----| the next minute but refresh |---- month ---- open
    from_ms = change.valid_from_ms
    assert versions(source) == [("quarter", BEGINNING_MS, from_ms), ("month", from_ms, FOREVER_MS)]
    assert from_ms % MINUTE_MS == 0
    lead_ms = settings.catalog.refresh_s * 1_000
    assert lead_ms - 60_000 < from_ms - time.time() * 1_000 <= lead_ms + 60_000


def test_a_begin_in_the_past_is_refused_and_with_leave_names_the_replay(
    settings: Settings, source: PostgresCatalogSource, tmp_path: Path
) -> None:
    catalog_tool.apply(settings, write(tmp_path, document()))
    file = write(tmp_path, document("month", valid_from="2026-03-01T00:00:00Z"))
    with pytest.raises(UsageError, match=r"tenants\.acme\.customers\.ua: valid_from 2026-03-01T00:00:00Z is before"):
        catalog_tool.apply(settings, file)
    assert versions(source) == [("quarter", BEGINNING_MS, FOREVER_MS)]
    outcome = catalog_tool.apply(settings, file, backdate=True)
    assert outcome.plan.replay_needed
    assert versions(source) == [("quarter", BEGINNING_MS, MARCH_MS), ("month", MARCH_MS, FOREVER_MS)]


def test_a_planned_version_is_taken_back_by_the_old_file(
    settings: Settings, source: PostgresCatalogSource, tmp_path: Path
) -> None:
    catalog_tool.apply(settings, write(tmp_path, document()))
    catalog_tool.apply(settings, write(tmp_path, document("month", valid_from=FUTURE)))
    assert versions(source) == [("quarter", BEGINNING_MS, FUTURE_MS), ("month", FUTURE_MS, FOREVER_MS)]
    outcome = catalog_tool.apply(settings, write(tmp_path, document("quarter")))
    assert ([one.replaced for one in outcome.plan.changes], outcome.plan.replay_needed) == ([(FUTURE_MS,)], False)
    assert versions(source) == [("quarter", BEGINNING_MS, FOREVER_MS)]


def test_another_catalog_backdated_to_the_beginning_is_all_that_is_left(
    settings: Settings, source: PostgresCatalogSource, tmp_path: Path
) -> None:
    catalog_tool.apply(settings, write(tmp_path, document()))
    catalog_tool.apply(settings, write(tmp_path, document("month", valid_from=FUTURE)))
    other = {
        "valid_from": "beginning",
        "calendars": {"quarter": {"interval": "P4M", "timezone": "Asia/Tokyo"}},
        "tenants": {"acme": {"customers": {"ua": {"calendar": "quarter"}}}},
        "meters": {"slow": {"event_types": "call", "aggregation": "max", "unit": "s"}},
    }
    outcome = catalog_tool.apply(settings, write(tmp_path, other), backdate=True, prune=True, all_tenants=True)
    assert outcome.plan.replay_needed
    snapshot = source.snapshot()
    assert snapshot.tenants == [Tenant("acme")]
    assert snapshot.calendars == [CalendarDef("quarter", None, "P4M", "Asia/Tokyo")]
    assert snapshot.meters == [Meter(meter="slow", event_types=("call",), aggregation="max", unit="s")]
    assert versions(source) == [("quarter", BEGINNING_MS, FOREVER_MS)]
    assert versions(source, "aa") == []


def test_the_catalogs_of_two_streams_follow_each_other(
    settings: Settings, source: PostgresCatalogSource, tmp_path: Path
) -> None:
    changed = {
        **CATALOG,
        "meters": {**CATALOG["meters"], "errors": {**CATALOG["meters"]["errors"], "aggregation": "max"}},
    }
    for content in (CATALOG, changed, CATALOG):
        file = write(tmp_path, {**content, "valid_from": "beginning"})
        catalog_tool.apply(settings, file, backdate=True, prune=True, all_tenants=True)
        assert catalog_tool.apply(settings, file).plan.changes == ()
        snapshot = source.snapshot()
        assert len(snapshot.calendars) == len(CATALOG["calendars"])
        assert {one.valid_from_ms for one in snapshot.meters} == {BEGINNING_MS}
    later = {**changed, "valid_from": "2026-03-01T00:00:00Z"}
    with pytest.raises(UsageError, match="max differs from count"):
        catalog_tool.apply(settings, write(tmp_path, later), backdate=True)


def test_pruned_rows_are_closed_and_can_be_opened_again(
    settings: Settings, source: PostgresCatalogSource, tmp_path: Path
) -> None:
    catalog_tool.apply(settings, write(tmp_path, document()))
    content = document()
    del content["tenants"]["acme"]["customers"]["ua"], content["meters"]["slow"]
    kept = catalog_tool.apply(settings, write(tmp_path, content))
    assert kept.plan.changes == ()
    pruned = catalog_tool.preview(settings, write(tmp_path, content), prune=True)
    assert [one.key for one in pruned.plan.changes] == [("acme", "ua")]
    closed = catalog_tool.apply(settings, write(tmp_path, content), prune=True, all_tenants=True)
    assert {(one.kind, one.key) for one in closed.plan.changes} == {
        ("closed", ("acme", "ua")), ("closed", (None, "slow")),
    }  # fmt: skip
    (at_ms,) = {one.valid_from_ms for one in closed.plan.changes}
    assert versions(source) == [("quarter", BEGINNING_MS, at_ms)]
    catalog_tool.apply(settings, write(tmp_path, document(valid_from=FUTURE)))
    assert versions(source) == [("quarter", BEGINNING_MS, at_ms), ("quarter", FUTURE_MS, FOREVER_MS)]
    with_leave = document(valid_from=_rfc3339(at_ms))
    catalog_tool.apply(settings, write(tmp_path, with_leave), backdate=True)
    assert versions(source) == [("quarter", BEGINNING_MS, FOREVER_MS)]
    assert [one.valid_to_ms for one in source.snapshot().meters if one.meter == "slow"] == [FOREVER_MS]


def test_a_plan_changes_nothing(settings: Settings, source: PostgresCatalogSource, tmp_path: Path) -> None:
    catalog_tool.apply(settings, write(tmp_path, document()))
    before = source.snapshot(), versions(source)
    file = write(tmp_path, document("month", valid_from="beginning"))
    assert catalog_tool.preview(settings, file).plan.faults
    planned = catalog_tool.preview(settings, file, backdate=True, prune=True)
    assert (source.snapshot(), versions(source)) == before
    assert planned.plan == catalog_tool.apply(settings, file, backdate=True, prune=True).plan


def test_applies_at_the_same_time_follow_each_other(
    settings: Settings, source: PostgresCatalogSource, tmp_path: Path
) -> None:
    # given: files that each move the customer, some to the same calendar
    catalog_tool.apply(settings, write(tmp_path, document("retail")))
    files = []
    for number in range(8):
        (folder := tmp_path / str(number)).mkdir()
        files.append(write(folder, document("quarter" if number % 2 else "month")))
    outcomes: list[catalog_tool.Outcome] = []

    # when: they are all applied at once
    threads = [
        threading.Thread(target=lambda file=file: outcomes.append(catalog_tool.apply(settings, file, backdate=True)))
        for file in files
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    # then: each saw what the one before it wrote, and the last one holds
    assert len(outcomes) == len(files)
    changed = [outcome for outcome in outcomes if outcome.plan.changes]
    assert sorted(outcome.revision for outcome in changed) == list(range(2, 2 + len(changed)))
    last = max(changed, key=lambda outcome: outcome.revision).plan.changes[0].new
    found = versions(source)
    assert (found[0][0], found[-1][0]) == ("retail", last and last[0])
    assert len({one[1] for one in found}) == len(found)


def test_a_version_written_by_somebody_else_meanwhile_is_refused_as_a_whole(
    settings: Settings, source: PostgresCatalogSource, tmp_path: Path
) -> None:
    catalog_tool.apply(settings, write(tmp_path, document()))
    content = document("month")
    content["tenants"]["acme"]["customers"]["new"] = {}
    raised: list[Exception] = []

    def run() -> None:
        try:
            catalog_tool.apply(settings, write(tmp_path, content))
        except TidemarkError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    with postgres.connect(settings.postgres) as other, other.transaction():
        other.execute("INSERT INTO catalog.customer (tenant_id, customer_id) VALUES ('acme', 'new')")
        thread.start()
        _wait_until_blocked(settings)
    thread.join(60)
    assert "conflicting key value" in str(raised[0])
    assert versions(source) == [("quarter", BEGINNING_MS, FOREVER_MS)]


def _wait_until_blocked(settings: Settings) -> None:
    """Wait until a session waits for what another has written."""
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    deadline = time.monotonic() + 30
    with postgres.connect(settings.postgres) as connection:
        while connection.execute(blocked).fetchall() == [(0,)]:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_file_with_a_fault_changes_nothing(settings: Settings, source: PostgresCatalogSource, tmp_path: Path) -> None:
    before = source.snapshot()
    with pytest.raises(UsageError, match="there is no calendar"):
        catalog_tool.apply(settings, write(tmp_path, document("nowhere")))
    assert source.snapshot() == before


def test_show_lists_what_holds_at_an_instant(settings: Settings, tmp_path: Path) -> None:
    catalog_tool.apply(settings, write(tmp_path, document()))
    march = document("month", valid_from="2026-03-01T00:00:00Z")
    catalog_tool.apply(settings, write(tmp_path, march), backdate=True)

    def shown(at: datetime | None) -> list[tuple[str, str, str, str]]:
        rows = catalog_tool.show(settings, at)["customers"]
        return [(row["customer_id"], row["calendar_id"], row["valid_from"], row["valid_to"]) for row in rows]

    march_at = datetime(2026, 3, 1, tzinfo=UTC)
    aa, old, new = (
        ("aa", None, "beginning", "open"),
        ("ua", "quarter", "beginning", "2026-03-01T00:00:00Z"),
        ("ua", "month", "2026-03-01T00:00:00Z", "open"),
    )
    assert shown(datetime(2026, 2, 28, 23, 59, 59, 999_000, tzinfo=UTC)) == [aa, old]
    assert shown(march_at) == shown(None) == [aa, new]
    (slow,) = (one for one in catalog_tool.show(settings, march_at)["meters"] if one["meter"] == "slow")
    assert json.loads(slow["filter"])["all"][0] == {"property": "took.ms", "gte": 0.1}


def _rfc3339(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).isoformat().replace("+00:00", "Z")


def tidemark(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TIDEMARK_POSTGRES__OPS_URL": settings.postgres.ops.url}
    return subprocess.run(
        [sys.executable, "-m", "tidemark.cli.main", "catalog", *arguments],
        env=environment, check=False, text=True, capture_output=True, timeout=60,
    )  # fmt: skip


def test_the_command_shows_the_plan_before_it_is_applied(settings: Settings, tmp_path: Path) -> None:
    catalog_tool.apply(settings, write(tmp_path, document()))
    content = document("month")
    content["calendars"]["month"]["valid_from"] = content["valid_from"] = "2026-03-01T00:00:00Z"
    content["calendars"]["month"]["interval"] = "P2M"
    file = str(write(tmp_path, content))

    refused = tidemark(settings, "plan", file)
    assert refused.returncode == 2
    assert "customers.ua: valid_from 2026-03-01T00:00:00Z is before" in refused.stderr
    planned = tidemark(settings, "plan", file, "--backdate", "--json")
    assert [change["kind"] for change in json.loads(planned.stdout)["changes"]] == ["changed", "changed"]
    assert json.loads(planned.stdout)["replay_needed"] is True

    applied_notes = json.loads(planned.stdout)["notes"]
    assert "only a replay" in applied_notes[0]
    applied = tidemark(settings, "apply", file, "--backdate", "--yes")
    assert applied.returncode == 0
    assert applied.stdout.splitlines() == [
        (
            "confirm: tenant acme, every customer on its default calendar, 1 of them in the catalog (aa): the period "
            "2026-02-01..2026-03-01 is cut on 2026-02-28 19:00 (America/New_York)"
        ),
        "confirm: customer acme/ua: the period 2026-01-01..2026-04-01 is cut on 2026-03-01 (Etc/UTC)",
        "changed calendar month from 2026-03-01T00:00:00Z",
        "  interval: P1M -> P2M",
        "changed customer acme/ua from 2026-03-01T00:00:00Z",
        "  calendar_id: quarter -> month",
        "0 added, 2 changed, 0 closed, 6 unchanged",
        *applied_notes,
        "applied: revision 2",
    ]
    again = tidemark(settings, "apply", file, "--json")
    assert json.loads(again.stdout)["changes"] == []
    at = tidemark(settings, "show", "--at", "2026-02-28T23:59:59.999Z", "--json")
    assert [row["interval"] for row in json.loads(at.stdout)["calendars"]] == ["P1M", "P3M", None]
    assert tidemark(settings, "show", "--at", "yesterday").returncode == 2


def test_a_file_that_adds_a_meter_leaves_the_rest_and_planned_keys_are_stored_as_planned(
    settings: Settings, source: PostgresCatalogSource, tmp_path: Path
) -> None:
    catalog_tool.apply(settings, write(tmp_path, document()))
    errors = {"event_types": "error", "aggregation": "count", "unit": "errors"}
    made = catalog_tool.apply(settings, write(tmp_path, {"tenants": {"acme": {"meters": {"errors": errors}}}}))
    assert [(one.table, one.kind) for one in made.plan.changes] == [("meter", "added")]
    assert made.plan.confirmations == ()

    # given: a calendar that is planned; when: a key beside it is changed
    catalog_tool.apply(settings, write(tmp_path, document("month", valid_from=FUTURE)))
    weight = {"tenants": {"acme": {"customers": {"ua": {"revenue_weight": 0.5}}}}}
    (change,) = catalog_tool.apply(settings, write(tmp_path, weight)).plan.changes
    found = source.customers([("acme", "ua")])["acme", "ua"]
    assert sorted(found, key=lambda one: one.valid_from_ms) == [
        Customer("acme", "ua", "quarter", BEGINNING_MS, change.valid_from_ms),
        Customer("acme", "ua", "quarter", change.valid_from_ms, FUTURE_MS, revenue_weight=Decimal("0.5")),
        Customer("acme", "ua", "month", FUTURE_MS, FOREVER_MS, revenue_weight=Decimal("0.5")),
    ]


def test_a_cut_period_is_shown_first_and_asked_for(settings: Settings, tmp_path: Path) -> None:
    catalog_tool.apply(settings, write(tmp_path, document()))
    file = write(tmp_path, document("month", valid_from="2098-11-28T13:25:00Z"))
    cut = "customer acme/ua: the period 2098-10-01..2099-01-01 is cut on 2098-11-28 13:25 (Etc/UTC)"
    assert tidemark(settings, "plan", str(file)).stdout.splitlines()[0] == f"confirm: {cut}"
    assert json.loads(tidemark(settings, "plan", str(file), "--json").stdout)["confirmations"] == [cut]
    for options in ((), ("--json",)):
        refused = tidemark(settings, "apply", str(file), *options)
        assert refused.returncode == 2
        assert "give --yes" in refused.stderr
        assert cut in refused.stderr
    assert catalog_tool.show(settings)["revision"] == 1
    assert tidemark(settings, "apply", str(file), "--yes").stdout.splitlines()[-1] == "applied: revision 2"


@pytest.mark.parametrize(("answer", "revision"), [("y", 2), ("n", 1)])
def test_somebody_at_a_terminal_is_asked(settings: Settings, tmp_path: Path, answer: str, revision: int) -> None:
    catalog_tool.apply(settings, write(tmp_path, document()))
    file = write(tmp_path, document("month", valid_from="2098-11-28T13:25:00Z"))
    terminal, theirs = os.openpty()
    os.write(terminal, f"{answer}\n".encode())
    done = subprocess.run(
        [sys.executable, "-m", "tidemark.cli.main", "catalog", "apply", str(file)],
        env={**os.environ, "TIDEMARK_POSTGRES__OPS_URL": settings.postgres.ops.url}, check=False, text=True,
        stdin=theirs, capture_output=True, timeout=60,
    )  # fmt: skip
    os.close(terminal)
    os.close(theirs)
    assert "apply this?" in done.stderr
    # The plan is shown once, before the question.
    assert done.stdout.count("is cut on") == 1
    assert (done.returncode == 0) == (answer == "y")
    assert catalog_tool.show(settings)["revision"] == revision


def test_a_plan_that_asks_for_more_than_was_agreed_to_is_not_carried_out(settings: Settings, tmp_path: Path) -> None:
    catalog_tool.apply(settings, write(tmp_path, document()))
    file = write(tmp_path, document("month", valid_from="2098-11-28T13:25:00Z"))
    with pytest.raises(UsageError, match="the plan has changed since it was shown"):
        catalog_tool.apply(settings, file, agreed=())
    asked = catalog_tool.preview(settings, file).plan.confirmations
    assert catalog_tool.apply(settings, file, agreed=asked).revision == 2


def test_a_new_calendar_of_a_customer_that_has_no_usage_cuts_nothing(settings: Settings, tmp_path: Path) -> None:
    catalog_tool.apply(settings, write(tmp_path, document()))
    new = {"tenants": {"acme": {"customers": {"new": {"calendar": "quarter"}, "used": {"calendar": "quarter"}}}}}
    file = write(tmp_path, {**new, "valid_from": "2098-11-28T13:25:00Z"})
    columns = "tenant_id, customer_id, meter, dims, part, period_start, period_end, n, total"
    with postgres.connect(settings.postgres) as connection:
        connection.execute("DELETE FROM usage.usage_period")
        assert catalog_tool.preview(settings, file).plan.confirmations == ()
        connection.execute(
            f"INSERT INTO usage.usage_period ({columns})"
            " VALUES ('acme', 'used', 'm', '', 0, '2026-03-01Z', '2026-04-01Z', 1, 1)".encode()
        )
    assert [one.text for one in catalog_tool.preview(settings, file).plan.confirmations] == [
        "customer acme/used: the period 2098-11-01..2098-12-01 is cut on 2098-11-28 08:25 (America/New_York)"
    ]
    with postgres.connect(settings.postgres) as connection:
        connection.execute("DELETE FROM usage.usage_period")


def test_defaults_and_changed_calendars_cut_periods_of_all_who_are_on_them(settings: Settings, tmp_path: Path) -> None:
    content = document(valid_from="beginning")
    content["tenants"]["other"] = {"customers": {f"c-{n}": {"calendar": "quarter"} for n in range(20)}}
    catalog_tool.apply(settings, write(tmp_path, content))
    at = {"valid_from": "2098-11-28T13:25:00Z"}
    default = write(tmp_path, {"tenants": {"acme": {"calendar": "quarter"}}, **at})
    assert [one.text for one in catalog_tool.preview(settings, default).plan.confirmations] == [
        (
            "tenant acme, every customer on its default calendar, 1 of them in the catalog (aa): the period "
            "2098-11-01..2098-12-01 is cut on 2098-11-28 08:25 (America/New_York)"
        ),
        "tenant acme: its default calendar becomes quarter instead of month from 2098-11-28T13:25:00Z on",
    ]
    quarter = write(tmp_path, {"calendars": {"quarter": {"interval": "P4M"}}, **at})
    assert [one.text for one in catalog_tool.preview(settings, quarter).plan.confirmations] == [
        "customer acme/ua: the period 2098-10-01..2099-01-01 is cut on 2098-11-28 13:25 (Etc/UTC)",
        (
            "tenant other, 20 customers (c-0, c-1, c-10, …): the period 2098-10-01..2099-01-01 is cut on "
            "2098-11-28 13:25 (Etc/UTC)"
        ),
    ]


def test_pruning_asks_and_spares_other_tenants(settings: Settings, tmp_path: Path) -> None:
    content = document()
    content["tenants"]["other"] = {"customers": {"x": None}}
    catalog_tool.apply(settings, write(tmp_path, content))
    file = str(write(tmp_path, {"tenants": {"acme": {"customers": {"ua": None}}}}))
    refused = tidemark(settings, "apply", file, "--prune")
    assert refused.returncode == 2
    assert "--prune closes 2 entries: 1 of customer (acme/aa); 1 of meter (acme/seats)" in refused.stderr
    whole = json.loads(tidemark(settings, "plan", file, "--prune", "--all-tenants", "--json").stdout)
    assert {"other"} <= {change["key"][0] for change in whole["changes"]}
    assert tidemark(settings, "plan", file, "--all-tenants").returncode == 2
    assert tidemark(settings, "apply", file, "--prune", "--yes").returncode == 0
    assert [row["customer_id"] for row in catalog_tool.show(settings, tenant="other")["customers"]] == ["x"]


def test_the_catalog_is_shown_as_a_file_that_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    catalog_tool.apply(settings, write(tmp_path, with_limits()))
    catalog_tool.apply(settings, write(tmp_path, document("month", valid_from=FUTURE)))
    shown = tidemark(settings, "show", "--format", "yaml")
    assert shown.stdout.splitlines()[0] == "# Catalog at revision 2."
    (file := tmp_path / "shown.yaml").write_text(shown.stdout, "utf-8")
    again = catalog_tool.apply(settings, file)
    assert (again.plan.changes, again.revision) == ((), 2)
    assert (
        json.loads(tidemark(settings, "plan", str(file), "--prune", "--all-tenants", "--json").stdout)["changes"] == []
    )

    one = yaml.safe_load(tidemark(settings, "show", "--format", "yaml", "--tenant", "acme").stdout)
    assert {*one} == {"calendars", "tenants", "meters"}
    assert [*one["calendars"]] == ["month"]
    wrong = tidemark(settings, "show", "--tenant", "amce")
    assert (wrong.returncode, "Did you mean `acme`?" in wrong.stderr) == (2, True)
    then = yaml.safe_load(tidemark(settings, "show", "--format", "yaml", "--at", "2026-03-01T00:00:00Z").stdout)
    assert then["tenants"]["acme"]["customers"]["ua"] == {"plan": "pro", "revenue_weight": "0.25"}
    assert tidemark(settings, "show", "--format", "toml").returncode == 2


def test_a_dropped_session_is_replaced_without_a_word(settings: Settings, source: PostgresCatalogSource) -> None:
    revision = source.revision()
    assert end_sessions(settings, "catalog")
    assert source.revision() == revision


def test_a_database_that_is_down_is_unavailable() -> None:
    with pytest.raises(CatalogUnavailable):
        PostgresCatalogSource("postgresql://tidemark@127.0.0.1:9/tidemark").revision()


def test_a_database_that_never_answers_is_unavailable_within_its_time_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        began = time.monotonic()
        with pytest.raises(CatalogUnavailable):
            PostgresCatalogSource(f"postgresql://tidemark@127.0.0.1:{mute.getsockname()[1]}/tidemark").revision()
    assert time.monotonic() - began < 6


def test_the_table_refuses_overlapping_versions(settings: Settings, tmp_path: Path) -> None:
    catalog_tool.apply(settings, write(tmp_path, document()))
    twice = "INSERT INTO catalog.customer (tenant_id, customer_id, valid_from) VALUES ('acme', 'ua', now())"
    with postgres.connect(settings.postgres) as connection, pytest.raises(psycopg.errors.ExclusionViolation):
        connection.execute(twice)


# --- limits and alert policy ------------------------------------------------------------------------------------------

ONCALL = {"kind": "pagerduty", "url": "https://events.example/v2/enqueue", "secret_file": "PD_KEY"}
STORED_ONCALL = {**ONCALL, "daily_budget": 20}


def with_limits(cap: Any = 10, **more: Any) -> dict[str, Any]:
    """The document with a limit of each scope and an entry of each kind of alert policy."""
    content = document(**more)
    content["tenants"]["acme"] |= {
        "limits": {"seats": {"cap": cap, "thresholds": [{"every": "10%"}, 5, "80.0%"]}},
        "plans": {"pro": {"limits": {"seats": {"cap": "100000.5", "mode": "hard"}}}},
        "customers": {
            "ua": {"plan": "pro", "revenue_weight": 0.25},
            "aa": {"limits": {"seats": {"cap": "0.000000001", "thresholds": []}}},
        },
    }
    content["alerts"] = {
        "receivers": {"oncall": ONCALL},
        "routes": {"all": {"receivers": ["oncall"]}},
        "suppressions": {"tests": {"customers": ["aa"], "reason": "ümlaut"}},
        "maintenance": {
            "upgrade": {"from": "2026-12-01T21:00:00+01:00", "until": "2026-12-02T02:00:00Z", "reason": "upgrade"}
        },
    }
    return content


def caps(settings: Settings, scope: str = "tenant") -> list[tuple[Decimal, str, str]]:
    statement = """
        SELECT cap, valid_from::text, valid_to::text FROM catalog.usage_limit WHERE scope = %s ORDER BY valid_from
    """
    with postgres.connect(settings.postgres) as connection:
        return connection.execute(statement, [scope]).fetchall()


def test_limits_and_alert_policy_are_applied_once_and_read_back(
    settings: Settings, source: PostgresCatalogSource, tmp_path: Path
) -> None:
    file = write(tmp_path, with_limits())
    first = catalog_tool.apply(settings, file)
    assert (len(first.plan.changes), first.plan.unchanged, first.revision) == (15, 0, 1)
    for prune in (False, True):
        again = catalog_tool.apply(settings, file, prune=prune)
        assert (again.plan.changes, again.plan.unchanged, again.revision) == ((), 15, 1)

    columns = "scope, scope_id, meter, cap, mode, thresholds, on_unknown"
    with postgres.connect(settings.postgres) as connection:
        limits = connection.execute(f"SELECT {columns} FROM catalog.usage_limit ORDER BY cap".encode()).fetchall()
    assert limits == [
        ("customer", "aa", "seats", Decimal("0.000000001"), "soft", [], "fail_open"),
        ("tenant", "", "seats", Decimal(10), "soft", ["80%", "5", "every 10%"], "fail_open"),
        ("plan", "pro", "seats", Decimal("100000.5"), "hard", ["80%"], "fail_closed"),
    ]
    found = source.customers([("acme", "ua"), ("acme", "aa")])
    assert found["acme", "ua"] == [Customer("acme", "ua", plan="pro", revenue_weight=Decimal("0.25"))]
    assert found["acme", "aa"] == [Customer("acme", "aa")]


def test_the_example_is_applied_and_pruned(settings: Settings) -> None:
    example = Path(catalog_store.__file__).parents[2] / "schemas" / "catalog" / "example.yaml"
    first = catalog_tool.apply(settings, example)
    assert {one.table for one in first.plan.changes} == TABLES.keys()
    again = catalog_tool.apply(settings, example, prune=True)
    assert (again.plan.changes, again.plan.unchanged) == ((), len(first.plan.changes))


def test_a_raised_cap_is_a_new_version_and_a_pruned_limit_is_closed(settings: Settings, tmp_path: Path) -> None:
    catalog_tool.apply(settings, write(tmp_path, with_limits()))
    march = "2026-03-01T00:00:00Z"
    with pytest.raises(UsageError, match=r"tenants\.acme\.limits\.seats: valid_from .* alerts may be raised"):
        catalog_tool.apply(settings, write(tmp_path, with_limits(20, valid_from=march)))
    raised = catalog_tool.apply(settings, write(tmp_path, with_limits(20, valid_from=march)), backdate=True)
    assert ([one.fields for one in raised.plan.changes], raised.plan.replay_needed) == ([(("cap", "10", "20"),)], False)
    assert caps(settings) == [
        (Decimal(10), "-infinity", "2026-03-01 00:00:00+00"), (Decimal(20), "2026-03-01 00:00:00+00", "infinity"),
    ]  # fmt: skip

    # when: a file without limits and policy, first kept, then pruned
    without = document(valid_from=FUTURE)
    assert {one.table for one in catalog_tool.preview(settings, write(tmp_path, without)).plan.changes} == {"customer"}
    closed = catalog_tool.apply(settings, write(tmp_path, without), prune=True, all_tenants=True)
    assert {(one.table, one.kind) for one in closed.plan.changes} == {
        ("customer", "changed"), ("usage_limit", "closed"), ("alert_policy", "closed"),
    }  # fmt: skip
    assert caps(settings)[1] == (Decimal(20), "2026-03-01 00:00:00+00", "2099-03-01 00:00:00+00")
    assert caps(settings, "plan") == [(Decimal("100000.5"), "-infinity", "2099-03-01 00:00:00+00")]


def test_a_later_file_leans_on_stored_meters_plans_and_receivers_unless_it_prunes(
    settings: Settings, tmp_path: Path
) -> None:
    catalog_tool.apply(settings, write(tmp_path, with_limits()))
    customer = {"plan": "pro", "limits": {"seats": {"cap": 3}}}
    file = write(
        tmp_path,
        {
            "tenants": {"acme": {"calendar": "month", "customers": {"new": customer}}},
            "alerts": {"routes": {"more": {"receivers": ["oncall"]}}},
        },
    )
    with pytest.raises(UsageError) as refused:
        catalog_tool.preview(settings, file, prune=True, all_tenants=True)
    for path in ("customers.new.plan", "customers.new.limits.seats", "routes.more.receivers.0"):
        assert path in str(refused.value)
    assert [one.table for one in catalog_tool.apply(settings, file).plan.changes] == [
        "customer", "usage_limit", "alert_policy",
    ]  # fmt: skip
    slow = {"tenants": {"acme": {"calendar": "month", "limits": {"slow": {"cap": 3}}}}}
    with pytest.raises(UsageError, match="slow is a weighted_sum"):
        catalog_tool.apply(settings, write(tmp_path, slow))


def test_the_policy_is_read_as_it_holds_at_an_instant(settings: Settings, tmp_path: Path) -> None:
    catalog_tool.apply(settings, write(tmp_path, with_limits()))
    content = with_limits()
    content["alerts"]["receivers"]["oncall"] = {**ONCALL, "daily_budget": 5, "valid_from": FUTURE}
    catalog_tool.apply(settings, write(tmp_path, content))

    def policy(at: datetime) -> list[PolicyRow]:
        with postgres.connect(settings.postgres) as connection:
            return read_policy(connection, at)

    future = datetime(2099, 3, 1, tzinfo=UTC)
    now, then = policy(datetime.now(UTC)), policy(future)
    assert [(one.kind, one.name) for one in now] == [
        ("maintenance", "upgrade"), ("receiver", "oncall"), ("route", "all"), ("suppression", "tests"),
    ]  # fmt: skip
    assert now[0].body == {
        "from": "2026-12-01T20:00:00Z", "until": "2026-12-02T02:00:00Z", "reason": "upgrade", "types": [], "tenants": []
    }  # fmt: skip
    assert now[3].body["reason"] == "ümlaut"
    assert now[1] == PolicyRow("receiver", "oncall", STORED_ONCALL, BEGINNING_MS)
    assert then[1] == PolicyRow("receiver", "oncall", {**STORED_ONCALL, "daily_budget": 5}, FUTURE_MS)
    with pytest.raises(ValueError, match="no zone"):
        policy(future.replace(tzinfo=None))


def test_the_command_shows_limits_and_policy_for_people_and_programs(settings: Settings, tmp_path: Path) -> None:
    catalog_tool.apply(settings, write(tmp_path, with_limits()))
    content = with_limits("12.50", valid_from=FUTURE)
    content["tenants"]["acme"]["customers"]["ua"] = {"plan": "pro", "revenue_weight": 0.5}
    content["alerts"]["receivers"]["oncall"] = {**ONCALL, "daily_budget": 5}
    content["alerts"]["routes"]["all"]["severities"] = ["critical", "warning"]
    planned = tidemark(settings, "plan", str(write(tmp_path, content)))
    assert planned.stdout.splitlines() == [
        f"changed customer acme/ua from {FUTURE}",
        "  revenue_weight: 0.25 -> 0.5",
        f"changed usage_limit acme/tenant/*/seats from {FUTURE}",
        "  cap: 10 -> 12.5",
        f"changed alert_policy receiver/oncall from {FUTURE}",
        "  daily_budget: 20 -> 5",
        f"changed alert_policy route/all from {FUTURE}",
        "  severities: [] -> [critical, warning]",
        "0 added, 4 changed, 0 closed, 11 unchanged",
    ]
    shown = json.loads(tidemark(settings, "show", "--json").stdout)
    assert [row["cap"] for row in shown["usage_limits"]] == ["0.000000001", "100000.5", "10"]
    assert [json.loads(row["body"]) for row in shown["alert_policies"] if row["kind"] == "receiver"] == [STORED_ONCALL]
    ua = next(row for row in shown["customers"] if row["customer_id"] == "ua")
    assert (ua["plan"], ua["revenue_weight"]) == ("pro", "0.25")
    assert yaml.safe_load(tidemark(settings, "show").stdout)["usage_limits"] == shown["usage_limits"]


@pytest.mark.parametrize(
    ("table", "values", "error"),
    [
        ("usage_limit", "'acme', 'tenant', '', 'seats', 5, 'soft', '{}', 'fail_open'", "ExclusionViolation"),
        ("usage_limit", "'acme', 'tenant', 'x', 'seats', 5, 'soft', '{}', 'fail_open'", "CheckViolation"),
        ("usage_limit", "'acme', 'plan', '', 'seats', 5, 'soft', '{}', 'fail_open'", "CheckViolation"),
        ("usage_limit", "'acme', 'plan', 'x', 'seats', -1, 'soft', '{}', 'fail_open'", "CheckViolation"),
        ("usage_limit", "'acme', 'plan', 'x', 'seats', 5, 'firm', '{}', 'fail_open'", "CheckViolation"),
        ("usage_limit", "'acme', 'plan', 'x', 'seats', 5, 'soft', '{}', 'guess'", "CheckViolation"),
        ("alert_policy", "'receiver', 'oncall', '{}'", "ExclusionViolation"),
        ("alert_policy", "'pager', 'oncall', '{}'", "CheckViolation"),
        ("alert_policy", "'route', 'x', '[]'", "CheckViolation"),
        ("customer", "'acme', 'x', NULL, NULL, 1.5", "CheckViolation"),
    ],
)
def test_the_tables_refuse_what_no_file_may_say(
    settings: Settings, tmp_path: Path, table: str, values: str, error: str
) -> None:
    catalog_tool.apply(settings, write(tmp_path, with_limits()))
    columns = ", ".join(sum(TABLES[table], ()))
    statement = f"INSERT INTO catalog.{table} ({columns}, valid_from) VALUES ({values}, now())"
    with postgres.connect(settings.postgres) as connection, pytest.raises(getattr(psycopg.errors, error)):
        connection.execute(statement.encode())
