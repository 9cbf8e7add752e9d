"""The views for finance on the real server: figures by hand, who may read them, and by which index."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml
from psycopg import sql
from psycopg.rows import dict_row

from infra.local.prepare import connect_admin
from tests.integration.catalog.own_database import own_database
from tidemark.billing import store
from tidemark.billing.lines import PeriodKey
from tidemark.billing.messages import Context
from tidemark.billing.true_up import true_up
from tidemark.catalog import tool as catalog_tool
from tidemark.cli.known import known
from tidemark.core import grants, postgres
from tidemark.core.errors import UsageError
from tidemark.core.settings import Settings
from tidemark.live import usage_rows
from tidemark.live.usage import UsageQuery, usage

HOUR = timedelta(hours=1)
# A month that ended long ago, in New York.
NOVEMBER = datetime(2013, 11, 1, 4, tzinfo=UTC), datetime(2013, 12, 1, 5, tzinfo=UTC)
METERS = {"calls": "count", "most": "max", "mean": "avg", "tails": "unique", "storage": "weighted_sum"}
CATALOG = {
    "valid_from": "beginning",
    "calendars": {"ny": {"interval": "P1M", "timezone": "America/New_York"}},
    "tenants": {
        "acme": {
            "calendar": "ny",
            "meters": {
                name: {"event_types": ["x"], "aggregation": aggregation, "unit": "u"}
                | ({} if aggregation == "count" else {"value": "v"})
                | ({"group_by": ["dest"]} if name in {"most", "mean", "tails"} else {})
                for name, aggregation in METERS.items()
            },
        },
        "beta": {"customers": {"named": None}},
    },
}
MANY = (40, 25, 24)


@pytest.fixture(scope="module")
def settings(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    file = tmp_path_factory.mktemp("report") / "catalog.yaml"
    file.write_text(yaml.safe_dump(CATALOG))
    with own_database(stack, "report") as settings:
        catalog_tool.apply(settings, file, backdate=True)
        yield settings


@pytest.fixture
def connection(settings: Settings) -> Iterator[psycopg.Connection]:
    with postgres.connect(settings.postgres) as connection:
        connection.execute("SET search_path TO usage, public")
        yield connection


def insert(
    connection: psycopg.Connection, customer: str, meter: str, bounds: Any, table: str = "usage_period", **columns: Any
) -> None:
    buckets = {"usage_day": "day", "usage_hour": "hour_start", "usage_minute": "minute_start"}
    bucket = {buckets[table]: bounds} if table in buckets else {"period_start": bounds[0], "period_end": bounds[1]}
    row = {
        "tenant_id": "acme", "customer_id": customer, "meter": meter, "dims": "", "part": "", "n": 1, "samples": 1,
        "total": 0, **bucket, **columns,
    }  # fmt: skip
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier("usage", table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(sql.Placeholder() * len(row)),
    )
    connection.execute(statement, list(row.values()))


def true_up_all(connection: psycopg.Connection, settings: Settings, *keys: PeriodKey) -> None:
    """Close what is not closed, correct what has changed."""
    names = settings.names
    entries, wanted = (
        store.read_entries(connection, names, keys),
        store.wanted_lines(connection, names, keys),
    )
    with connection.transaction():
        store.lock_ledger(connection, names)
        context = Context(store.now(connection), "test", "", {}, datetime.now(UTC), 1)
        store.append(connection, names, true_up(entries, wanted), context)


def rows(connection: psycopg.Connection, view: str, customer: str) -> dict[str, dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        statement = sql.SQL("SELECT * FROM report.{} WHERE tenant_id = 'acme' AND customer_id = %s")
        found = cursor.execute(statement.format(sql.Identifier(view)), [customer]).fetchall()
    return {row["meter"]: row for row in found}


def test_a_closed_period_is_a_line_per_meter_and_says_its_corrections(
    connection: psycopg.Connection, settings: Settings
) -> None:
    # Given two destinations: 3 and 5 at most, means of 2 and 5, and one tail number seen on both.
    insert(connection, "closed", "calls", NOVEMBER, total=279_090, samples=279_090)
    for dest, most, total, samples in (("ATL", 3, 4, 2), ("IAH", 5, 5, 1)):
        dims = f'{{"dest":"{dest}"}}'
        insert(connection, "closed", "most", NOVEMBER, dims=dims, lo=1, hi=most)
        insert(connection, "closed", "mean", NOVEMBER, dims=dims, total=total, samples=samples)
        insert(connection, "closed", "tails", NOVEMBER, dims=dims, part="u1")
    key = PeriodKey("acme", "closed", *NOVEMBER)
    true_up_all(connection, settings, key)
    # When the count and the greatest value change after the close.
    connection.execute(
        "UPDATE usage_period SET total = 279095.5, n = 2 WHERE customer_id = 'closed' AND meter = 'calls'"
    )
    connection.execute(
        "UPDATE usage_period SET hi = 9, n = 2 WHERE customer_id = 'closed' AND meter = 'most' AND hi = 3"
    )
    true_up_all(connection, settings, key)
    connection.execute(
        "UPDATE usage_period SET hi = 8, n = 2 WHERE customer_id = 'closed' AND meter = 'most' AND hi = 5"
    )
    true_up_all(connection, settings, key)

    found = rows(connection, "invoice_line", "closed")

    line = found["calls"]
    assert (line["first_day"], line["last_day"], line["time_zone"]) == (
        date(2013, 11, 1), date(2013, 11, 30), "America/New_York",
    )  # fmt: skip
    assert (str(line["value"]), line["unit"], line["status"]) == ("279095.5", "u", "final, corrected")
    assert (line["corrections"], str(line["correction_amount"])) == (1, "5.5")
    # The greatest is no sum, an average no average of averages, and a value on two dimensions is one.
    most, mean, tails = (found[name] for name in ("most", "mean", "tails"))
    assert (str(most["value"]), most["corrections"], most["correction_amount"]) == ("9", 2, 4)
    assert (str(mean["value"]), mean["status"], mean["correction_amount"]) == ("3", "final", 0)
    assert (tails["value"], tails["status"]) == (1, "final")

    with connection.cursor() as cursor:
        cursor.execute("SELECT dims->>'dest', value FROM report.usage_by_dimension WHERE meter = 'most' ORDER BY 1")
        assert cursor.fetchall() == [("ATL", 9), ("IAH", 8)]
        cursor.execute("SELECT dims FROM report.usage_by_dimension WHERE customer_id = 'closed' AND meter = 'calls'")
        assert cursor.fetchall() == [(None,)]


def test_a_period_that_ended_waits_for_its_close_as_an_estimate(connection: psycopg.Connection) -> None:
    insert(connection, "waits", "calls", NOVEMBER, total=7)
    line = rows(connection, "invoice_line", "waits")["calls"]
    assert (str(line["value"]), line["corrections"], line["correction_amount"]) == ("7", 0, None)
    assert line["status"] == "estimate, final at 2013-12-03T05:00:00Z"
    assert rows(connection, "usage_current_period", "waits") == {}


def level(connection: psycopg.Connection, customer: str, bounds: Any, change: int, at: datetime) -> None:
    at_ms = round(at.timestamp() * 1_000)
    insert(connection, customer, "storage", bounds, total=change)
    insert(connection, customer, "storage", bounds, part="m", total=change * at_ms)


def running() -> tuple[datetime, datetime, datetime]:
    """A period of two days that runs since yesterday, and an instant six hours ago."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return now - 24 * HOUR, now + 24 * HOUR, now - 6 * HOUR


