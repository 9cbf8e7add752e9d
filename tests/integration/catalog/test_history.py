"""What the catalog said when: every change is remembered, and any instant since is read back row by row."""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql

from jobs.flink.rest import wait_until
from tests.integration.catalog.own_database import own_database
from tidemark.catalog import history
from tidemark.catalog import tool as catalog_tool
from tidemark.core import postgres
from tidemark.core.errors import UsageError
from tidemark.core.settings import Settings
from tidemark.dead_letters.validate import open_validator
from udfs.catalog.store import PostgresCatalogSource
from udfs.limits.store import PostgresLimitSource

TABLES = ("revision", "tenant", "calendar", "customer", "meter", "usage_limit", "alert_policy")
INSTANTS = (None, "beginning", "2024-01-01T00:00:00Z", "2025-06-01T00:00:00Z", "2026-03-01T00:00:00Z")
TIMEOUT_MS = 5_000
MICROSECOND = timedelta(microseconds=1)

Dump = dict[str, list[str]]


@pytest.fixture(scope="module")
def settings(stack: Any) -> Iterator[Settings]:
    with own_database(stack, "history") as settings:
        yield settings


@pytest.fixture
def connection(settings: Settings) -> Iterator[psycopg.Connection]:
    with postgres.connect(settings.postgres) as connection:
        yield connection


def document(rng: random.Random) -> dict[str, Any]:
    """A catalog of random customers, limits and policy; what tenants and meters need is always there."""
    customers = {
        f"c-{number}": {
            "calendar": rng.choice(["month", "quarter"]),
            "revenue_weight": rng.choice(["0.5", "0.25"]),
            "limits": {"calls": {"cap": rng.randrange(1, 1_000), "mode": rng.choice(["hard", "soft"])}},
        }
        for number in rng.sample(range(6), rng.randrange(1, 6))
    }
    calls = {"event_types": rng.sample(["call", "query", "scan"], 2), "aggregation": "sum", "unit": "calls"}
    calls |= {"filter": {"property": "size", "gte": rng.randrange(4)}} if rng.random() < 0.5 else {}
    muted = {"nights": {"types": ["limit.*"], "reason": rng.choice(["quiet", "asked"])}}
    chosen = rng.choice(INSTANTS)
    return {
        **({"valid_from": chosen} if chosen else {}),
        "calendars": {name: {"interval": length, "timezone": "Etc/UTC", "valid_from": "beginning"}
                      for name, length in (("month", "P1M"), ("quarter", "P3M"))},
        "tenants": {
            "acme": {"calendar": rng.choice(["month", "quarter"]), "customers": customers, "meters": {"calls": calls}},
            **({"other": {"customers": {"c-1": {}}}} if rng.random() < 0.7 else {}),
        },
        "alerts": {"suppressions": muted if rng.random() < 0.7 else {}},
    }  # fmt: skip


def apply(settings: Settings, content: dict[str, Any], folder: Path, *, prune: bool = False) -> catalog_tool.Outcome:
    file = folder / "catalog.yaml"
    file.write_text(yaml.safe_dump(content), "utf-8")
    return catalog_tool.apply(settings, file, backdate=True, prune=prune, all_tenants=prune)


def dump(connection: psycopg.Connection, rows_of: str = "catalog.{}", **values: Any) -> Dump:
    """Every row of every table as text, in one order."""
    found = {}
    for table in TABLES:
        statement = f"SELECT t::text FROM {rows_of.format(table)} AS t ORDER BY 1"
        found[table] = [row[0] for row in connection.execute(statement.encode(), values or None)]
    return found


def applied_at(connection: psycopg.Connection) -> datetime:
    row = connection.execute("SELECT applied_at FROM catalog.revision").fetchone()
    assert row is not None
    moment: datetime = row[0]
    return moment


def written_past(connection: psycopg.Connection, statement: str) -> datetime:
    """Carry out a statement of somebody else's, in a millisecond of its own; the instant that the history gives it."""
    wait_past(connection, newest(connection))
    connection.execute(statement.encode())
    moment = newest(connection)
    wait_past(connection, moment)
    return moment


def newest(connection: psycopg.Connection) -> datetime:
    moment: datetime = connection.execute("SELECT max(changed_at) FROM catalog.change").fetchall()[0][0]
    return moment


def wait_past(connection: psycopg.Connection, moment: datetime) -> None:
    wait_until(lambda: clock(connection) >= moment + 1_000 * MICROSECOND, 5, "the next millisecond", every_s=0.001)


def clock(connection: psycopg.Connection) -> datetime:
    moment: datetime = connection.execute("SELECT clock_timestamp()").fetchall()[0][0]
    return moment


