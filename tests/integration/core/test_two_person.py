"""The two-person rule on the real server, with two logins: an act uses up the approval of the other, or is refused."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from infra.local.prepare import connect_admin
from tests.integration.audited import entries
from tests.integration.catalog.own_database import own_database
from tidemark.billing import audited
from tidemark.billing.lines import PeriodKey
from tidemark.billing.refusals import DeadLetterCounts
from tidemark.billing.true_up import Close, TrueUp
from tidemark.core import audit, grants, postgres, two_person
from tidemark.core.errors import TidemarkError
from tidemark.core.migrate import migrate
from tidemark.core.settings import Settings
from tidemark.reconcile import drift_store

RULE = ("reconcile.explain_drift", "close.accept_dead_letters", "replay.promote")
EXPLAIN = "reconcile.explain_drift"
PERIOD = PeriodKey("acme", "bob", datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC))
People = dict[str, psycopg.Connection]


@pytest.fixture(scope="module")
def settings(stack: Any) -> Iterator[Settings]:
    """A database with the rule, and three differences."""
    with own_database(stack, "twopeople") as own:
        migrate(own.with_changes({"audit.two_person": RULE}))
        with postgres.connect(own.postgres.ops) as connection:
            (number,) = connection.execute(
                "INSERT INTO billing.reconcile_run (started_at, checks, checked, offsets, outcome)"
                " VALUES (now(), '{grains}', '{grains}', '{}', '{}') RETURNING id"
            ).fetchall()[0]
            for subject in ("one", "two", "three"):
                connection.execute(
                    "INSERT INTO billing.drift (reconcile_id, check_name, subject) VALUES (%s, 'grains', %s)",
                    [number, subject],
                )
        yield own


@pytest.fixture(scope="module")
def people(stack: Any, settings: Settings) -> Iterator[People]:
    """Connections of two people with logins of their own, members of the same role."""
    url = urlsplit(settings.postgres.url)
    with ExitStack() as opened:
        admin = opened.enter_context(connect_admin(stack.local.paths, url.port or 0, url.path[1:]))
        yield {name: opened.enter_context(person(admin, settings, name)) for name in ("ann", "bob")}


@contextmanager
def person(admin: psycopg.Connection, settings: Settings, name: str) -> Iterator[psycopg.Connection]:
    login, password = f"{name}_{secrets.token_hex(4)}", secrets.token_hex(16)
    role, url = sql.Identifier(login), urlsplit(settings.postgres.url)
    admin.execute(
        sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}, {}").format(
            role, sql.Literal(password), sql.Identifier(grants.OPS), sql.Identifier(grants.LEDGER)
        )
    )
    try:
        with psycopg.connect(
            host="127.0.0.1", port=url.port, dbname=url.path[1:], user=login, password=password, autocommit=True
        ) as connection:
            yield connection
    finally:
        admin.execute(sql.SQL("DROP ROLE {}").format(role))


def explain(settings: Settings, connection: psycopg.Connection, number: int) -> None:
    with connection.transaction():
        drift_store.explain(connection, settings.names, number, "a row was restored", "somebody")


def explained(connection: psycopg.Connection) -> list[int]:
    rows = connection.execute("SELECT id FROM billing.drift WHERE explained_at IS NOT NULL ORDER BY id").fetchall()
    return [row[0] for row in rows]


def test_an_act_needs_the_approval_of_another_login_and_uses_it_up(settings: Settings, people: People) -> None:
    ann, bob = people["ann"], people["bob"]
    with pytest.raises(TidemarkError, match="needs an approval of another login") as refused:
        explain(settings, ann, 1)
    assert "tidemark approve reconcile.explain_drift 1" in refused.value.fix
    # Neither what she states, nor her own approval, nor one of something else lets her.
    two_person.approve(ann, "", EXPLAIN, "1", by="bob")
    two_person.approve(bob, "", EXPLAIN, "2")
    two_person.approve(bob, "", "replay.promote", "1")
    two_person.approve(bob, "trial", EXPLAIN, "1")
    with pytest.raises(TidemarkError, match="needs an approval"):
        explain(settings, ann, 1)
    assert (explained(ann), entries(settings, EXPLAIN)) == ([], [])
    number = two_person.approve(bob, "", EXPLAIN, "1")
    explain(settings, ann, 1)
    assert explained(ann) == [1]
    (entry,) = entries(settings, EXPLAIN)
    used = ann.execute("SELECT approval_id, used_by FROM audit.approval_use").fetchall()
    assert used == [(number, entry.entry_id)]
    assert entry.login.startswith("ann_")


def test_an_approval_is_for_one_act_and_comes_back_when_the_act_fails(settings: Settings, people: People) -> None:
    ann, bob = people["ann"], people["bob"]
    two_person.approve(bob, "", EXPLAIN, "3")

    def twice() -> None:
        with ann.transaction():
            drift_store.explain(ann, settings.names, 3, "first", "ann")
            audit.record(ann, "", "reconcile.explain_drift", "3")

    with pytest.raises(TidemarkError, match="needs an approval"):
        twice()
    assert 3 not in explained(ann), "the second act failed, and the first with it"
    explain(settings, ann, 3)
    assert 3 in explained(ann)


def test_an_approval_of_yesterday_does_not_count(settings: Settings, people: People) -> None:
    ann, bob = people["ann"], people["bob"]
    number = two_person.approve(bob, "", "replay.promote", "old")
    with postgres.connect(settings.postgres.owner) as connection:
        connection.execute("ALTER TABLE audit.entry DISABLE TRIGGER append_only")
        connection.execute("UPDATE audit.entry SET at = at - interval '25 hours' WHERE entry_id = %s", [number])
        connection.execute("ALTER TABLE audit.entry ENABLE TRIGGER append_only")
    with pytest.raises(TidemarkError, match="not older than a day"):
        audit.record(ann, "", "replay.promote", "old")


def test_accepted_dead_letters_close_nothing_without_the_other_person(settings: Settings, people: People) -> None:
    ann, bob = people["ann"], people["bob"]
    due = TrueUp(closes=[Close(PERIOD, {}), Close(PERIOD._replace(start=PERIOD.end - timedelta(days=1)), {})])
    counts = DeadLetterCounts({PERIOD: 7}, {PERIOD: 5}, accepted={PERIOD})

    def closed() -> None:
        with ann.transaction():
            audited.record(ann, settings.names, "ann", due, counts)

    with pytest.raises(TidemarkError, match="acme/bob"):
        closed()
    assert entries(settings, "close") == []
    two_person.approve(bob, "", "close.accept_dead_letters", "acme/bob")
    closed()
    assert [entry.action for entry in entries(settings, "close")] == ["close.close", "close.accept_dead_letters"]
    (period,) = entries(settings, "close.accept_dead_letters")[0].detail["periods"]
    assert (period["dead_letters"], period["open"]) == (7, 5)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit.two_person",
        "INSERT INTO audit.approval_use SELECT max(entry_id), max(entry_id) FROM audit.entry",
        "ALTER TABLE audit.entry DISABLE TRIGGER require_approval",
    ],
)
def test_nobody_but_the_owner_takes_the_rule_back(people: People, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        people["ann"].execute(statement.encode())


def test_the_rule_stays_where_settings_say_nothing_and_its_end_is_recorded(settings: Settings) -> None:
    assert settings.audit.two_person is None
    migrate(settings)
    with postgres.connect(settings.postgres.ops) as connection:
        assert two_person.stored(connection) == {*RULE}
        migrate(settings.with_changes({"audit.two_person": ()}))
        assert two_person.stored(connection) == set()
        audit.record(connection, "", "replay.promote", "without a rule")
    changes = [entry.detail["actions"] for entry in entries(settings, "audit.two_person")]
    assert changes == [sorted(RULE), []]
