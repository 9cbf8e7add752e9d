"""Closing on real services: as the watermark passes, equal to the oracle, whatever is killed, and corrected later."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import sql

from jobs.flink.rest import wait_until
from tests.integration.audited import entries
from tests.pipeline import Pipeline, pipeline
from tests.pulse import Pulse, pulse
from tests.streams import StreamRecord
from tidemark.billing import close as ledger_close
from tidemark.billing import explain, heartbeat, store
from tidemark.billing.decide import CloseRequest
from tidemark.billing.lines import PeriodKey, same
from tidemark.billing.messages import LedgerReader
from tidemark.billing.moments import moment
from tidemark.billing.preview import preview
from tidemark.billing.scope import Scope
from tidemark.billing.watermark import committed, drain, reached
from tidemark.core import grants, postgres
from tidemark.core.errors import UsageError
from tidemark.core.kafka import Sender, dump, end_offsets
from tidemark.core.settings import Settings
from udfs.values import epoch_ms, rfc3339

DAY = timedelta(days=1)
START = datetime(2024, 3, 1, tzinfo=UTC)
GRACE_S = 3_600
EVENTS_A_DAY = 1_000
# alice and bob have days of UTC, carol days of New York; idle has no usage; nobody bills for beats.
CATALOG: dict[str, Any] = {
    "calendars": {
        "utc-day": {"anchor": "2024-01-01T00:00:00", "interval": "P1D", "timezone": "Etc/UTC"},
        "new-york-day": {"anchor": "2024-01-01T00:00:00", "interval": "P1D", "timezone": "America/New_York"},
    },
    "tenants": {
        "acme": {
            "calendar": "utc-day",
            "customers": {"alice": None, "bob": None, "carol": {"calendar": "new-york-day"}, "idle": None},
        },
        "beats": {
            "meters": {
                "heartbeats": {"event_types": [heartbeat.EVENT_TYPE], "aggregation": "count", "unit": "beats"},
            }
        },
    },
    "meters": {
        "calls": {"event_types": ["call"], "aggregation": "count", "unit": "calls"},
        "bytes": {"event_types": ["call"], "aggregation": "sum", "unit": "B", "group_by": ["region"]},
        "mean": {"event_types": ["call"], "aggregation": "avg", "unit": "B", "value": "quantity"},
        "users": {"event_types": ["call"], "aggregation": "unique", "unit": "users", "value": "user"},
    },
}
CUSTOMERS = ("alice", "bob", "carol")


def event(number: int, at: datetime, customer: str, rng: random.Random, **fields: Any) -> StreamRecord:
    value = {
        "event_id": f"e-{number}", "tenant_id": "acme", "customer_id": customer, "event_type": "call",
        "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "quantity": str(Decimal(rng.randrange(10**6)).scaleb(-3)),
        "properties": {"region": rng.choice(["eu", "us"]), "user": f"u{rng.randrange(30)}"},
        **fields,
    }  # fmt: skip
    return record(value, at + timedelta(seconds=1))


def record(value: dict[str, Any], arrival: datetime) -> StreamRecord:
    # All in partition 0: the other one is idle.
    return StreamRecord(partition=0, timestamp_ms=epoch_ms(arrival), key=b"acme", value=json.dumps(value).encode())


def day(number: int) -> list[StreamRecord]:
    """Events of a UTC day in order, the first of bob with a quantity that is not a number."""
    rng = random.Random(number)
    step = DAY / EVENTS_A_DAY
    events = [
        event(number * 10_000 + n, START + number * DAY + n * step, rng.choice(CUSTOMERS), rng)
        for n in range(EVENTS_A_DAY)
    ]
    bad = event(number * 10_000 + 9_999, START + number * DAY + DAY / 2, "bob", rng, quantity="many")
    return sorted([*events, bad], key=lambda one: one.timestamp_ms)


@pytest.fixture(scope="module")
def run(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    changes = {
        "events.grace_s": GRACE_S, "meter.bounded_disorder_s": 0, "topics.partitions": 2, "heartbeat.tenant": "beats",
        "close.settle_s": 1, "close.max_dead_letters": 0, "rollup.checkpoint_interval_ms": 1_000,
        "rollup.minibatch_ms": 200, "rollup.customer_windows": False,
    }  # fmt: skip
    with pipeline(stack.settings, "closing", CATALOG, tmp_path_factory.mktemp("closing"), **changes) as made:
        made.start()
        yield made


@pytest.fixture(scope="module")
def beating(run: Pipeline) -> Iterator[Pulse]:
    """Heartbeats of the time that a test gave last, so that nobody waits for idle consumers."""
    with pulse(run.settings) as made:
        yield made


@pytest.fixture
def connection(run: Pipeline) -> Iterator[psycopg.Connection]:
    with postgres.connect(run.settings.postgres) as connection:
        yield connection


def closed(connection: psycopg.Connection, settings: Settings) -> list[PeriodKey]:
    statement = sql.SQL(
        "SELECT tenant_id, customer_id, period_start, period_end FROM {}.period_close ORDER BY 1, 2, 3"
    ).format(sql.Identifier(settings.names.billing_schema))
    return [PeriodKey(*row) for row in connection.execute(statement)]


def cli(settings: Settings, *arguments: str) -> subprocess.Popen[bytes]:
    """`tidemark` in a process of its own, with the settings of the run."""
    env = {**os.environ, **settings.environment()}
    command = [sys.executable, "-m", "tidemark.cli.main", *arguments]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def beat(run: Pipeline, beating: Pulse, at: datetime) -> None:
    """Heartbeats into both partitions, and wait until they were counted."""
    assert beating.advance(at) == 2
    run.wait_offsets()


def redrive(run: Pipeline, value: bytes | None, arrival_ms: int) -> None:
    """Put an event where dead letters are sent again, with its first arrival, and wait until it was counted."""
    topic = run.settings.topics.redrive
    with Sender(run.settings.kafka) as sender:
        sender.send(topic, value, partition=0, timestamp_ms=arrival_ms)
    ends = {topic: end_offsets(run.settings.kafka, topic)}
    wait_until(lambda: reached(run.settings, committed(run.settings), ends), 60, "the event to be counted")


def killed_while_waiting(settings: Settings, connection: psycopg.Connection, table: str) -> None:
    """Kill -9 of `tidemark close` where it waits for a lock on a table of the ledger, in its transaction."""
    name = sql.Identifier(settings.names.billing_schema, table)
    with connection.transaction():
        connection.execute(sql.SQL("LOCK TABLE {} IN SHARE MODE").format(name))
        process = cli(settings, "close", "--accept-dead-letters", "acme/bob")
        waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'relation' AND relation = %s::regclass"
        try:
            wait_until(
                lambda: bool(connection.execute(waits, [name.as_string()]).fetchall()), 60, f"close to wait for {table}"
            )
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=30)


def close_alerts(settings: Settings) -> list[dict[str, Any]]:
    """What was reported of periods that wait for a yes, in order."""
    found = [json.loads(one.value or b"{}") for one in dump(settings.kafka, settings.names.alerts)]
    return [one for one in found if one["type"] == "pipeline.close"]


def keys(customer: str, *numbers: int, hours: int = 0) -> list[PeriodKey]:
    """Days by number; New York's begin five hours after those of UTC."""
    shift = timedelta(hours=hours)
    return [PeriodKey("acme", customer, START + n * DAY + shift, START + (n + 1) * DAY + shift) for n in numbers]