@pytest.mark.parametrize("seed", range(3))
def test_what_was_known_after_each_of_many_changes_is_read_back_row_by_row(
    settings: Settings, connection: psycopg.Connection, tmp_path: Path, seed: int
) -> None:
    # given applies, mostly backdated and some pruned, and rows written past them, with a dump after each
    rng = random.Random(seed)
    by_hand = [
        f"UPDATE catalog.customer SET customer_id = customer_id || '-{seed}' WHERE customer_id LIKE 'c-_'",
        "DELETE FROM catalog.usage_limit",
        "TRUNCATE catalog.alert_policy",
        "INSERT INTO catalog.customer (tenant_id, customer_id) VALUES ('acme', 'by hand')",
    ]
    dumps: list[tuple[datetime, Dump]] = []
    for step in range(14):
        if step % 4 == 3:
            moment = written_past(connection, by_hand[step // 4])
        else:
            outcome = apply(settings, document(rng), tmp_path, prune=rng.random() < 0.3)
            if not outcome.plan.changes:
                continue
            moment = applied_at(connection)
        dumps.append((moment, dump(connection)))
    connection.execute("DELETE FROM catalog.customer WHERE customer_id = 'by hand'")
    assert len(dumps) > 10
    # then each is what was known from its instant on, until the next; and the same in a schema of its own
    ends = [moment - MICROSECOND for moment, _ in dumps[1:]]
    known_rows = "catalog.rows_known_at(NULL::catalog.{}, %(moment)s)"
    with psycopg.connect(settings.postgres.url, autocommit=True, options="-c TimeZone=Asia/Kolkata") as abroad:
        abroad.execute("SET TimeZone = 'Asia/Kolkata'")
        for (moment, before), end in zip(dumps, [*ends, None], strict=True):
            assert dump(connection, known_rows, moment=moment) == before
            if end is not None:
                assert dump(connection, known_rows, moment=end) == before
            history.materialize(abroad, moment, "catalog_copy")
            assert dump(connection, "catalog_copy.{}") == before
            history.drop(abroad, "catalog_copy")


def test_a_backdated_apply_changes_what_holds_and_not_what_was_known(settings: Settings, tmp_path: Path) -> None:
    #  event time  2024 ------------------------------------------->
    #  known at A  | call counts
    #  known at B  | query counts, from the beginning on
    tenant = f"t-{secrets.token_hex(4)}"

    def counting(event_type: str) -> dict[str, Any]:
        meter = {"event_types": event_type, "aggregation": "count", "unit": "calls"}
        limits = {"seen": {"cap": 5 if event_type == "call" else 7}}
        return {
            "valid_from": "beginning",
            "tenants": {tenant: {"meters": {"seen": meter}, "customers": {"c": {"limits": limits}}}},
        }

    apply(settings, counting("call"), tmp_path)
    schema = f"catalog_{secrets.token_hex(5)}"
    with postgres.connect(settings.postgres) as connection:
        first_at = applied_at(connection)
        apply(settings, counting("query"), tmp_path)
        revision = history.materialize(connection, first_at, schema)
        assert history.materialize(connection, first_at, schema) == revision  # kept
    # Whatever measures by settings measures by what was known: a worker's source, the limits, the judge of redrive.
    replay = settings.with_changes({"catalog.schema_name": schema})
    assert (counted(settings, tenant), counted(replay, tenant)) == (["query"], ["call"])
    assert (cap(settings, tenant), cap(replay, tenant)) == (7, 5)
    source = PostgresCatalogSource(settings.postgres.url, schema)
    assert source.revision() == revision == source.snapshot().revision
    assert [one.customer_id for one in source.customers([(tenant, "c")])[(tenant, "c")]] == ["c"]
    source.close()
    # And people read it.
    at = datetime(2025, 1, 1, tzinfo=UTC)
    for known_at, expected in ((None, "query"), (first_at, "call")):
        (meter,) = (one for one in catalog_tool.show(settings, at, known_at)["meters"] if one["tenant_id"] == tenant)
        assert meter["event_types"] == [expected]
    with postgres.connect(settings.postgres) as connection:
        history.drop(connection, schema)
        history.drop(connection, schema)


def counted(settings: Settings, tenant: str) -> list[str]:
    """Event types that a judge by these settings would count."""
    at_ms = 1_735_689_600_000  # 2025-01-01T00:00:00Z
    events = {
        kind: {"event_id": kind, "tenant_id": tenant, "customer_id": "c", "event_type": kind,
               "timestamp": "2025-01-01T00:00:00Z"}
        for kind in ("call", "query")
    }  # fmt: skip
    with open_validator(settings) as validator:
        values = [json.dumps(event).encode() for event in events.values()]
        validations = validator.validate(values, [at_ms] * len(events))
        return [kind for kind, validation in zip(events, validations, strict=True) if validation.reject is None]


def cap(settings: Settings, tenant: str) -> int:
    source = PostgresLimitSource(settings.postgres.url, TIMEOUT_MS, settings.catalog.schema_name)
    shared, rules = source.shared(-1), source.customers([(tenant, "c")])
    source.close()
    assert shared is not None
    assert tenant in shared.tenants
    (limit,) = rules[(tenant, "c")].limits
    return int(limit.cap)


def test_an_apply_is_known_whole_or_not_at_all_and_names_its_revision(
    settings: Settings, connection: psycopg.Connection, tmp_path: Path
) -> None:
    tenant = f"t-{secrets.token_hex(4)}"
    outcome = apply(settings, {"tenants": {tenant: {"customers": {"a": {}, "b": {}}}}}, tmp_path)
    rows = connection.execute(
        "SELECT DISTINCT revision, changed_at FROM catalog.change WHERE id > ("
        " SELECT max(id) FROM catalog.change WHERE revision < %s)",
        [outcome.revision],
    ).fetchall()
    assert rows == [(outcome.revision, applied_at(connection))]


def test_what_was_never_known_is_refused(settings: Settings, connection: psycopg.Connection) -> None:
    (began,) = connection.execute("SELECT min(changed_at) FROM catalog.change").fetchall()[0]
    with pytest.raises(UsageError, match="its history begins at"):
        history.materialize(connection, began - MICROSECOND, "catalog_early")
    with pytest.raises(UsageError, match=r"it is .* now"):
        history.materialize(connection, clock(connection) + timedelta(hours=1), "catalog_late")
    with pytest.raises(UsageError, match="its history begins at"):
        catalog_tool.show(settings, known_at=began - timedelta(days=1))
    assert history.materialize(connection, began, "catalog_empty") == 0
    assert dump(connection, "catalog_empty.{}")["customer"] == []
    # A schema that stands is neither replaced nor dropped, unless it is a catalog of that instant.
    with pytest.raises(UsageError, match="not the catalog of that instant"):
        history.materialize(connection, clock(connection), "catalog_empty")
    for foreign in ("catalog", "usage"):
        with pytest.raises(UsageError, match="not the catalog of that instant"):
            history.materialize(connection, began, foreign)
        with pytest.raises(UsageError, match="not a catalog of an earlier instant"):
            history.drop(connection, foreign)
    history.drop(connection, "catalog_empty")


def test_the_history_is_append_only(connection: psycopg.Connection) -> None:
    for statement in (
        "UPDATE catalog.change SET revision = 0",
        "DELETE FROM catalog.change",
        "TRUNCATE catalog.change",
    ):
        with pytest.raises(psycopg.errors.RaiseException, match=r"catalog\.change is append-only"):
            connection.execute(statement.encode())


def test_rows_written_past_the_triggers_are_found_out(connection: psycopg.Connection) -> None:
    moment = written_past(connection, "INSERT INTO catalog.tenant (tenant_id) VALUES ('seen')") - MICROSECOND
    with connection.transaction(force_rollback=True):
        connection.execute("ALTER TABLE catalog.tenant DISABLE TRIGGER USER")
        connection.execute("DELETE FROM catalog.tenant WHERE tenant_id = 'seen'")
        with pytest.raises(UsageError, match="written past its triggers"):
            history.materialize(connection, moment, "catalog_torn")


def test_a_catalog_of_an_instant_has_keys_and_a_comment_on_everything(connection: psycopg.Connection) -> None:
    history.materialize(connection, clock(connection), "catalog_commented")
    bare = connection.execute(
        """
        SELECT c.relname, a.attname
        FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        WHERE c.relnamespace = 'catalog_commented'::regnamespace AND c.relkind = 'r'
          AND (obj_description(c.oid, 'pg_class') IS NULL OR col_description(c.oid, a.attnum) IS NULL)
        """
    ).fetchall()
    keys = connection.execute(
        sql.SQL("SELECT tablename FROM pg_indexes WHERE schemaname = {} AND indexname LIKE '%pkey'").format(
            sql.Literal("catalog_commented")
        )
    ).fetchall()
    history.drop(connection, "catalog_commented")
    assert bare == []
    assert {row[0] for row in keys} == {"revision", "tenant", "calendar", "customer", "usage_limit", "alert_policy"}