def test_a_level_says_what_was_used_so_far_and_what_it_comes_to(
    connection: psycopg.Connection, settings: Settings
) -> None:
    start, end, at = running()
    level(connection, "runs", (start, end), 5, at)
    before = store.now(connection)
    found = rows(connection, "usage_current_period", "runs")["storage"]
    after = store.now(connection)

    def held(until: datetime) -> Decimal:
        return Decimal(5) * ((until - at) // timedelta(milliseconds=1)) / 3_600_000

    assert held(before) - Decimal("0.001") <= found["value"] <= held(after) + Decimal("0.001")
    assert found["projected_value"] == 5 * 30
    for view in ("usage_total", "usage_period_value"):
        statement = f"SELECT value, projected_value FROM {view} WHERE customer_id = 'runs'".encode()
        ((value, projected),) = connection.execute(statement).fetchall()
        assert held(before) <= value + Decimal("0.001")
        assert value < projected == 150
    (meter,) = usage(settings, UsageQuery("acme", "runs")).meters
    assert meter.stored is not None
    assert (meter.equal, meter.stored.projected) == (None, "150")
    # A close is to the end, whenever it is asked for.
    key = PeriodKey("acme", "runs", start, end)
    (line,) = store.wanted_lines(connection, settings.names, [key])[key].values()
    assert line.value == 150
    (so_far,) = store.wanted_lines(connection, settings.names, [key], so_far=True)[key].values()
    assert held(before) - Decimal("0.001") <= so_far.value < 150


def test_a_level_that_nobody_changed_this_period_is_shown_as_held(
    connection: psycopg.Connection, settings: Settings
) -> None:
    level(connection, "held", NOVEMBER, 2, NOVEMBER[0])
    (meter,) = usage(settings, UsageQuery("acme", "held")).meters
    assert meter.stored is not None
    start, end = (datetime.fromisoformat(text) for text in (meter.stored.period_start, meter.stored.period_end))
    assert start <= store.now(connection) < end
    assert meter.stored.projected is not None
    assert Decimal(meter.stored.projected) == 2 * Decimal((end - start) / HOUR)
    (then,) = usage(settings, UsageQuery("acme", "held", at=NOVEMBER[0])).meters
    assert then.stored is not None
    assert (then.stored.value, then.stored.projected) == (str(2 * (30 * 24 + 1)), None)


def test_days_are_of_the_customer_and_over_all_dimensions(connection: psycopg.Connection, settings: Settings) -> None:
    day = date(2013, 11, 3)
    for dest, hi in (("ATL", 3), ("IAH", 5)):
        dims = f'{{"dest":"{dest}"}}'
        insert(connection, "daily", "most", day, "usage_day", dims=dims, lo=1, hi=hi)
        insert(connection, "daily", "tails", day, "usage_day", dims=dims, part="u1")
    found = rows(connection, "usage_daily", "daily")
    assert {name: str(row["value"]) for name, row in found.items()} == {"most": "5", "tails": "1"}
    assert (found["most"]["day"], found["most"]["time_zone"]) == (day, "America/New_York")
    days = usage_rows.Days(day, date.max)
    query = UsageQuery("acme", "daily", "most")
    assert [row["value"] for row in usage_rows.by_day(settings, query, days, dims=False)] == ["5"]
    assert [row["value"] for row in usage_rows.by_day(settings, query, days, dims=True)] == ["3", "5"]


def test_the_first_instant_of_a_day_is_the_customers(settings: Settings) -> None:
    assert usage_rows.instant_of(settings, "acme", "anybody", date(2013, 11, 1)) == NOVEMBER[0]
    assert usage_rows.instant_of(settings, "beta", "anybody", date(2013, 11, 1)) == datetime(2013, 11, 1, tzinfo=UTC)


def test_the_volume_of_a_tenant_is_its_share_of_a_month(connection: psycopg.Connection) -> None:
    # Given 30 and 10 measurements in a month, of which only the first tenant's deltas were indexed; the moment of a
    # level is a row of its own, and no measurement.
    noon = datetime(2009, 7, 4, 12, tzinfo=UTC)
    for tenant, n in (("big", 30), ("small", 10)):
        insert(connection, "c", "calls", noon.date(), "usage_day", tenant_id=tenant, n=n)
    insert(connection, "c", "storage", noon.date(), "usage_day", tenant_id="big", n=99, part="m")
    for table in ("usage_minute", "usage_hour"):
        insert(connection, "c", "calls", noon, table, tenant_id="big", n=30)
    insert(connection, "c", "calls", (noon, noon + HOUR), tenant_id="big", n=30)
    connection.execute("INSERT INTO billing.delta_volume VALUES ('d', 'big', '2009-07-01', 28, 5)")
    with connection.cursor(row_factory=dict_row) as cursor:
        query = "SELECT * FROM report.tenant_volume WHERE month = '2009-07-01' ORDER BY tenant_id"
        big, small = cursor.execute(query).fetchall()
    assert (big["events"], big["deltas"], big["measurements"], big["rows"]) == (28, 5, 30, 5)
    assert (small["events"], small["deltas"], small["measurements"], small["rows"]) == (None, None, 10, 1)
    assert (big["measurement_share"], small["measurement_share"]) == (Decimal("0.75"), Decimal("0.25"))
    assert 4 * small["bytes"] < big["bytes"] < 6 * small["bytes"]
    assert big["byte_share"] + small["byte_share"] == 1


def test_finance_reads_the_report_and_nothing_else(stack: Any, settings: Settings) -> None:
    url = urlsplit(settings.postgres.url)
    with connect_admin(stack.local.paths, url.port or 0, url.path[1:]) as admin:
        admin.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(grants.READER)))
        for view in (
            "invoice_line", "tenant_volume", "unmatched_void", "usage_by_dimension", "usage_current_period",
            "usage_daily",
        ):  # fmt: skip
            admin.execute(sql.SQL("SELECT * FROM report.{}").format(sql.Identifier(view))).fetchall()
        for relation in ("billing.usage_current", "billing.period_close", "usage.usage_period", "catalog.tenant"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                admin.execute(f"SELECT * FROM {relation}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            admin.execute("SELECT * FROM report.schema_migration")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            admin.execute("CREATE TABLE report.mine (a int)")


def test_nothing_is_compiled(settings: Settings) -> None:
    with psycopg.connect(settings.postgres.url) as plain:
        assert plain.execute("SHOW jit").fetchone() == ("off",)


def test_small_tables_have_statistics(connection: psycopg.Connection) -> None:
    never = connection.execute(
        "SELECT schemaname, relname FROM pg_stat_user_tables WHERE last_analyze IS NULL AND last_autoanalyze IS NULL"
        " AND (schemaname, relname) IN (('billing', 'policy'), ('catalog', 'tenant'), ('catalog', 'meter'))"
    ).fetchall()
    assert never == []


@pytest.fixture(scope="module")
def many(settings: Settings) -> Iterator[Settings]:
    """Forty tenants with 25 customers and 24 closed months each."""
    tenants, customers, months = MANY
    series = (
        "(SELECT 't' || t, 'c' || c, '2012-01-01'::timestamptz + m * interval '1 month', "
        "'2012-02-01'::timestamptz + m * interval '1 month' "
        f"FROM generate_series(1, {tenants}) t, generate_series(1, {customers}) c, generate_series(0, {months - 1}) m)"
        " s (t, c, b, e)"
    )
    with postgres.connect(settings.postgres) as connection, connection.transaction():
        connection.execute(
            "INSERT INTO catalog.meter (meter, event_types, aggregation, unit) VALUES ('hits', '{x}', 'count', 'u')"
        )
        connection.execute(
            sql.SQL("INSERT INTO catalog.tenant (tenant_id) SELECT 't' || t FROM generate_series(1, {}) t").format(
                tenants
            )
        )
        connection.execute(
            "INSERT INTO usage.usage_period (tenant_id, customer_id, meter, dims, part, period_start, period_end, n, "
            f"samples, total) SELECT s.t, s.c, 'hits', '', '', s.b, s.e, 1, 1, 1 FROM {series}".encode()
        )
        connection.execute(
            "INSERT INTO usage.usage_day (tenant_id, customer_id, meter, dims, part, day, n, samples, total) "
            f"SELECT s.t, s.c, 'hits', '', '', s.b::date, 1, 1, 1 FROM {series}".encode()
        )
        connection.execute(
            "INSERT INTO billing.period_close (tenant_id, customer_id, period_start, period_end, closed_by, run_id, "
            "catalog_revision, watermark, rests_on, dead_letters, lines, content_hash) "
            f"SELECT s.t, s.c, s.b, s.e, 'test', '', 1, s.e, '{{}}', 0, 1, repeat('0', 64) FROM {series}".encode()
        )
        connection.execute(
            "INSERT INTO billing.period_close_line (tenant_id, customer_id, period_start, period_end, meter, dims, "
            "aggregation, unit, n, samples, value) "
            f"SELECT s.t, s.c, s.b, s.e, 'hits', '', 'count', 'u', 1, 1, 1 FROM {series}".encode()
        )
    with postgres.connect(settings.postgres) as connection:
        connection.execute("ANALYZE usage.usage_period, usage.usage_day")
        connection.execute("ANALYZE billing.period_close, billing.period_close_line, billing.correction_line")
        connection.execute("ANALYZE catalog.tenant, catalog.meter")
        yield settings


TENANT = "tenant_id = 't7'"
CUSTOMER = f"{TENANT} AND customer_id = 'c3'"
MONTH = "period_end >= '2013-03-01' AND period_end < '2013-03-31'"


@pytest.mark.parametrize(
    ("question", "count"),
    [
        (f"SELECT * FROM report.invoice_line WHERE {CUSTOMER}", 24),
        (f"SELECT * FROM report.invoice_line WHERE {TENANT} AND {MONTH}", 25),
        (f"SELECT * FROM report.invoice_line WHERE {MONTH}", 1_000),
        (f"SELECT * FROM report.usage_by_dimension WHERE {CUSTOMER}", 24),
        (f"SELECT * FROM report.usage_current_period WHERE {CUSTOMER}", 0),
        (f"SELECT * FROM report.usage_current_period WHERE {TENANT}", 0),
        ("SELECT * FROM report.usage_current_period", None),
        (f"SELECT * FROM report.usage_daily WHERE {CUSTOMER} AND day >= '2013-01-01'", 12),
        (f"SELECT * FROM report.usage_daily WHERE {TENANT} AND day = '2013-03-01'", 25),
        ("SELECT * FROM report.usage_daily WHERE day = '2013-03-01'", 1_000),
    ],
)
def test_a_question_of_finance_reads_by_index(many: Settings, question: str, count: int | None) -> None:
    with postgres.connect(many.postgres) as connection:
        plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {question}".encode()).fetchall())
        whole = [line for line in plan.splitlines() if "Seq Scan on " in line]
        big = ("usage_period", "_hyper_", "period_close", "period_close_line")
        assert [line for line in whole if any(f"Seq Scan on {name}" in line for name in big)] == [], plan
        found = connection.execute(question.encode()).fetchall()
    assert count is None or len(found) == count


@pytest.mark.parametrize(
    ("tenant", "customer", "meter", "said"),
    [
        ("amce", None, None, "did you mean 'acme'?"),
        ("acme", "clossed", None, "did you mean 'closed'?"),
        ("acme", None, "cals", "did you mean 'calls'?"),
        ("beta", "nmaed", None, "did you mean 'named'?"),
    ],
)
def test_what_does_not_exist_is_said_with_a_suggestion(
    connection: psycopg.Connection, settings: Settings, tenant: str, customer: str | None, meter: str | None, said: str
) -> None:
    connection.execute("DELETE FROM usage_period WHERE customer_id = 'closed'")
    insert(connection, "closed", "calls", NOVEMBER)
    known(settings, "acme", "closed", "calls")
    # In the catalog, without usage; and a meter of events that feed none.
    known(settings, "beta", "named", "tidemark.unmeasured")
    with pytest.raises(UsageError) as refused:
        known(settings, tenant, customer, meter)
    assert refused.value.fix == said