def test_periods_close_as_the_watermark_passes(run: Pipeline, beating: Pulse, connection: psycopg.Connection) -> None:
    settings = run.settings
    # Given a day of events in one partition: the other one has not said yet how late it is.
    run.send(day(0))
    run.wait_offsets()
    first = ledger_close.close(settings, "test")
    assert (first.watermark, first.closes) == (None, 0)
    assert [one.cause for one in first.refused] == ["watermark"]
    assert "partitions [1]" in first.refused[0].detail

    #               day 0         day 1
    # UTC       ----|-------------|-------------|---
    # New York  ---------|-------------|------------
    # watermark                  ^23:30, less an hour of grace
    beat(run, beating, START + DAY - timedelta(minutes=30))
    second = ledger_close.close(settings, "test")
    assert second.watermark == START + DAY - timedelta(minutes=30)
    # The day of New York's that was running is carol's first one with usage: nobody has an empty one before it.
    assert (second.closes, second.published, second.refused) == (1, 1, ())
    before = keys("carol", -1, hours=5)
    assert closed(connection, settings) == before

    # When end + grace is reached to the millisecond, the day of every customer with usage closes; not that of one with
    # a dead letter, until somebody accepts it.
    beat(run, beating, START + DAY + timedelta(seconds=GRACE_S))
    third = ledger_close.close(settings, "test")
    assert [(one.cause, one.periods) for one in third.refused] == [("dead_letters", tuple(keys("bob", 0)))]
    assert "--accept-dead-letters acme/bob" in third.refused[0].detail
    assert closed(connection, settings) == sorted([*before, *keys("alice", 0)])
    accepted = CloseRequest(accept=[("acme", "bob")])
    assert ledger_close.close(settings, "test", accepted).closes == 1
    assert ledger_close.close(settings, "test", accepted).closes == 0
    (entry,) = entries(settings, "close.accept_dead_letters")
    assert (entry.login, entry.stated_by, entry.subject) == (grants.LEDGER, "test", "acme/bob")
    (period,) = entry.detail["periods"]
    assert (period["period_start"], period["open"]) == (rfc3339(keys("bob", 0)[0].start), 1)


