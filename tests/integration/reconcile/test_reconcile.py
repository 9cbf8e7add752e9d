"""Reconciliation on a real pipeline: every check passes on an exact run, and fails when one row or record changes."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from jsonschema import Draft202012Validator
from kafka import KafkaAdminClient, TopicPartition
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from typer.testing import CliRunner

import schemas
from jobs.flink.rest import wait_until
from tests.integration.audited import entries
from tests.pipeline import Pipeline, pipeline
from tests.streams import BEGIN_MS, GRACE_MS, HISTORY, StreamRecord, generate
from tidemark.billing import store
from tidemark.billing.drift import open_drift
from tidemark.billing.lines import Line, LineKey, PeriodKey
from tidemark.billing.messages import Context
from tidemark.billing.true_up import Close, TrueUp
from tidemark.catalog import tool as catalog_tool
from tidemark.cli.main import app
from tidemark.core import grants, migrate, postgres, rollup_views, topics
from tidemark.core.errors import DifferenceError, TidemarkError, UsageError
from tidemark.core.kafka import Record, Sender, dump, end_offsets
from tidemark.core.settings import Settings
from tidemark.core.supervisor import Supervisor
from tidemark.demo.report import wait_until_counted
from tidemark.oracle.oracle import Oracle
from tidemark.reconcile import catalog, drift_store, invoices, manifests, shadow
from tidemark.reconcile import run as reconcile
from tidemark.reconcile.findings import CHECKS, Check
from tidemark.reconcile.raw import recompute
from tidemark.reconcile.sample import Wanted, sampled
from udfs.live.counters import client

EVENTS, LAST = 2_500, 400
GRAINS = ("usage_minute", "usage_hour", "usage_day", "usage_period")
TILL_MS = BEGIN_MS + 20 * 86_400_000
SERIES = ("tenant_id", "customer_id", "meter", "dims", "part")
MONTH = (datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC))


def instant(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).isoformat().replace("+00:00", "Z")


def till_record(event_id: str, number: int, quantity: str, *, late: bool = False, **more: str) -> StreamRecord:
    event_ms = TILL_MS + number * 300_000
    event = {
        "schema_version": 2, "source": "/till", "event_id": event_id, "tenant_id": "initech", "customer_id": "peter",
        "event_type": "transfer", "timestamp": instant(event_ms), "quantity": quantity, **more,
    }  # fmt: skip
    arrival_ms = event_ms + GRACE_MS + 1 if late else event_ms + 1_000
    return StreamRecord(1, arrival_ms, b"initech/peter", json.dumps(event).encode())


def till_records() -> list[StreamRecord]:
    """Events of one source that keeps a manifest: 40 with copies, one taken back, one too late to be counted."""
    sent = [till_record(f"m{i}", i, f"{i}.25") for i in range(40)]
    return [*sent, *sent[::5], till_record("v1", 3, "3.25", voids="m3"), till_record("late", 0, "7", late=True)]


def till_manifest() -> list[dict[str, Any]]:
    """What the till says of its hours, worked out without the product's code."""
    hours: dict[str, dict[str, tuple[Decimal, int]]] = {}
    for record in till_records():
        event = json.loads(record.value or b"")
        text = event["event_id"] + (f"\x1f{event['voids']}" if "voids" in event else "")
        bits = int.from_bytes(blake2b(text.encode(), digest_size=16).digest(), "big")
        sign = -1 if "voids" in event else 1
        hours.setdefault(event["timestamp"][:13], {})[text] = (sign * Decimal(event["quantity"]), bits)
    return [
        {
            "tenant_id": "initech", "source": "/till", "hour_start": f"{hour}:00:00Z", "events": len(events),
            "quantity_sum": str(sum(quantity for quantity, _ in events.values())), "hash": f"{xor(events):032x}",
        }
        for hour, events in hours.items()
    ]  # fmt: skip


def xor(events: dict[str, tuple[Decimal, int]]) -> int:
    found = 0
    for _, bits in events.values():
        found ^= bits
    return found


@pytest.fixture(scope="module")
def records() -> list[StreamRecord]:
    return [*till_records(), *generate(events=EVENTS, seed=7)]


