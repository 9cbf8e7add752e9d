"""The ledger on real Postgres and Kafka: random interleavings end where a recomputation does, reported exactly once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql

from jobs.flink.rest import wait_until
from tests.integration.billing.ledger_world import CATALOG, CUSTOMERS, DAY, DAYS, START, TENANT, Event, World
from tests.integration.storage import own_run
from tidemark.billing import close as ledger_close
from tidemark.billing import outbox, periods, store
from tidemark.billing.drift import open_drift
from tidemark.billing.lines import Line, LineKey, Lines, PeriodKey, same
from tidemark.billing.messages import Context, LedgerReader
from tidemark.billing.refusals import DeadLetterCounts
from tidemark.billing.sources import ActiveVersions
from tidemark.billing.true_up import Cause, Close, TrueUp, current_periods, true_up
from tidemark.billing.watermark import Watermark
from tidemark.catalog import tool as catalog_tool
from tidemark.core import migrate, postgres, rollup_views, topics
from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.kafka import dump, end_offsets
from tidemark.core.names import Names
from tidemark.core.settings import Settings
from tidemark.reconcile import drift_store as reconcile_store
from tidemark.reconcile import ledger as ledger_check
from tidemark.reconcile.drift_store import Done
from tidemark.reconcile.findings import Finding, Outcome
from tidemark.reconcile.sample import Wanted
from udfs.values import rfc3339

STEPS = 60
REPLAYS = ("r1", "r2")
ALL = [PeriodKey(TENANT, name, START + n * DAY, START + (n + 1) * DAY) for name in CUSTOMERS for n in range(DAYS)]
NO_DEAD_LETTERS = DeadLetterCounts({}, {})
_OVERLAY = """
INSERT INTO {}.overlay (replay_id, usage_schema, tenants, scope_start, scope_end) VALUES (%s, %s, %s, %s, %s)
"""
LEDGER_TABLES = ("period_close", "period_close_line", "correction", "correction_line", "outbox")


@pytest.fixture
def run(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A migrated run with two replays of its own, topics, and the catalog of the small world."""
    file = tmp_path_factory.mktemp("ledger") / "catalog.yaml"
    file.write_text(yaml.safe_dump({"valid_from": "beginning", **CATALOG}))
    with own_run(stack.settings) as settings:
        topics.apply(settings)
        catalog_tool.apply(settings, file, backdate=True, prune=True, all_tenants=True)
        replays = [settings.with_changes({"run_id": settings.names.replay(one)}) for one in REPLAYS]
        for one in replays:
            migrate.migrate(one, ledger=False)
        try:
            yield settings
        finally:
            with postgres.connect(settings.postgres) as connection:
                for one in replays:
                    statement = sql.SQL("DROP SCHEMA {} CASCADE")
                    connection.execute(statement.format(sql.Identifier(one.names.usage_schema)))


class Dying:
    """A connection whose backend is ended with the statement number `after`."""

    def __init__(self, settings: Settings, connection: psycopg.Connection, after: int) -> None:
        self._settings, self._connection, self._left = settings, connection, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, *arguments: Any) -> Any:
        self._count()
        return self._connection.execute(*arguments)

    def cursor(self) -> Any:
        self._count()
        return self._connection.cursor()

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            with postgres.connect(self._settings.postgres) as other:
                other.execute("SELECT pg_terminate_backend(%s)", [self._connection.info.backend_pid])