def test_a_close_that_is_killed_leaves_no_half_state(
    run: Pipeline, beating: Pulse, connection: psycopg.Connection
) -> None:
    settings = run.settings
    run.send(day(1))
    run.send(day(2))
    beat(run, beating, START + 3 * DAY + timedelta(hours=12))
    before = closed(connection, settings)
    # Killed after the periods and before their lines, and after the lines and before the outbox.
    for table in ("period_close_line", "outbox"):
        killed_while_waiting(settings, connection, table)
        assert closed(connection, settings) == before
    again = cli(settings, "close", "--accept-dead-letters", "acme/bob", "--json")
    output, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors.decode()
    # Two days of the others, and three of New York's, whose first one is not done with the first one of UTC.
    assert json.loads(output)["closes"] == 2 * 2 + 3
    assert json.loads(output)["refused"] == []


def test_closed_values_are_those_of_the_oracle(run: Pipeline, connection: psycopg.Connection) -> None:
    schema = sql.Identifier(run.settings.names.billing_schema)
    columns = "tenant_id, customer_id, meter, dims, period_start, samples, value"
    stored = {
        tuple(row)
        for row in connection.execute(sql.SQL(f"SELECT {columns} FROM {{}}.usage_first_closed").format(schema))
    }
    with run.oracle() as oracle:
        oracle.build_values()
        found = oracle.db.execute(f"SELECT {columns} FROM value_period WHERE tenant_id = 'acme'").fetchall()
    expected = {(*row[:4], row[4].astimezone(UTC), *row[5:]) for row in found}
    assert len(stored) > 40
    assert stored == expected
    assert {row[1] for row in stored} == set(CUSTOMERS)
    current = connection.execute(
        sql.SQL("SELECT DISTINCT final, status FROM {}.usage_current WHERE tenant_id = 'acme'").format(schema)
    )
    assert current.fetchall() == [(True, "final")]


def test_usage_that_comes_after_the_close_is_a_correction(run: Pipeline, connection: psycopg.Connection) -> None:
    settings, rng = run.settings, random.Random(9)
    key = keys("alice", 1)[0]
    # Given a dead letter of a closed day that was redriven with its own arrival, and an event of it taken back.
    late = event(77_777, key.start + timedelta(hours=3), "alice", rng, quantity="0.25")
    redrive(run, late.value, late.timestamp_ms)
    found = ledger_close.close(settings, "test")
    assert (found.corrections, found.closes) == (1, 0)
    victim = next(one for one in day(1) if json.loads(one.value or b"")["customer_id"] == "alice")
    void = {**json.loads(victim.value or b""), "event_id": "v-1", "voids": json.loads(victim.value or b"")["event_id"]}
    redrive(run, json.dumps(void).encode(), victim.timestamp_ms)
    assert ledger_close.close(settings, "test").corrections == 1
    assert ledger_close.close(settings, "test").corrections == 0

    # Then the ledger says what the rollups say, and the view of the past what it said.
    entry = store.read_entries(connection, settings.names, [key])[key]
    assert same(entry.lines, store.wanted_lines(connection, settings.names, [key])[key])
    explained = explain.explain(settings, "acme", "alice", "calls", key.start, events=True)
    assert [version.cause for version in explained.versions] == ["close", "late_events", "void"]
    calls = [version.lines[""].value for version in explained.versions]
    assert calls == [calls[0], calls[0] + 1, calls[0]]
    (change,) = explain.between(explained, "0", "1").values()
    assert change.delta == 1
    # The offsets make the number, also of two topics.
    assert {source.topic for source in explained.sources} == {settings.topics.events, settings.topics.redrive}
    assert explained.adds_up
    assert sum(one.amount for one in explained.events or ()) == explained.current[""].value
    with pytest.raises(UsageError, match="no version '7'"):
        explain.between(explained, "0", "7")


def test_consumers_of_both_topics_know_what_the_ledger_says(run: Pipeline, connection: psycopg.Connection) -> None:
    settings, reader = run.settings, LedgerReader()
    for one in dump(settings.kafka, settings.names.closes):
        reader.close(one.value or b"")
    for one in dump(settings.kafka, settings.names.corrections):
        reader.correct(one.value or b"")
    entries = store.read_entries(connection, settings.names, closed(connection, settings))
    assert reader.entries.keys() == entries.keys()
    assert all(same(reader.entries[key].lines, entry.lines) for key, entry in entries.items())
    assert sum(entry.corrections for entry in reader.entries.values()) == 2


