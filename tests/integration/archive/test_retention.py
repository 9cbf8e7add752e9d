"""Retention on real tables, topics and files: what is old goes, what is needed stays, and a dry run tells both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from psycopg import sql
from typer.testing import CliRunner

from tests.integration.archive.archiving import DISK, OBJECTS
from tests.integration.audited import entries
from tests.integration.storage import own_run
from tests.object_store import BUCKET
from tidemark.api.keys import new_key
from tidemark.archive import archiver, verify
from tidemark.archive.index import opened
from tidemark.archive.reader import records
from tidemark.archive.retention.plan import Plan, planned
from tidemark.archive.retention.steps import Step
from tidemark.archive.source import reading
from tidemark.cli import retention as retention_command
from tidemark.core import postgres, topics
from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.kafka import Sender
from tidemark.core.settings import Settings

NOW = datetime(2024, 6, 1, tzinfo=UTC)
DAY_MS = 86_400_000
TENANT = "retention"


@pytest.fixture
def run(stack: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Settings]:
    with own_run(stack.settings) as settings:
        where = getattr(request, "param", DISK)
        place = str(tmp_path / "archive") if where == DISK else f"s3://{BUCKET}/archive/{settings.run_id}"
        made = settings.with_changes({"topics.events": f"test.{settings.run_id}", "archive.dir": place})
        topics.apply(made, create_time=True)
        yield made


def set_days(run: Settings, **days: int) -> Settings:
    return run.with_changes({f"retention.{name}_days": count for name, count in days.items()})


def step_of(plan: Plan, target: str) -> Step:
    return next(step for step in plan.steps if step.target.endswith(target))


# --- tables -----------------------------------------------------------------------------------------------------------


def store(run: Settings, days_ago: int, *, meter: str = "calls", closed: bool = True) -> None:
    """Usage of an hour so many days ago in all tables, in a period of that day, which is closed or not."""
    at = NOW - timedelta(days=days_ago)
    columns = "tenant_id, customer_id, meter, dims, n, samples, total, lo, hi"
    values = [TENANT, "c", meter, "", 1, 1, 1, 1, 1]
    rows = [
        ("usage_minute", "minute_start", [at]), ("usage_hour", "hour_start", [at]), ("usage_day", "day", [at.date()]),
        ("usage_period", "period_start, period_end", [at, at + timedelta(days=1)]),
    ]  # fmt: skip
    with opened(run.postgres, run.names) as index:
        for table, when, instants in rows:
            statement = sql.SQL(f"INSERT INTO {{}}.{table} ({columns}, {when}) VALUES ({{}})").format(
                sql.Identifier(run.names.usage_schema),
                sql.SQL(", ").join(sql.Placeholder() * (len(values) + len(instants))),
            )
            index.connection.execute(statement, [*values, *instants])
        index.connection.execute(
            sql.SQL(
                "INSERT INTO {}.usage_sliding (tenant_id, meter, window_s, window_start, window_end, n, total) "
                "VALUES (%s, %s, 300, %s, %s, 1, 1)"
            ).format(sql.Identifier(run.names.usage_schema)),
            [TENANT, meter, at - timedelta(minutes=5), at],
        )
        if closed:
            index.connection.execute(
                "INSERT INTO period_close (tenant_id, customer_id, period_start, period_end, closed_by, run_id,"
                " catalog_revision, watermark, rests_on, dead_letters, lines, content_hash)"
                " VALUES (%s, 'c', %s, %s, 'test', '', 1, %s, '{}', 0, 0, repeat('0', 64))",
                [TENANT, at, at + timedelta(days=1), NOW],
            )


def days_in(run: Settings, table: str, when: str) -> list[int]:
    """Ages of the rows of a table, in days."""
    with opened(run.postgres, run.names) as index:
        rows = index.connection.execute(
            sql.SQL(f"SELECT {when}::timestamptz FROM {{}} ORDER BY 1 DESC").format(
                sql.Identifier(run.names.usage_schema, table)
            )
        ).fetchall()
    return [(NOW - row[0]).days for row in rows]


def test_old_minutes_hours_and_windows_go_days_and_periods_never(run: Settings) -> None:
    for days_ago in (300, 150, 1):
        store(run, days_ago)
    wanted = set_days(run, minute=30, hour=200, sliding=10)
    # Given a plan, when it is only shown, nothing is removed; ...
    with planned(wanted, NOW) as plan:
        assert [(step.target.rpartition(".")[2], step.count) for step in plan.steps] == [
            ("usage_minute", 2), ("usage_hour", 1), ("usage_sliding", 2), ("usage_sliding_customer", 0),
        ]  # fmt: skip
        assert all(step.size > 0 for step in plan.steps if step.count)
    assert days_in(run, "usage_minute", "minute_start") == [1, 150, 300]
    # ... when it is acted on, whole chunks go, and again nothing is due.
    with planned(wanted, NOW) as plan:
        assert len(plan.act("ann")) == 3
    done = {entry.subject.rpartition(".")[2]: entry for entry in entries(run, "retention")}
    assert sorted(done) == ["usage_hour", "usage_minute", "usage_sliding"]
    assert (done["usage_minute"].stated_by, done["usage_minute"].detail["count"]) == ("ann", 2)
    assert days_in(run, "usage_minute", "minute_start") == [1]
    assert days_in(run, "usage_hour", "hour_start") == [1, 150]
    assert days_in(run, "usage_sliding", "window_end") == [1]
    assert days_in(run, "usage_day", "day") == [1, 150, 300]
    assert days_in(run, "usage_period", "period_start") == [1, 150, 300]
    with planned(wanted, NOW) as plan:
        assert plan.act() == []
        assert {step.does for step in plan.steps} == {"nothing is due"}


def test_records_of_reads_go_by_their_age_and_are_not_changed(run: Settings) -> None:
    key = new_key().key_id
    with postgres.connect(run.postgres.owner) as connection:
        connection.execute(
            "INSERT INTO api.api_key (key_id, tenant_id, name, scopes, secret_hash, created_by)"
            " VALUES (%s, %s, '', '{read}', sha256(''), 'test')", [key, TENANT]
        )  # fmt: skip
        for run_id, days in ((run.run_id, 500), (run.run_id, 399), ("other", 500)):
            row = [NOW - timedelta(days=days), TENANT, key, run_id, str(days)]
            connection.execute(
                "INSERT INTO api.read_audit (at, tenant_id, key_id, run_id, route, asked, rows)"
                " VALUES (%s, %s, %s, %s, '/v1/usage', %s, 1)", row
            )  # fmt: skip
        with planned(set_days(run, reads=400), NOW) as plan:
            assert [(step.target, step.count) for step in plan.act()] == [("api.read_audit", 1)]
        left = connection.execute("SELECT run_id, asked FROM api.read_audit WHERE key_id = %s ORDER BY 2", [key])
        assert left.fetchall() == [(run.run_id, "399"), ("other", "500")]
        assert entries(run, "retention", "api.read_audit")[0].detail["days"] == 400
        with pytest.raises(psycopg.errors.IntegrityError, match="stays recorded"):
            connection.execute("UPDATE api.read_audit SET rows = 0")


def test_minutes_of_periods_that_are_not_closed_stay(run: Settings) -> None:
    store(run, 300)
    store(run, 150, closed=False)
    store(run, 100)
    with planned(set_days(run, minute=30, hour=30), NOW) as plan:
        minutes = step_of(plan, "usage_minute")
        assert (minutes.count, minutes.before) == (1, NOW - timedelta(days=150))
        assert minutes.limited == f"the period of {TENANT}/c from 2024-01-03T00:00:00Z is not closed"
        plan.act()
    assert days_in(run, "usage_minute", "minute_start") == [100, 150]


def test_minutes_that_levels_are_made_of_stay(run: Settings) -> None:
    store(run, 300)
    store(run, 200, meter="disk")
    store(run, 100)
    with opened(run.postgres, run.names) as index:
        # The row of the view over the catalog: the catalog is shared with other tests.
        kinds = sql.Identifier(run.names.usage_schema, "meter_kind")
        index.connection.execute(
            sql.SQL(
                "CREATE OR REPLACE VIEW {} AS SELECT tenant_id, meter, aggregation, unit, per FROM (VALUES "
                "({}::text, 'disk', 'weighted_sum', 'GB', 'hour')) k (tenant_id, meter, aggregation, unit, per)"
            ).format(kinds, sql.Literal(TENANT))
        )
    with planned(set_days(run, minute=30, hour=30), NOW) as plan:
        assert (
            step_of(plan, "usage_minute").limited
            == f"levels of meter disk of {TENANT} are sums of all minutes before them"
        )
        assert step_of(plan, "usage_hour").limited == ""
        plan.act()
    assert days_in(run, "usage_minute", "minute_start") == [100, 200]


def test_nothing_is_planned_when_nothing_is_asked_for(run: Settings) -> None:
    with planned(run) as plan:
        assert plan.steps == ()


# --- topics -----------------------------------------------------------------------------------------------------------


def retention_of(run: Settings, topic: str) -> int:
    with reading(run.kafka) as source:
        return int(source.configs(topic)["retention.ms"])


def send(run: Settings, *days_ago: int) -> None:
    """A record a partition, arrived so many days ago."""
    with Sender(run.kafka) as sender:
        for partition in range(run.topics.partitions):
            for days in days_ago:
                at_ms = int(NOW.timestamp() * 1_000) - days * DAY_MS
                sender.send(run.topics.events, b"{}", partition=partition, timestamp_ms=at_ms)


def keep_for_ever(run: Settings) -> None:
    admin = KafkaAdminClient(bootstrap_servers=run.kafka.bootstrap)
    resource = ConfigResource(ConfigResourceType.TOPIC, run.topics.events, configs={"retention.ms": "-1"})
    admin.alter_configs([resource])
    admin.close()


def test_events_that_no_archive_has_are_kept(run: Settings) -> None:
    keep_for_ever(run)
    send(run, 20, 1)
    wanted = set_days(run, events=10)
    with planned(wanted, NOW) as plan:
        step = plan.steps[0]
        assert step.does == "retention from for ever to 10 d"
        assert step.refused.startswith("partition 0 would lose 1 records from offset 0 on that are not archived")
        assert plan.act() == []
        with pytest.raises(TidemarkError, match="that are not archived"):
            plan.raise_if_refused()
    assert retention_of(run, run.topics.events) == -1
    archiver.run(wanted)
    with planned(wanted, NOW) as plan:
        plan.act()
        plan.raise_if_refused()
    assert retention_of(run, run.topics.events) == 10 * DAY_MS
    with planned(wanted, NOW) as plan:
        assert (plan.steps[0].does, plan.steps[0].is_due) == ("retention stays 10 d", False)


def test_no_topic_gets_shorter_than_what_still_reads_it(run: Settings) -> None:
    wanted = set_days(run, deltas=1, dlq=2).with_changes({"events.outage_s": 2 * 86_400})
    with planned(wanted, NOW) as plan:
        assert "events.outage_s" in step_of(plan, run.names.deltas).refused
        assert "events.grace_s + events.redrive_window_s" in step_of(plan, run.names.dlq).refused
    longer = set_days(run, deltas=90, dlq=90)
    with planned(longer, NOW) as plan:
        plan.act()
    assert retention_of(run, run.names.deltas) == retention_of(run, run.names.dlq) == 90 * DAY_MS


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [DISK, OBJECTS], indirect=True)
def test_archived_files_go_when_kafka_and_open_periods_no_longer_need_them(run: Settings) -> None:
    keep_for_ever(run)
    send(run, 200, 100, 1)
    archiver.run(run)
    kept = set_days(run, archive=50)
    with planned(kept, NOW) as plan:
        assert step_of(plan, run.topics.events).refused == "Kafka keeps the topic for ever, which is longer"
    # Given a topic that keeps 20 days, and a period of 100 days ago that is not closed, ...
    with planned(set_days(run, events=20), NOW) as plan:
        plan.act()
    store(run, 101, closed=False)
    with planned(kept, NOW) as plan:
        step = step_of(plan, run.topics.events)
        # ... then files of before that period go.
        assert (step.count, step.refused) == (4, "")
        assert step.limited.endswith("is not closed")
        plan.act()
    verified = verify.verify(run)
    assert (verified.faults, verified.files, verified.expired, verified.left_over) == ([], 8, 4, [])
    assert archiver.run(run).rows == 0
    assert {record.offset for record in records(run)} == {1, 2}


# --- command ----------------------------------------------------------------------------------------------------------


def test_a_dry_run_prints_the_plan_that_a_run_acts_on(run: Settings) -> None:
    store(run, 300)
    app = typer.Typer()
    retention_command.register(app)
    given = set_days(run, minute=30).environment()
    printed = [
        json.loads(CliRunner().invoke(app, ["--json", *words], env=given, catch_exceptions=False).stdout)
        for words in (["--dry-run"], [])
    ]
    assert [document["dry_run"] for document in printed] == [True, False]
    shown = [[{**step, "before": ""} for step in document["steps"]] for document in printed]
    assert shown[0] == shown[1]
    assert shown[0][0]["count"] == 1
    assert days_in(run, "usage_minute", "minute_start") == []


def test_a_dry_run_says_what_another_policy_would_drop(run: Settings) -> None:
    # Given usage of before and within two years, by the clock of the command; the policy keeps everything.
    since = (datetime.now(UTC) - NOW).days
    store(run, 900 - since)
    store(run, 300 - since)
    # Brokers of tests keep events for ever: less is refused until there is an archive.
    archiver.run(run)
    app = typer.Typer()
    retention_command.register(app)
    given = {name: text for name, text in run.environment().items() if "RETENTION" not in name}

    def printed(*words: str) -> Any:
        return CliRunner().invoke(app, [*words, "--json"], env=given, catch_exceptions=False)

    assert json.loads(printed("--dry-run").stdout)["steps"] == []
    found = json.loads(printed("--dry-run", "--policy", "tiered").stdout)
    steps = {step["target"].rpartition(".")[2]: step for step in found["steps"]}
    assert [(steps[name]["count"], steps[name]["days"]) for name in ("usage_minute", "usage_hour")] == [
        (2, 90),
        (1, 760),
    ]
    assert found["bytes"] == sum(step["bytes"] for step in found["steps"] if step["due"]) > 0
    with pytest.raises(UsageError, match="only shows"):
        printed("--policy", "tiered")
    assert days_in(run, "usage_hour", "hour_start") == days_in(run, "usage_minute", "minute_start")