class Machine:
    """Does random things to a ledger, crashes among them, and knows what it has to say."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self.settings, self.rng = settings, random.Random(seed)
        names = settings.names
        self.schemas = {one: Names(names.replay(one)).usage_schema for one in REPLAYS}
        self.scopes = {"r1": (START, START + 2 * DAY, None), "r2": (START + DAY, START + 4 * DAY, [TENANT])}
        rules: dict[str, Callable[[Event], Decimal]] = {
            names.usage_schema: lambda event: event.value,
            self.schemas["r1"]: lambda event: event.value + event.value,
            self.schemas["r2"]: lambda event: -event.value,
        }
        self.world = World(self.rng, rules)
        self.promoted: list[str] = []
        self.watermark = 0
        self.known: list[tuple[datetime, set[Any]]] = []

    def step(self) -> None:
        actions = [
            self.happen, self.happen, self.take_back, self.close, self.correct, self.promote_or_revert, self.publish,
            self.crash,
        ]  # fmt: skip
        self.rng.choice(actions)()

    def happen(self) -> None:
        """Usage of a day, closed ones too: a redriven dead letter."""
        self._write(self.world.happen(range(DAYS)))

    def take_back(self) -> None:
        event = self.world.take_back()
        if event is not None:
            self._write(event)

    def close(self) -> None:
        """The watermark passes a day."""
        self.watermark = min(self.watermark + 1, DAYS)
        with postgres.connect(self.settings.postgres) as connection:
            self._close(connection)

    def correct(self) -> None:
        with postgres.connect(self.settings.postgres) as connection:
            ledger_close.correct(connection, self.settings, self._active(connection), "test")
            self.check(connection)

    def promote_or_revert(self) -> None:
        """Promote a replay, or revert the one promoted last."""
        with postgres.connect(self.settings.postgres) as connection:
            self._promote_or_revert(connection)
            # It includes usage since the last check, for the periods in its scope; the next check does the rest.
            ledger_close.correct(connection, self.settings, self._active(connection), "test")
            self.check(connection)

    def publish(self) -> None:
        outbox.publish(self.settings)

    def crash(self) -> None:
        """Do one action on a connection that ends in the middle, then check everything."""
        promoted = list(self.promoted)
        act = self.rng.choice([self._close, self._correct_alone, self._promote_or_revert])
        with suppress(UnavailableError, TidemarkError), postgres.connect(self.settings.postgres) as connection:
            act(Dying(self.settings, connection, self.rng.randrange(2, 14)))
        with postgres.connect(self.settings.postgres) as connection:
            stack = [overlay.usage_schema for overlay in rollup_views.overlays(connection, self.settings.names)]
            self.promoted = [replay for replay in REPLAYS if self.schemas[replay] in stack]
            self.promoted.sort(key=lambda replay: stack.index(self.schemas[replay]))
            assert self.promoted == promoted or act == self._promote_or_revert
            ledger_close.correct(connection, self.settings, self._active(connection), "test")
            self.check(connection)

    def check(self, connection: psycopg.Connection) -> None:
        """Closed periods equal the recomputed events; and the views equal the ledger."""
        entries = store.read_entries(connection, self.settings.names, ALL)
        for key, entry in entries.items():
            expected = self.world.right(key, self.schema_of)
            assert same(entry.lines, expected), (key, self.promoted)
            assert entry.is_current
        at, rows = self._seen(connection)
        assert rows == {
            (key.customer_id, key.start, line.meter, value.value)
            for key, entry in entries.items()
            for line, value in entry.lines.items()
        }
        self.known.append((at, rows))

    def schema_of(self, start: datetime) -> str:
        """The active version of the rollups for a day."""
        for replay in reversed(self.promoted):
            scope_start, scope_end, _ = self.scopes[replay]
            if scope_start <= start < scope_end:
                return self.schemas[replay]
        return self.settings.names.usage_schema

    def _seen(self, connection: psycopg.Connection) -> tuple[datetime, set[Any]]:
        return store.now(connection), self.rows(connection, "usage_corrected")

    def rows(self, connection: psycopg.Connection, relation: str, *values: Any) -> set[Any]:
        schema = sql.Identifier(self.settings.names.billing_schema)
        arguments = sql.SQL("({})").format(sql.Placeholder()) if values else sql.SQL("")
        statement = sql.SQL("SELECT customer_id, period_start, meter, value FROM {}.{}{}")
        return set(connection.execute(statement.format(schema, sql.Identifier(relation), arguments), values))

    def _active(self, connection: Any) -> ActiveVersions:
        at = START + self.watermark * DAY + timedelta(seconds=self.settings.events.grace_s)
        watermark = Watermark(at, "", {"usage.events": {0: 7}}, {})
        return ActiveVersions(rollup_views.overlays(connection, self.settings.names), {self.settings.run_id: watermark})

    def _close(self, connection: Any) -> None:
        keys = [key for key in ALL if key.end <= START + self.watermark * DAY]
        active = self._active(connection)
        if keys:
            ledger_close.update_ledger(
                connection, self.settings, active, self.settings.run_id, "test", keys, NO_DEAD_LETTERS
            )

    def _correct_alone(self, connection: Any) -> None:
        ledger_close.correct(connection, self.settings, self._active(connection), "test")

    def _promote_or_revert(self, connection: Any) -> None:
        left = [name for name in REPLAYS if name not in self.promoted]
        promotes = left and (not self.promoted or self.rng.random() < 0.5)
        replay = self.rng.choice(left) if promotes else self.promoted[-1]
        start, end, tenants = self.scopes[replay]
        names, schema = self.settings.names, sql.Identifier(self.settings.names.billing_schema)
        with connection.transaction():
            store.lock_ledger(connection, names)
            if promotes:
                connection.execute(
                    sql.SQL(_OVERLAY).format(schema), [replay, self.schemas[replay], tenants, start, end]
                )
            else:
                connection.execute(sql.SQL("DELETE FROM {}.overlay WHERE replay_id = %s").format(schema), [replay])
            rollup_views.apply(connection, names)
            cause: Cause = "replay" if promotes else "revert"
            self._true_up(connection, start, cause, replay)
        self.promoted = [*self.promoted, replay] if promotes else self.promoted[:-1]

    def _true_up(self, connection: Any, start: datetime, cause: Cause, replay: str) -> None:
        """As a promotion does: all closed periods from its start on, because levels last beyond the scope."""
        names = self.settings.names
        entries = store.read_entries(connection, names, [key for key in ALL if key.start >= start])
        catalog = periods.catalog_of(self.settings)
        used = periods.with_usage(connection, names, catalog, [TENANT], start, None, START + DAYS * DAY)
        final = current_periods(entries, used & entries.keys())
        due = true_up(entries, store.wanted_lines(connection, names, sorted(final)))
        context = Context(store.now(connection), "test", "", {}, START, store.catalog_revision(connection))
        store.append(connection, names, due, context, cause=cause, replay_id=replay)

    def _write(self, event: Event) -> None:
        with postgres.connect(self.settings.postgres) as connection:
            for schema in (self.settings.names.usage_schema, *self.schemas.values()):
                self.world.write(connection, schema, event.customer, event.start)


def consumed(settings: Settings) -> LedgerReader:
    """The ledger as a consumer of both topics sees it; every seq once and in order."""
    reader = LedgerReader()
    for topic, take in ((settings.names.closes, reader.close), (settings.names.corrections, reader.correct)):
        last = 0
        for record in dump(settings.kafka, topic):
            seq = int(dict(record.headers)["seq"])
            assert seq > last
            last = seq
            take(record.value or b"")
    return reader


@pytest.mark.parametrize("seed", [1, 2])
def test_close_and_corrections_are_the_recomputed_totals_whatever_happens(run: Settings, seed: int) -> None:
    machine = Machine(run, seed)
    for _ in range(STEPS):
        machine.step()
    # In the end everything is closed, checked and published.
    machine.watermark = DAYS
    machine.close()
    machine.correct()
    outbox.publish(run)
    with postgres.connect(run.postgres) as connection:
        entries = store.read_entries(connection, run.names, ALL)
        assert entries.keys() == set(ALL)
        assert sum(entry.corrections for entry in entries.values()) > 10
        reader = consumed(run)
        assert reader.entries.keys() == entries.keys()
        for key, entry in entries.items():
            assert same(reader.entries[key].lines, entry.lines)
            assert reader.entries[key].corrections == entry.corrections
        # The chain and what was published are those of the tables, whatever crashed.
        with connection.transaction():
            checked = ledger_check.check(run, connection, Wanted())
        assert (checked.compared, checked.findings) == (len(ALL) + sum(e.corrections for e in entries.values()), [])
        # What was known at an instant is known of it for ever.
        for at, rows in machine.known[:: max(1, len(machine.known) // 8)]:
            assert machine.rows(connection, "usage_known_at", at) == rows


def test_what_was_closed_or_corrected_is_never_changed(run: Settings) -> None:
    key = ALL[0]
    with postgres.connect(run.postgres) as connection:
        fill(connection, run, [key])
        lines = {LineKey("bytes", ""): Line("sum", "B", 2, 2, Decimal(2))}
        due = true_up(store.read_entries(connection, run.names, [key]), {key: lines})
        store.append(connection, run.names, due, context(connection))
        for table in LEDGER_TABLES:
            name = sql.Identifier(run.names.billing_schema, table)
            column = sql.Identifier("seq" if table == "outbox" else "tenant_id")
            for statement in ("UPDATE {} SET {} = DEFAULT", "DELETE FROM {}", "TRUNCATE {} CASCADE"):
                with pytest.raises(psycopg.errors.IntegrityError, match="never changes"):
                    connection.execute(sql.SQL(statement).format(name, column))


@pytest.mark.drill
def test_a_teller_that_is_killed_again_and_again_tells_everything_once(run: Settings) -> None:
    rng = random.Random(3)
    keys = [PeriodKey(TENANT, f"c{n}", START, START + DAY) for n in range(1_000)]
    with postgres.connect(run.postgres) as connection:
        fill(connection, run, keys)
        lines = {LineKey("bytes", ""): Line("sum", "B", 2, 2, Decimal(2))}
        due = true_up(store.read_entries(connection, run.names, keys), dict.fromkeys(keys, lines))
        store.append(connection, run.names, due, context(connection))
    # Small transactions, killed wherever they are as soon as a few more records were written.
    script = (
        "from tidemark.billing import outbox; from tidemark.core.settings import load; outbox.BATCH = 20; "
        f"outbox.publish(load(run_id={run.run_id!r}))"
    )
    for _ in range(5):
        before, more = written(run), rng.randrange(1, 300)
        process = subprocess.Popen([sys.executable, "-c", script], env=dict(os.environ))
        try:
            wait_until(
                lambda: written(run) >= before + more or process.poll() is not None,  # noqa: B023
                60, "the teller to write", every_s=0.01,
            )  # fmt: skip
        finally:
            process.kill()
            process.wait(30)
    outbox.publish(run)
    reader = consumed(run)
    assert reader.entries.keys() == set(keys)
    assert {entry.corrections for entry in reader.entries.values()} == {1}
    with postgres.connect(run.postgres) as connection:
        assert outbox.pending(connection, run) == 0
    assert outbox.publish(run) == 0


def test_two_tellers_at_once_tell_everything_once(run: Settings) -> None:
    keys = [PeriodKey(TENANT, f"c{n}", START, START + DAY) for n in range(1_500)]
    with postgres.connect(run.postgres) as connection:
        fill(connection, run, keys)
    failures: list[Exception] = []

    def teller() -> None:
        try:
            outbox.publish(run)
        except TidemarkError as error:
            failures.append(error)

    threads = [threading.Thread(target=teller) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    outbox.publish(run)
    assert consumed(run).entries.keys() == set(keys)
    assert len(failures) <= 1


def test_a_row_that_was_sent_and_not_noted_is_not_sent_again(run: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with postgres.connect(run.postgres) as connection:
        fill(connection, run, ALL)

    def crash(*_: Any) -> None:
        raise RuntimeError("crashed between the commit and its note")

    with monkeypatch.context() as patched:
        patched.setattr(outbox, "_store_position", crash)
        with pytest.raises(RuntimeError):
            outbox.publish(run)
    assert outbox.publish(run) == 0
    assert consumed(run).entries.keys() == set(ALL)


def test_what_is_late_drifting_or_without_a_calendar_is_refused_and_the_rest_is_closed(
    run: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given usage of four days, of which the rollups hold all that arrived until two of them were final.
    world = World(random.Random(5), {run.names.usage_schema: lambda event: event.value})
    events = [world.happen(range(DAYS)) for _ in range(40)]
    at = START + 2 * DAY + timedelta(seconds=run.events.grace_s)
    active = ActiveVersions([], {run.run_id: Watermark(at, "", {run.topics.events: {0: 7}}, {})})
    monkeypatch.setattr(ledger_close, "drained", lambda *_: (active, None))
    with postgres.connect(run.postgres) as connection:
        # Of "old", which has usage of its first day alone, the calendar ends after it.
        world.events.append(Event("old", START + timedelta(hours=1), Decimal(1), 0))
        for event in [*events, world.events[-1]]:
            world.write(connection, run.names.usage_schema, event.customer, event.start)
        # Reconciliation found a difference of b.
        finding = Finding({"tenant_id": TENANT, "customer_id": "b", "meter": "bytes"}, "1", "2", Decimal(1))
        outcome = Outcome(compared=1, findings=[finding], differing=1)
        reconcile_store.record(
            connection, run.names, Done(store.now(connection), Wanted(), None, {}, {"rollups": outcome})
        )
        found = ledger_close.close(run, "test")
        refused = {one.cause: one for one in found.refused}
        assert refused.keys() == {"calendar", "lag", "drift"}
        assert f"{TENANT}/old" in refused["calendar"].detail
        assert set(refused["drift"].periods) == {
            key for key in ALL if key.customer_id == "b" and key.end <= START + 2 * DAY
        }
        assert "is 2, expected 1" in refused["drift"].detail
        # By the clock all days until the day before yesterday are due.
        assert {key for key in ALL if key.end > START + 2 * DAY} < set(refused["lag"].periods)
        assert found.closes == 2 + 1
        entries = store.read_entries(connection, run.names, ALL)
        assert entries.keys() == {key for key in ALL if key.customer_id == "a" and key.end <= START + 2 * DAY}
        # What is open is labelled so, with the instant from which on it can be final.
        seen = set(connection.execute(labels(run)))
        grace = timedelta(seconds=run.events.grace_s)
        for key in {key for key in ALL if world.right(key, lambda _: run.names.usage_schema)} - entries.keys():
            assert (key.customer_id, key.start, f"estimate, final at {rfc3339(key.end + grace)}") in seen
        closed = {("old", START), *((key.customer_id, key.start) for key in entries)}
        assert {row[:2] for row in seen if row[2] == "final"} <= closed
        # When somebody explained it, the others close too.
        (drift,) = open_drift(connection, run.names)
        reconcile_store.explain(connection, run.names, drift.id, "counted by hand", "test")
        assert ledger_close.close(run, "test").closes == 2


def test_a_close_of_many_periods_takes_seconds(run: Settings) -> None:
    # A measure for people to read, not a bound: see the durations of the tests.
    keys = [PeriodKey(TENANT, f"c{n}", START, START + DAY) for n in range(5_000)]
    watermark = Watermark(START + DAY, "", {run.topics.events: {0: 7}}, {})
    with postgres.connect(run.postgres) as connection:
        done = ledger_close._close(
            connection, run, ActiveVersions([], {run.run_id: watermark}), "test", keys, NO_DEAD_LETTERS, lambda _: None
        )
        assert done == len(keys)
        assert outbox.publish(run) == len(keys)


def fill(connection: psycopg.Connection, settings: Settings, keys: list[PeriodKey]) -> None:
    """Close periods with a line each."""
    lines: Lines = {LineKey("bytes", ""): Line("sum", "B", 1, 1, Decimal(1))}
    with connection.transaction():
        store.lock_ledger(connection, settings.names)
        store.append(connection, settings.names, TrueUp([Close(key, lines) for key in keys]), context(connection))


def labels(settings: Settings) -> sql.Composed:
    """What is said of the numbers of each period."""
    schema = sql.Identifier(settings.names.billing_schema)
    return sql.SQL("SELECT customer_id, period_start, status FROM {}.usage_current").format(schema)


def context(connection: psycopg.Connection) -> Context:
    return Context(store.now(connection), "test", "", {}, START, store.catalog_revision(connection))


def written(settings: Settings) -> int:
    """Records of both topics, committed or not."""
    return sum(
        sum(end_offsets(settings.kafka, topic).values())
        for topic in (settings.names.closes, settings.names.corrections)
    )