def test_the_watermark_says_which_records_it_rests_on(run: Pipeline) -> None:
    settings = run.settings
    target = {settings.topics.events: {0: 10, 1: 1}}
    found = drain(settings)
    assert found.at == START + 3 * DAY + timedelta(hours=12)
    assert reached(settings, found.offsets, target)
    assert not reached(settings, {settings.topics.events: {0: 9, 1: 1}}, target)
    assert reached(settings, found.offsets, {settings.topics.redrive: {0: 10**9}}), "an end after the last record"


#  usage        |0|1|2|
#  watermark           ^ 3, 12:00                    ^ 403
def test_a_watermark_that_jumps_closes_nothing_until_somebody_says_yes(
    run: Pipeline, beating: Pulse, connection: psycopg.Connection
) -> None:
    settings = run.settings
    before = closed(connection, settings)
    # Given events of which one in each partition is dated more than a year ahead.
    beat(run, beating, START + 403 * DAY)

    # Then a look at it changes nothing, and says what waits, and why.
    seen = preview(settings, CloseRequest())
    assert (seen.keys, seen.accepted) == ((), START + 3 * DAY + timedelta(hours=12))
    assert [one.cause for one in seen.refused] == ["watermark_jump"]
    assert {key[:2] for key in seen.refused[0].periods} == {("acme", one) for one in CUSTOMERS}, "idle has no usage"
    allowed = preview(settings, CloseRequest(approved=True))
    # So many of each customer as show that it is too many; with a yes, all.
    assert len(seen.refused[0].periods) == 3 * (settings.close.max_periods + 1)
    assert len(allowed.keys) == 3 * 399
    assert allowed.used == frozenset()
    assert closed(connection, settings) == before

    # And a close refuses them too, says so in one alert, and goes on with what is not in question.
    for _ in range(2):
        held = ledger_close.close(settings, "test")
        assert (held.closes, [one.cause for one in held.refused]) == (0, ["watermark_jump"])
    assert [(one["data"]["status"], one["data"]["value"]) for one in close_alerts(settings)] == [
        ("firing", str(len(seen.refused[0].periods)))
    ]

    # A narrow yes closes what it names: the others wait on, and the watermark is not accepted for them.
    until = Scope("acme", "alice", moment((START + 5 * DAY).date().isoformat()))
    few = ledger_close.close(settings, "test", CloseRequest(until, approved=True))
    assert (few.closes, few.refused) == (2, ())
    assert closed(connection, settings) == sorted([*before, *keys("alice", 3, 4)])
    assert preview(settings, CloseRequest()).accepted == START + 3 * DAY + timedelta(hours=12)

    # As many of one customer wait for it as well, when the watermark is not in question.
    loose = settings.with_changes({"close.max_jump_days": 10_000})
    assert [one.cause for one in preview(loose, CloseRequest()).refused] == ["max_periods"]

    # When somebody says yes to all of it, it is closed, and the alert ends.
    asked = cli(settings, "close", "--yes", "--json")
    output, errors = asked.communicate(timeout=120)
    assert asked.returncode == 0, errors.decode()
    assert json.loads(output)["closes"] == len(allowed.keys) - 2
    assert [one["data"]["status"] for one in close_alerts(settings)] == ["firing", "resolved"]
    assert not ledger_close.close(settings, "test").refused


def test_what_would_be_closed_is_shown_to_people_and_machines(run: Pipeline) -> None:
    shown = cli(run.settings, "close", "--dry-run", "--tenant", "acme", "--json")
    output, errors = shown.communicate(timeout=120)
    assert shown.returncode == 0, errors.decode()
    document = json.loads(output)
    assert (document["dry_run"], document["closes"], document["periods"], document["refused"]) == (True, 0, [], [])
    wrong = cli(run.settings, "close", "--dry-run", "--tenant", "acne")
    _, errors = wrong.communicate(timeout=120)
    assert wrong.returncode == 2
    assert b"did you mean 'acme'" in errors


def test_a_job_that_does_not_run_is_a_refusal(run: Pipeline) -> None:
    settings = run.settings
    rollup = run.rest.active(settings.names.job("rollup"))
    assert rollup is not None
    run.rest.cancel(rollup.id)
    wait_until(lambda: run.rest.active(settings.names.job("rollup")) is None, 60, "rollup to end")
    found = ledger_close.close(settings, "test")
    assert [one.cause for one in found.refused] == ["jobs"]
    assert "tidemark-rollup-closing is not submitted" in found.refused[0].detail


def test_heartbeats_that_nobody_would_count_are_refused(run: Pipeline) -> None:
    for tenant, why in (("", "not set"), ("nobody", "not in the catalog"), ("acme", "no meter that takes")):
        settings = run.settings.with_changes({"heartbeat.tenant": tenant})
        with pytest.raises(UsageError, match=why):
            heartbeat.beat(settings, START)
    with pytest.raises(UsageError, match="producers set the arrivals"):
        heartbeat.beat(run.settings)
