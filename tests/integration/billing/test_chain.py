"""The chain of the ledger on real Postgres and Kafka: what an owner changes behind the triggers is found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tests.integration.storage import own_run
from tidemark.billing import chain, outbox, store
from tidemark.billing.lines import Line, LineKey, Lines, PeriodKey
from tidemark.billing.messages import Context
from tidemark.billing.recorded import records
from tidemark.billing.true_up import true_up
from tidemark.core import postgres, topics
from tidemark.core.kafka import Sender
from tidemark.core.settings import Settings
from tidemark.reconcile import ledger
from tidemark.reconcile.findings import Outcome
from tidemark.reconcile.sample import Wanted

START = datetime(2024, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
CALLS = LineKey("calls", '{"region":"eu"}')
FIRST, SECOND, OTHER = (
    PeriodKey("acme", "ann", START, START + DAY),
    PeriodKey("acme", "bob", START, START + DAY),
    PeriodKey("umbrella", "cleo", START, START + DAY),
)


def line(value: str) -> Lines:
    return {CALLS: Line("sum", "calls", 2, 2, Decimal(value)), LineKey("seats", ""): Line("max", "s", 1, 1, Decimal(3))}


def append(run: Settings, wanted: dict[PeriodKey, Lines]) -> None:
    with postgres.connect(run.postgres.ledger) as connection, connection.transaction():
        store.lock_ledger(connection, run.names)
        due = true_up(store.read_entries(connection, run.names, sorted(wanted)), wanted)
        rests_on = {"usage.events.redrive": {"0": 3}, "usage.events": {"10": 4, "9": 7}}
        at = store.now(connection)
        store.append(connection, run.names, due, Context(at, "test", "", rests_on, at, 0))


@pytest.fixture(scope="module")
def run(stack: Any) -> Iterator[Settings]:
    """Three closes of two tenants and three corrections, two of them of one period, all published."""
    with own_run(stack.settings) as settings:
        topics.apply(settings)
        append(settings, {FIRST: line("5.5"), SECOND: line("7"), OTHER: {}})
        append(settings, {FIRST: line("6.25"), OTHER: line("1")})
        # A line goes, and another changes its unit.
        append(settings, {FIRST: {CALLS: Line("sum", "kcalls", 4, 3, Decimal("0.000000001"))}})
        outbox.publish(settings)
        yield settings


def checked(run: Settings, connection: psycopg.Connection, wanted: Wanted | None = None) -> Outcome:
    with connection.transaction():
        return ledger.check(run, connection, wanted or Wanted())


def found(outcome: Outcome) -> set[tuple[str, int, str]]:
    """Customer, number of the correction, and what differs."""
    return {
        (str(one.subject["customer_id"]), int(one.subject["correction_no"]), str(one.subject["what"]))
        for one in outcome.findings
    }


@contextmanager
def tampered(run: Settings, *statements: str) -> Iterator[psycopg.Connection]:
    """A transaction of the owner that turned the triggers off and changed something; it is rolled back."""
    with postgres.connect(run.postgres.owner) as connection, connection.transaction(force_rollback=True):
        postgres.use_schema(connection, run.names.billing_schema)
        for table in ("period_close", "period_close_line", "correction", "correction_line"):
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
        for statement in statements:
            assert connection.execute(statement.encode()).rowcount > 0, statement
        yield connection


def test_a_ledger_that_nobody_touched_is_equal_to_what_was_published(run: Settings) -> None:
    with postgres.connect(run.postgres.ops) as connection:
        outcome = checked(run, connection)
        assert (outcome.compared, outcome.findings, outcome.notes) == (6, [], [])
        own = checked(run, connection, Wanted("acme"))
        assert (own.compared, own.findings) == (4, [])


def test_the_chain_of_each_tenant_has_no_gap(run: Settings) -> None:
    with postgres.connect(run.postgres.ops) as connection, connection.transaction():
        heads = [recorded.head for recorded in records(connection, run.names)]
    links = sorted((head.tenant_id, head.chain_no, head.previous_hash, head.record_hash) for head in heads)
    assert [(tenant, number) for tenant, number, _, _ in links] == [
        ("acme", 1), ("acme", 2), ("acme", 3), ("acme", 4), ("umbrella", 1), ("umbrella", 2),
    ]  # fmt: skip
    hashes = [chain.BEGINNING, *(record_hash for _, _, _, record_hash in links)]
    assert [previous for _, _, previous, _ in links] == [*hashes[:4], chain.BEGINNING, hashes[5]]


OF_BOB = "WHERE customer_id = 'bob'"
OF_ANN = "WHERE customer_id = 'ann'"


@pytest.mark.parametrize(
    ("statements", "finds"),
    [
        (
            [f"UPDATE period_close_line SET value = value + 1 {OF_BOB} AND meter = 'calls'"],
            {("bob", 0, "content"), ("bob", 0, "record"), ("bob", 0, "published")},
        ),
        ([f"UPDATE period_close SET closed_by = 'ann' {OF_BOB}"], {("bob", 0, "record"), ("bob", 0, "published")}),
        ([f"UPDATE period_close SET content_hash = repeat('a', 64) {OF_BOB}"],
         {("bob", 0, "content")}),
        ([f"UPDATE period_close SET record_hash = repeat('a', 64) {OF_BOB}"],
         {("bob", 0, "record"), ("ann", 1, "chain")}),
        # A number of a correction that does not follow from the number before it.
        (
            [f"UPDATE correction_line SET before = 5, delta = after - 5 {OF_ANN} AND correction_no = 1"],
            {("ann", 1, "line")},
        ),
        # A record in the middle of a chain.
        (
            [f"DELETE FROM correction_line {OF_ANN} AND correction_no = 1",
             f"DELETE FROM correction {OF_ANN} AND correction_no = 1"],
            {("ann", 1, "published"), ("ann", 2, "chain"), ("ann", 2, "line"), ("ann", 2, "record"),
             ("ann", 2, "published")},
        ),
        # The newest one, which no other one follows.
        (
            [f"DELETE FROM correction_line {OF_ANN} AND correction_no = 2",
             f"DELETE FROM correction {OF_ANN} AND correction_no = 2"],
            {("ann", 2, "published")},
        ),
        # A period that was never published, in no chain.
        (
            [("INSERT INTO period_close (tenant_id, customer_id, period_start, period_end, closed_by, run_id,"
             " catalog_revision, watermark, rests_on, dead_letters, lines, content_hash) SELECT tenant_id, 'dan',"
             " period_start, period_end, closed_by, run_id, catalog_revision, watermark, rests_on, dead_letters, 0,"
             f" content_hash FROM period_close {OF_BOB}")],
            {("dan", 0, "content"), ("dan", 0, "chain"), ("dan", 0, "published")},
        ),
    ],
)  # fmt: skip
def test_what_an_owner_changes_is_found(run: Settings, statements: list[str], finds: set[tuple[str, int, str]]) -> None:
    with tampered(run, *statements) as connection:
        assert found(checked(run, connection)) == finds


def test_who_makes_all_hashes_of_a_record_anew_breaks_the_chain(run: Settings) -> None:
    with tampered(run, f"UPDATE period_close_line SET value = 1 {OF_BOB} AND meter = 'calls'") as connection:
        (bob,) = [one for one in records(connection, run.names, "acme") if one.head.customer_id == "bob"]
        anew = [bob.lines_hash, chain.hash_of(bob.body)]
        statement = f"UPDATE period_close SET (content_hash, record_hash) = (%s, %s) {OF_BOB}"
        connection.execute(statement.encode(), anew)
        assert found(checked(run, connection)) == {("ann", 1, "chain"), ("bob", 0, "published")}
        assert found(checked(run, connection, Wanted("umbrella"))) == set()


def test_what_waits_to_be_published_is_no_difference_and_what_somebody_else_published_is(run: Settings) -> None:
    later = PeriodKey("umbrella", "cleo", START + DAY, START + 2 * DAY)
    append(run, {later: line("2")})
    with postgres.connect(run.postgres.ops) as connection:
        assert (checked(run, connection).compared, found(checked(run, connection))) == (7, set())
        with Sender(run.kafka) as sender:
            sender.send(run.names.closes, b"{}", partition=0)
        (strange,) = checked(run, connection).findings
    assert strange.subject["topic"] == "closes"


def test_the_account_of_the_ledger_is_of_all_columns(run: Settings) -> None:
    # A column that a later migration adds has to be in the record: all but the hash of the record itself.
    with postgres.connect(run.postgres.ops) as connection, connection.transaction():
        body = next(records(connection, run.names)).body
        statement = "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s"
        columns = connection.execute(statement, [run.names.billing_schema, "period_close"]).fetchall()
    assert {name for (name,) in columns if f'"{name}":' not in body} == {"record_hash"}