@pytest.fixture(scope="module")
def counted(stack: Any, records: list[StreamRecord], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """All but the last of the stream, counted by both jobs, which go on running; the catalog changes in its midst."""
    folder = tmp_path_factory.mktemp("reconcile")
    with pipeline(stack.settings, "reconciled", HISTORY[0]["catalog"], folder) as run:
        file = folder / "later.yaml"
        file.write_text(yaml.safe_dump({"valid_from": HISTORY[1]["valid_from"], **HISTORY[1]["catalog"]}))
        catalog_tool.apply(run.settings, file, backdate=True, prune=True, all_tenants=True)
        run.start()
        run.send(records[:-LAST])
        wait_counted(run)
        yield run


def wait_counted(run: Pipeline) -> None:
    run.wait_offsets()
    oracle, _ = recompute(run.settings, HISTORY, Wanted(), {})
    with oracle:
        wait_until_counted(run.settings, oracle)


@pytest.fixture(scope="module")
def recomputed() -> Iterator[dict[str, Any]]:
    """Recomputations that are used again while the source is the same: each takes seconds."""
    kept: dict[str, Any] = {}
    yield kept
    for oracle, _ in kept.values():
        Oracle.close(oracle)


@pytest.fixture
def settings(counted: Pipeline, recomputed: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The run's settings; what a test has found is forgotten after it."""

    def kept(settings: Settings, history: Any, wanted: Wanted, reach: Any, *more: Any) -> tuple[Oracle, int | None]:
        source = end_offsets(settings.kafka, settings.topics.events), reach[settings.topics.events]
        key = repr((settings.topics.events, settings.replay.late_until, wanted, source))
        if key not in recomputed:
            recomputed[key] = recompute(settings, history, wanted, reach, *more)
            recomputed[key][0].close = lambda: None
        found: tuple[Oracle, int | None] = recomputed[key]
        return found

    monkeypatch.setattr(reconcile, "recompute", kept)
    yield counted.settings
    with connected(counted.settings) as connection:
        connection.execute("ALTER TABLE drift DISABLE TRIGGER USER")
        connection.execute("TRUNCATE drift, void_finding, reconcile_run, reconcile_alarm, producer_manifest, invoiced")
        connection.execute("ALTER TABLE drift ENABLE TRIGGER USER")


@contextmanager
def connected(settings: Settings) -> Iterator[psycopg.Connection]:
    with postgres.connect(settings.postgres) as connection:
        path = map(sql.Identifier, (settings.names.billing_schema, settings.names.usage_schema))
        connection.execute(sql.SQL("SET search_path TO {}, public").format(sql.SQL(", ").join(path)))
        yield connection


def look(settings: Settings, *checks: Check, wanted: Wanted | None = None, **more: Any) -> reconcile.Report:
    return reconcile.run(settings, reconcile.Request(checks or CHECKS, wanted or Wanted(), idle=True, **more))


def differing(report: reconcile.Report) -> dict[str, int]:
    return {name: outcome.differing for name, outcome in report.outcomes.items() if outcome.differing}


class StoredRow:
    """The row of a rollup with most events, to be changed and put back."""

    def __init__(self, connection: psycopg.Connection, settings: Settings, table: str, order: str = "n DESC") -> None:
        self._connection = connection
        self._table = sql.Identifier(settings.names.usage_schema, table)
        query = sql.SQL("SELECT * FROM {} WHERE part = '' AND meter = 'calls' ORDER BY {}, 1, 2, 3, 4, 6, 5 LIMIT 1")
        with connection.cursor(row_factory=dict_row) as cursor:
            (self.row,) = cursor.execute(query.format(self._table, sql.SQL(order))).fetchall()  # type: ignore[arg-type]
        buckets = ("minute_start", "hour_start", "day", "period_start")
        self._key = (*SERIES, next(name for name in buckets if name in self.row))

    def write(self, change: str) -> None:
        """The guard lets pass what does not make `n` smaller."""
        self._execute(sql.SQL("UPDATE {} SET {} WHERE {}").format(self._table, sql.SQL(change), self._is()))  # type: ignore[arg-type]

    def restore(self) -> None:
        self.delete()
        self.insert()

    def delete(self, **changed: str) -> None:
        self._execute(sql.SQL("DELETE FROM {} WHERE {}").format(self._table, self._is(**changed)))

    def insert(self, **changed: str) -> None:
        row = {**self.row, **changed}
        names, values = (sql.SQL(", ").join(map(kind, row)) for kind in (sql.Identifier, sql.Placeholder))
        self._connection.execute(sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(self._table, names, values), row)

    def _is(self, **changed: str) -> sql.Composed:
        pairs = ((sql.Identifier(name), sql.Literal({**self.row, **changed}[name])) for name in self._key)
        return sql.SQL(" AND ").join(sql.SQL("{} = {}").format(*pair) for pair in pairs)

    def _execute(self, statement: sql.Composed) -> None:
        self._connection.execute(statement)


@contextmanager
def changed(settings: Settings, table: str, change: str, order: str = "n DESC") -> Iterator[dict[str, Any]]:
    """One row of a rollup, the first in an order, changed; yields it as it was."""
    with postgres.connect(settings.postgres) as connection:
        stored = StoredRow(connection, settings, table, order)
        stored.write(change)
        try:
            yield stored.row
        finally:
            stored.restore()


def alerts(settings: Settings) -> list[tuple[str, Any]]:
    """Status and evidence of the alerts of reconciliation, in their order."""
    found = [json.loads(record.value or b"") for record in dump(settings.kafka, settings.names.alerts)]
    mine = [one for one in found if one["type"] == "pipeline.reconcile"]
    validator = Draft202012Validator(schemas.topic_schema("usage.alerts"))
    assert [error.message for one in mine for error in validator.iter_errors(one)] == []
    assert len({one["id"] for one in mine}) == len(mine)
    return [(one["data"]["status"], one["data"]["evidence"]) for one in mine]


def command(settings: Settings, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    """What the command line does with the settings of the run."""
    monkeypatch.setattr("tidemark.cli.reconcile.load", lambda **_: settings)
    return CliRunner().invoke(app, ["reconcile", *arguments])


def test_while_events_arrive_nothing_is_taken_for_drift(
    counted: Pipeline, settings: Settings, records: list[StreamRecord]
) -> None:
    # When the rest of the stream arrives while all is compared ...
    sender = threading.Thread(
        target=lambda: [counted.send(records[-LAST + i : -LAST + i + 20 or None]) for i in range(0, LAST, 20)]
    )
    sender.start()
    report = reconcile.run(settings, reconcile.Request(("live", "offsets", "grains", "rollups")))
    sender.join()
    # ... then what has not come to rest is left out, and all else is equal.
    assert differing(report) == {}
    assert report.open == []
    assert report.outcomes["rollups"].compared > 1_000
    wait_counted(counted)


def test_an_exact_run_has_no_drift_in_any_check(settings: Settings, tmp_path: Path) -> None:
    report = look(settings, metrics=tmp_path / "reconcile.prom")
    assert differing(report) == {}
    assert report.open == []
    found = {name: (outcome.compared > 0, outcome.not_checked) for name, outcome in report.outcomes.items()}
    assert found == {name: (name not in ("manifests", "invoices", "ledger"), "") for name in CHECKS}
    text = (tmp_path / "reconcile.prom").read_text()
    assert 'tidemark_reconcile_drift{check="rollups"} 0\n' in text
    assert f'last_run_timestamp_seconds{{check="live"}} {int(report.finished_at.timestamp())}\n' in text
    assert [path.name for path in tmp_path.iterdir()] == ["reconcile.prom"]


def test_the_stored_catalog_is_read_as_the_file_says_it(counted: Pipeline) -> None:
    with postgres.connect(counted.settings.postgres) as connection:
        steps = catalog.history(connection)
    assert [step["valid_from"] for step in steps] == [step["valid_from"] for step in HISTORY]
    asked, _ = recompute(counted.settings, steps, Wanted(), {})
    given, _ = recompute(counted.settings, HISTORY, Wanted(), {})
    with asked, given:
        assert asked.rows("usage_period") == given.rows("usage_period")
        assert asked.counts() == given.counts()


@pytest.mark.parametrize("table", GRAINS)
def test_one_changed_row_of_any_grain_fails_grains_and_rollups(settings: Settings, table: str) -> None:
    with changed(settings, table, "total = total + 0.000000001") as row:
        report = look(settings, "grains", "rollups")
        # minute = hour, hour = day and day = period each show a row in both of its equations.
        between = {"usage_minute": 1, "usage_hour": 2, "usage_day": 2, "usage_period": 1}
        assert differing(report) == {"grains": between[table], "rollups": 1}
        (drift,) = [one for one in report.open if one.check_name == "rollups"]
        assert (drift.tenant_id, drift.customer_id, drift.meter) == (row["tenant_id"], row["customer_id"], "calls")
        assert (json.loads(drift.subject)["grain"], drift.delta) == (table, Decimal("0.000000001"))


def test_a_missing_and_a_surplus_row_are_both_found(settings: Settings) -> None:
    with postgres.connect(settings.postgres) as connection:
        stored = StoredRow(connection, settings, "usage_hour")
        stored.delete()
        report = look(settings, "grains", "rollups")
        stored.insert()
        assert differing(report) == {"grains": 2, "rollups": 1}
        assert [one.actual for one in report.open if one.check_name == "rollups"] == [None]
        stored.insert(customer_id="nobody")
        report = look(settings, "grains", "rollups")
        stored.delete(customer_id="nobody")
        assert differing(report) == {"grains": 2, "rollups": 1}
        assert {one.customer_id for one in report.open} == {"nobody"}
    assert look(settings, "grains", "rollups").open == [], "what is right again is open no more"


@pytest.mark.parametrize("field", ["total", "n", None])
def test_one_changed_or_missing_counter_fails_the_live_check(settings: Settings, field: str | None) -> None:
    password = settings.redis.secret
    with client(settings.redis.url, password, timeout_s=5) as live:
        key = min(one for one in live.scan_iter(f"{settings.names.redis_prefix}{{*}}:calls"))
        before: Any = live.hgetall(key)
        left: Any = live.pttl(key)
        if field is None:
            live.delete(key)
        else:
            live.hset(key, field, str(Decimal(before[field]) + 1))
        report = look(settings, "live")
        live.hset(key, mapping=before)
        live.pexpire(key, left)
    assert differing(report) == {"live": 1}
    assert report.open[0].meter == "calls"
    assert look(settings, "live").open == []


def test_a_record_that_is_lost_or_there_twice_fails_the_offsets_of_its_partition(settings: Settings) -> None:
    # Given deltas and dead letters in topics of their own, all but the last of each ...
    copy = settings.with_changes({"run_id": "reconciledcopy"})
    topics.apply(copy, create_time=True)
    migrate.migrate(copy)
    pairs = ((settings.names.deltas, copy.names.deltas), (settings.names.dlq, copy.names.dlq))
    originals = [[*dump(settings.kafka, topic)] for topic, _ in pairs]
    # Of an event that feeds several meters one delta counts it.
    originals[0].sort(key=lambda record: json.loads(record.value or b"")["events"])
    # That one meter rejected an event says nothing of its partition.
    originals[1].sort(key=lambda record: not json.loads(record.value or b"{}").get("partial"))
    targets = [target for _, target in pairs]
    for target, found in zip(targets, originals, strict=True):
        append(copy, target, found[:-1])

    def off() -> list[tuple[Any, Decimal | None]]:
        subjects = ((json.loads(one.subject), one.delta) for one in look(copy, "offsets").open)
        return [(subject.get("partition", subject.get("partitions")), delta) for subject, delta in subjects]

    delta, dead_letter = (json.loads(found[-1].value or b"") for found in originals)
    assert delta["events"]
    events = Decimal(delta["events"])
    assert {delta["source_topic"], dead_letter["topic"]} == {settings.topics.events}
    # ... then each is missed where it came from; with it, all is accounted for; and again, it is too much.
    found = off()
    assert ("all", -events) in found
    assert {dead_letter["partition"]} <= {partition for partition, _ in found} <= {
        "all", dead_letter["partition"], delta["source_partition"],
    }  # fmt: skip
    append(copy, targets[0], originals[0][-1:])
    append(copy, targets[1], originals[1][-1:])
    assert off() == []
    append(copy, targets[1], originals[1][-1:])
    assert off() == [(dead_letter["partition"], Decimal(1))]
    append(copy, targets[0], originals[0][-1:])
    assert ("all", events) in off()


def append(settings: Settings, topic: str, records: Sequence[Record]) -> None:
    with Sender(settings.kafka) as sender:
        for record in records:
            sender.send(topic, record.value, key=record.key, partition=record.partition)


def test_a_manifest_without_one_of_its_lines_or_events_is_not_the_topic(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated = till_manifest()
    assert len(stated) == 4
    file = tmp_path / "till.ndjson"
    file.write_text("".join(json.dumps(line) + "\n" for line in stated))
    assert command(settings, monkeypatch, "manifest", "import", str(file)).exit_code == 0
    report = look(settings, "manifests")
    assert (report.outcomes["manifests"].compared, report.open) == (4, [])
    # An event that the producer has sent, and that is not there.
    stated[1] |= {"events": stated[1]["events"] + 1, "hash": "0" * 32}
    file.write_text("".join(json.dumps(line) + "\n" for line in stated))
    with postgres.connect(settings.postgres) as connection:
        assert manifests.load(connection, settings.names, file) == 4
    (drift,) = look(settings, "manifests").open
    assert (drift.tenant_id, drift.delta, drift.actual) == (
        "initech", Decimal(-1), f"events {stated[1]['events'] - 1}, hash {till_manifest()[1]['hash']}",
    )  # fmt: skip


def test_a_file_with_faults_names_them_all_and_imports_nothing(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("tenant_id,hour_start,events\nt,2024-03-01T00:30:00Z,1\nt,2024-03-01T00:00:00Z,-1\n,x,1\n")
    with postgres.connect(settings.postgres) as connection:
        with pytest.raises(UsageError, match=r"3 faulty line.*\n.*line 2: hour_start.*\n.*line 3: events.*\n.*line 4"):
            manifests.load(connection, settings.names, file)
        with pytest.raises(UsageError, match="cannot be read"):
            invoices.load(connection, settings.names, tmp_path / "absent.csv")


def test_invoices_are_compared_with_closed_periods_line_by_line(settings: Settings, tmp_path: Path) -> None:
    with connected(settings) as connection:
        closed = [("calls", "", "count", "10"), ("tokens", "a", "sum", "2.5"), ("tokens", "b", "sum", "3")]
        close(connection, settings, closed)
        file = tmp_path / "invoices.csv"

        def invoiced(*lines: str) -> dict[tuple[str | None, str | None], Decimal | None]:
            connection.execute("TRUNCATE invoiced")
            head = "invoice_id,tenant_id,customer_id,meter,dims,period_start,period_end,quantity"
            file.write_text("\n".join([head, *lines]))
            invoices.load(connection, settings.names, file)
            found = look(settings, "invoices").open
            return {(one.meter, json.loads(one.subject).get("dims")): one.delta for one in found}

        def line(meter: str, dims: str, quantity: str, invoice: str = "i1") -> str:
            return f"{invoice},billed,c,{meter},{dims},2024-03-01T00:00:00Z,2024-04-01T00:00:00Z,{quantity}"

        assert invoiced(line("calls", "", "10"), line("tokens", "", "5.5")) == {}
        assert invoiced(line("calls", "", "10"), line("tokens", "a", "2.5"), line("tokens", "b", "3")) == {}
        # A credit note for what was billed too much.
        assert invoiced(line("calls", "", "12"), line("calls", "", "-2", "c1"), line("tokens", "", "5.5")) == {}
        assert invoiced(line("calls", "", "10"), line("tokens", "", "5.4")) == {("tokens", None): Decimal("-0.1")}
        assert invoiced(line("calls", "", "10"), line("tokens", "a", "2.5")) == {("tokens", "b"): Decimal(-3)}
        assert invoiced(line("calls", "", "10"), line("tokens", "", "5.5"), line("storage", "", "1")) == {
            ("storage", None): Decimal(1)
        }


def close(connection: psycopg.Connection, settings: Settings, lines: Sequence[tuple[str, str, str, str]]) -> None:
    """A closed period of one customer that no event has."""
    closed = {
        LineKey(meter, dims): Line(aggregation, "u", 1, 1, Decimal(value)) for meter, dims, aggregation, value in lines
    }
    with connection.transaction():
        store.lock_ledger(connection, settings.names)
        at = store.now(connection)
        due = TrueUp(closes=[Close(PeriodKey("billed", "c", *MONTH), closed)])
        store.append(connection, settings.names, due, Context(at, "test", "", {}, at, 1))


def test_another_systems_numbers_are_compared_customer_by_customer(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(settings) as connection:
        columns = "tenant_id, customer_id, meter, period_start, value AS total"
        connection.execute(f"CREATE TABLE legacy AS SELECT {columns} FROM usage_total".encode())
        table = f"{settings.names.billing_schema}.legacy"
        assert {one.parity for one in shadow.compare(connection, settings.names, table)} == {Decimal(1)}
        connection.execute("UPDATE legacy SET total = total * 1.5 WHERE customer_id = 'alice' AND meter = 'calls'")
        rows = connection.execute("SELECT * FROM legacy").fetchall()
        connection.execute("CREATE VIEW without_zone AS SELECT l.*, now()::timestamp AS period_start FROM "
                           "(SELECT tenant_id, customer_id, meter, total FROM legacy) l")  # fmt: skip
        with pytest.raises(UsageError, match="no timestamp with time zone"):
            shadow.compare(connection, settings.names, f"{settings.names.billing_schema}.without_zone")
        connection.execute("DROP VIEW without_zone")
        connection.execute("UPDATE legacy SET total = 'NaN' WHERE customer_id = 'alice'")
        with pytest.raises(UsageError, match="NaN for customer alice"):
            shadow.compare(connection, settings.names, table)
        connection.execute("DROP TABLE legacy")
        with pytest.raises(UsageError, match="does not exist"):
            shadow.compare(connection, settings.names, table)
    file = tmp_path / "legacy.csv"
    lines = [",".join((*row[:3], row[3].isoformat(), str(row[4]))) for row in rows if "," not in row[1]]
    file.write_text("\n".join(["tenant_id,customer_id,meter,period_start,total", *lines]))
    printed = command(settings, monkeypatch, "shadow", str(file))
    assert isinstance(printed.exception, DifferenceError)
    assert (printed.exception.exit_code, "1 below the line of 99.9 %" in printed.output) == (4, True)
    found = json.loads(command(settings, monkeypatch, "shadow", str(file), "--json").stdout)
    worst = found["customers"][0]
    assert (worst["customer_id"], worst["meter"], worst["parity"][:6], worst["reached"]) == (
        "alice", "calls", "0.6666", False,
    )  # fmt: skip
    assert found["below"] == 1


def test_a_tolerance_lets_quantities_pass_and_never_counts(settings: Settings) -> None:
    tolerant = settings.with_changes({"reconcile.tolerance": Decimal("0.5")})
    with changed(settings, "usage_period", "total = total + 0.5"):
        assert differing(look(tolerant, "grains", "rollups")) == {}
    with changed(settings, "usage_period", "n = n + 1"):
        assert differing(look(tolerant, "rollups")) == {"rollups": 1}


def test_a_sample_finds_what_is_in_it_and_nothing_else(settings: Settings) -> None:
    with changed(settings, "usage_period", "total = total + 1") as row:
        owner = (row["tenant_id"], row["customer_id"])
        shares = [Decimal(step) / 20 for step in range(1, 20)]
        within = min(share for share in [*shares, Decimal(1)] if sampled(*owner, share))
        report = look(settings, "live", "grains", "rollups", wanted=Wanted(share=within))
        assert {**differing(report), "live": 1} == {"live": 1, "grains": 1, "rollups": 1}
        without = max((share for share in shares if not sampled(*owner, share)), default=None)
        assert without is None or differing(look(settings, "rollups", wanted=Wanted(share=without))) == {}
        assert differing(look(settings, "rollups", wanted=Wanted(owner[0]))) == {"rollups": 1}
    # What a sample or another tenant's run does not look at stays open; the same sample clears it.
    assert differing(look(settings, "grains", "rollups", wanted=Wanted("initech"))) == {}
    with postgres.connect(settings.postgres) as connection:
        assert {one.check_name for one in open_drift(connection, settings.names)} >= {"grains", "rollups"}
    assert look(settings, "live", "grains", "rollups").open == []


def test_what_is_still_moving_is_left_and_stays_open_if_it_differed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with changed(settings, "usage_day", "total = total + 1"):
        assert differing(look(settings, "rollups")) == {"rollups": 1}
        # Nothing is known to be settled: every row may still change.
        unsettled = {settings.topics.events: dict.fromkeys(end_offsets(settings.kafka, settings.topics.events), 0)}
        with monkeypatch.context() as patched:
            patched.setattr(reconcile, "_edges", lambda *_: unsettled)
            report = look(settings, "rollups")
        assert report.outcomes["rollups"].differing == 0
        assert report.outcomes["rollups"].moving > 1_000
        assert [one.check_name for one in report.open] == ["rollups"]


def test_drift_is_reported_once_and_its_end_once_and_an_explanation_ends_it_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(alerts(settings))
    with changed(settings, "usage_minute", "total = total + 1"):
        first = command(settings, monkeypatch, "run", "--check", "grains", "--no-wait", "--json")
        assert isinstance(first.exception, DifferenceError)
        assert look(settings, "grains").sent == 0, "it is reported already"
        assert [status for status, _ in alerts(settings)[before:]] == ["firing"]
        (drift,) = json.loads(command(settings, monkeypatch, "drift", "--json").stdout)["open"]
        explained = command(
            settings, monkeypatch, "explain-drift", str(drift["id"]), "--because", "a test changed it", "--by", "me"
        )
        assert explained.exit_code == 0
        again = command(settings, monkeypatch, "explain-drift", str(drift["id"]), "--because", "no", "--by", "other")
        assert "was explained by me" in str(again.exception)
        (entry,) = entries(settings, "reconcile.explain_drift")
        assert (entry.login, entry.stated_by, entry.subject) == (grants.OPS, "me", str(drift["id"]))
        assert entry.detail == {"because": "a test changed it"}
        assert [status for status, _ in alerts(settings)[before:]] == ["firing", "resolved"]
        # The same difference again is explained already; another one is not.
        assert command(settings, monkeypatch, "run", "--check", "grains", "--no-wait").exit_code == 0
    with changed(settings, "usage_minute", "total = total + 2"):
        assert len(look(settings, "grains").open) == 1
    assert look(settings, "grains").sent == 1
    assert [status for status, _ in alerts(settings)[before:]] == ["firing", "resolved", "firing", "resolved"]
    assert alerts(settings)[before][1] == {"open": 1, "by_check": {"grains": 1}}


def test_a_close_sees_what_is_open_for_its_tenant_and_for_everybody(settings: Settings) -> None:
    with (
        changed(settings, "usage_minute", "total = total + 1") as row,
        postgres.connect(settings.postgres) as connection,
    ):
        look(settings, "grains")
        own = open_drift(connection, settings.names, row["tenant_id"])
        assert [(one.customer_id, one.text[:6]) for one in own] == [(row["customer_id"], "drift ")]
        assert open_drift(connection, settings.names, "somebody else") == []
        connection.execute(
            sql.SQL(
                "INSERT INTO {drift} (reconcile_id, check_name, subject)"
                " SELECT max(reconcile_id), 'grains', '{{}}' FROM {drift}"
            ).format(drift=sql.Identifier(settings.names.billing_schema, "drift"))
        )
        for change in ("UPDATE {} SET delta = 0", "DELETE FROM {}"):
            with pytest.raises(psycopg.errors.IntegrityError, match="refused"):
                connection.execute(sql.SQL(change).format(sql.Identifier(settings.names.billing_schema, "drift")))
        assert len(open_drift(connection, settings.names, "somebody else")) == 1


@pytest.fixture
def replayed(settings: Settings) -> Iterator[Settings]:
    """A promoted replay whose rollups are those of the run; yields the settings of its run."""
    names = settings.names
    replay = settings.with_changes({"run_id": names.replay("r1")})
    migrate.migrate(replay, ledger=False)
    own = replay.names.usage_schema
    ends = {topic: end_offsets(settings.kafka, topic) for topic in (settings.topics.events, settings.topics.redrive)}
    scope = (datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))
    with connected(settings) as connection:
        for table in GRAINS:
            copy = sql.SQL("INSERT INTO {} SELECT * FROM {}")
            connection.execute(copy.format(*(sql.Identifier(s, table) for s in (own, names.usage_schema))))
        connection.execute(
            "INSERT INTO replay (replay_id, state, scope_start, scope_end, events_topic, late_until, starts, target, "
            "reached, started_by) VALUES ('r1', 'promoted', %s, %s, %s, 'epoch', '{}', '{}', %s, 'test')",
            [*scope, settings.topics.events, json.dumps(ends)],
        )
        connection.execute(
            "INSERT INTO overlay (replay_id, usage_schema, scope_start, scope_end) VALUES ('r1', %s, %s, %s)",
            [own, *scope],
        )
        rollup_views.apply(connection, names)
        yield replay
        connection.execute("DELETE FROM overlay")
        rollup_views.apply(connection, names)
        connection.execute("DELETE FROM replay")
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(own)))


def test_what_a_promoted_replay_shows_is_compared_by_its_own_rules(settings: Settings, replayed: Settings) -> None:
    report = look(settings, "grains", "rollups")
    assert (differing(report), report.outcomes["rollups"].compared > 1_000) == ({}, True)
    # A row that it shows; and one of the live run that nobody sees any more. Periods across its edge are not its own.
    whole = "period_start < '2024-01-01' OR period_end > '2025-01-01', n DESC"
    with changed(replayed, "usage_period", "total = total + 1", whole):
        assert differing(look(settings, "grains", "rollups")) == {"grains": 1, "rollups": 1}
    with changed(settings, "usage_period", "total = total + 1", whole):
        assert differing(look(settings, "grains", "rollups")) == {"grains": 1}
    # By its rules nothing was too late: what was is missing from its rollups.
    with connected(settings) as connection:
        connection.execute("UPDATE replay SET late_until = '2100-01-01'")
    report = look(settings, "rollups")
    assert report.outcomes["rollups"].differing > 10
    assert any("gigabytes" in drift.subject for drift in report.open)


def test_the_role_reconciles_until_it_is_stopped(settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    stop = threading.Event()
    changes = {"reconcile.checks": ("grains", "offsets"), "reconcile.interval_s": 1}
    service = reconcile.service(settings.with_changes(changes))
    watcher = threading.Thread(target=Supervisor({"reconcile": [service]}, stop).run)
    watcher.start()
    with connected(settings) as connection:

        def made() -> bool:
            return bool(connection.execute("SELECT count(*) >= 2 FROM reconcile_run").fetchall()[0][0])

        wait_until(made, 60, "two runs")
        stop.set()
        watcher.join(60)
        found = connection.execute("SELECT DISTINCT checks, checked, tenant_id FROM reconcile_run").fetchall()
    assert found == [(["grains", "offsets"], ["grains", "offsets"], None)]
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    assert {line["event"] for line in lines if line["component"] == "reconcile"} == {"reconciled"}


def test_a_wrong_call_says_so(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, message in (
        (["run", "--check", "everything"], "no check everything"),
        (["run", "--share", "0"], "share"),
        (["run", "--share", "some"], "is not a share"),
        (["explain-drift", "4711", "--because", "x", "--by", "me"], "no drift 4711"),
        (["shadow", "no.such_table"], "cannot be compared"),
    ):
        found = command(settings, monkeypatch, *arguments).exception
        assert isinstance(found, UsageError)
        assert message in str(found)
    with postgres.connect(settings.postgres) as connection:
        drift_store.claim(connection, settings.names)
        with pytest.raises(TidemarkError, match="is at work"):
            look(settings, "grains")


def test_a_close_that_reconciles_is_not_to_be_signed_while_a_difference_is_open(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = settings.with_changes({"close.settle_s": 1})
    monkeypatch.setattr("tidemark.cli.close.load", lambda **_: hasty)
    # What grains do not compare: two grains that differ are looked at again and again before they are believed.
    with changed(settings, "usage_hour", "lo = lo - 1"), connected(settings) as connection:
        done = CliRunner().invoke(app, ["close", "--reconcile"])
        assert isinstance(done.exception, DifferenceError)
        assert connection.execute("SELECT count(*) FROM reconcile_run").fetchall() == [(2,)]


def test_where_the_topic_no_longer_reaches_only_what_it_holds_whole_is_compared(
    settings: Settings, records: list[StreamRecord]
) -> None:
    # Last, because what is deleted is gone: the first half of each partition.
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap)
    try:
        ends = end_offsets(settings.kafka, settings.topics.events)
        admin.delete_records({TopicPartition(settings.topics.events, part): end // 2 for part, end in ends.items()})
    finally:
        admin.close()
    report = look(settings, "offsets", "rollups")
    assert "starts at offset" in report.outcomes["offsets"].not_checked
    assert (report.outcomes["rollups"].compared > 500, report.open) == (True, [])
    assert "no longer complete" in report.outcomes["rollups"].notes[0]
    # An earlier run has recorded up to where it had compared, when all before was counted: behind it, the log adds up.
    starts = dict(Counter(record.partition for record in records[:-LAST]))
    assert all(end // 2 <= starts[part] < end for part, end in ends.items())
    for age_days, offsets in ((30, {part: end // 2 for part, end in ends.items()}), (10, starts)):
        recorded = {settings.topics.events: offsets, settings.topics.redrive: {}, settings.names.deltas: {}}
        with connected(settings) as connection:
            connection.execute(
                """INSERT INTO reconcile_run (started_at, checks, checked, offsets, outcome)
                   VALUES (now() - %s * interval '1 day', '{old}', '{}', %s, '{}')""",
                [age_days, Jsonb(recorded)],
            )
    with connected(settings) as connection:
        # The runs of this test have recorded the end of the log.
        connection.execute("UPDATE reconcile_run SET offsets = '{}' WHERE checks <> '{old}'")
    again = look(settings, "offsets")
    assert (again.outcomes["offsets"].not_checked, again.open) == ("", [])
    assert "retention has removed some" in again.outcomes["offsets"].notes[0]
    with postgres.connect(settings.postgres) as connection:
        latest, earliest = (StoredRow(connection, settings, "usage_hour", f"hour_start {way}") for way in ("DESC", ""))
        earliest.write("total = total + 1")
        assert differing(look(settings, "rollups")) == {}
        latest.write("total = total + 1")
        assert differing(look(settings, "rollups")) == {"rollups": 1}
        latest.restore()
        earliest.restore()
