"""Roles of Postgres on the real server: who owns, who may write what, and what a tenant's reader can find out."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from infra.local.prepare import connect_admin
from tests.integration.catalog.own_database import own_database
from tidemark.core import access, grants, postgres
from tidemark.core.errors import TidemarkError
from tidemark.core.grants import OWNER, TENANT, Schema
from tidemark.core.migrate import migrate
from tidemark.core.settings import Settings

Refused = psycopg.errors.InsufficientPrivilege
APPEND_ONLY = (
    "billing.period_close", "billing.period_close_line", "billing.correction", "billing.correction_line",
    "billing.outbox", "billing.replay_decision", "billing.erasure", "catalog.change", "api.read_audit",
    "audit.entry", "audit.approval_use",
)  # fmt: skip
SCHEMAS = ["audit", "catalog", "api", "usage", "billing", "report"]
OWN_VIEWS = (
    "own_invoice_line", "own_unmatched_void", "own_usage_by_dimension", "own_usage_current_period", "own_usage_daily",
)  # fmt: skip
PERIOD = ("2013-01-01", "2013-02-01")


@pytest.fixture(scope="module")
def settings(stack: Any) -> Iterator[Settings]:
    with own_database(stack, "roles") as own:
        yield own


@contextmanager
def admin_of(stack: Any, settings: Settings) -> Iterator[psycopg.Connection]:
    url = urlsplit(settings.postgres.url)
    with connect_admin(stack.local.paths, url.port or 0, url.path[1:]) as admin:
        yield admin


def relations(admin: psycopg.Connection) -> list[tuple[str, str]]:
    return admin.execute(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = ANY (%s) AND c.relkind IN ('r', 'v') ORDER BY 1, 2", [SCHEMAS]
    ).fetchall()  # fmt: skip


def test_the_owner_cannot_log_in_and_no_login_of_the_stack_has_more_than_its_role(stack: Any) -> None:
    with admin_of(stack, stack.settings) as admin:
        rows = admin.execute(
            "SELECT rolname, rolcanlogin, rolsuper OR rolcreaterole OR rolbypassrls OR rolreplication, rolcreatedb"
            " FROM pg_roles WHERE rolname ~ '^tidemark'"
        ).fetchall()
    assert {name for name, _, more, _ in rows if more} == set()
    # Whoever migrates tries backups too, in a database that is made for it (`tidemark backup verify`).
    assert {name for name, *_, makes_databases in rows if makes_databases} == {"tidemark"}
    logins = {name for name, login, *_ in rows if login}
    assert logins == {"tidemark", grants.WRITER, grants.LEDGER, grants.OPS}


def test_everything_belongs_to_the_owner(stack: Any, settings: Settings) -> None:
    with admin_of(stack, settings) as admin:
        owners = admin.execute(
            "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace::regnamespace::text = ANY (%(s)s)"
            " UNION SELECT DISTINCT proowner::regrole::text FROM pg_proc WHERE pronamespace::regnamespace::text"
            " = ANY (%(s)s) UNION SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = ANY (%(s)s)",
            {"s": SCHEMAS},
        ).fetchall()
    assert owners == [(OWNER,)]


def test_every_name_of_the_file_is_that_of_a_table_or_view(stack: Any, settings: Settings) -> None:
    with admin_of(stack, settings) as admin:
        there = relations(admin)
    schemas = [Schema(kind, kind, tuple(name for schema, name in there if schema == kind)) for kind in SCHEMAS]
    assert grants.unmatched(grants.read(), schemas) == []


@pytest.mark.parametrize("role", ["ledger", "ops", "writer"])
def test_what_only_grows_is_changed_by_no_role(settings: Settings, role: str) -> None:
    with psycopg.connect(getattr(settings.postgres, role).url, autocommit=True) as connection:
        for table in APPEND_ONLY:
            for statement in (
                f"DELETE FROM {table}", f"TRUNCATE {table}", f"ALTER TABLE {table} DISABLE TRIGGER ALL",
                f"DROP TABLE {table}", f"UPDATE {table} SET {column_of(table)} = {column_of(table)}",
            ):  # fmt: skip
                with pytest.raises(Refused):
                    connection.execute(statement.encode())


def column_of(table: str) -> str:
    return {"billing.outbox": "body", "billing.replay_decision": "by", "catalog.change": "changed_at",
            "audit.entry": "login", "audit.approval_use": "used_by"}.get(table, "tenant_id")  # fmt: skip


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("ops", "INSERT INTO billing.period_close_line SELECT * FROM billing.period_close_line"),
        ("ops", "UPDATE usage.usage_period SET total = 0"),
        ("ops", "DELETE FROM usage.usage_day"),
        ("ledger", "INSERT INTO usage.usage_period SELECT * FROM usage.usage_period"),
        ("ledger", "UPDATE catalog.tenant SET tenant_id = ''"),
        ("writer", "SELECT FROM billing.period_close"),
        ("writer", "DELETE FROM usage.usage_period"),
        ("writer", "UPDATE catalog.revision SET revision = 1"),
        ("ops", "CREATE TABLE public.mine (a int)"),
        ("ops", "SET ROLE tidemark_owner"),
        ("ledger", "SET ROLE tidemark_ops"),
    ],
)
def test_a_role_does_what_it_is_for_and_no_more(settings: Settings, role: str, statement: str) -> None:
    with (
        psycopg.connect(getattr(settings.postgres, role).url, autocommit=True) as connection,
        pytest.raises(Refused),
    ):
        connection.execute(statement.encode())


def test_a_refusal_names_the_role_and_what_to_do(settings: Settings) -> None:
    with (
        pytest.raises(
            TidemarkError, match=r"the role of postgresql://tidemark_ops@.* may not do that: permission denied"
        ),
        postgres.connect(settings.postgres.ops) as connection,
    ):
        connection.execute("DELETE FROM billing.correction")


def test_migrate_restores_the_rights_of_the_file(settings: Settings) -> None:
    with access.connect_owner(settings.postgres) as connection:
        connection.execute("GRANT UPDATE ON billing.correction TO tidemark_ops")
        connection.execute("REVOKE SELECT ON report.invoice_line FROM tidemark_reader")
        changed = access.grant(connection, access.schemas_of(settings.names, ledger=True))
        assert {(right.role, right.privilege, right.relation) for right in changed} == {
            (grants.OPS, "UPDATE", "correction"), (grants.READER, "SELECT", "invoice_line"),
        }  # fmt: skip
        assert access.grant(connection, access.schemas_of(settings.names, ledger=True)) == []
    assert migrate(settings) == []


def test_tables_of_a_login_that_migrated_before_there_were_roles_go_to_the_owner(settings: Settings) -> None:
    with postgres.connect(settings.postgres.owner) as connection:
        connection.execute("CREATE SCHEMA usage_before CREATE TABLE kept (a int)")
    migrate(settings)
    with postgres.connect(settings.postgres.owner) as connection:
        owner = "SELECT relowner::regrole::text FROM pg_class WHERE oid = 'usage_before.kept'::regclass"
        assert connection.execute(owner).fetchall() == [(OWNER,)]
        connection.execute("DROP SCHEMA usage_before CASCADE")


@pytest.fixture(scope="module")
def own_reader(stack: Any, settings: Settings) -> Iterator[psycopg.Connection]:
    """A login that may see tenant `mine`, where `theirs` has as much, and customers with names that are no numbers."""
    name, password = f"reader_{secrets.token_hex(5)}", secrets.token_hex(8)
    with postgres.connect(settings.postgres.owner) as owner, owner.transaction():
        owner.execute(
            "INSERT INTO catalog.meter (meter, event_types, aggregation, unit) VALUES ('hits', '{x}', 'count', 'u')"
        )
        for tenant, customer in (("mine", "1"), ("theirs", "secret-customer")):
            owner.execute("INSERT INTO catalog.tenant (tenant_id) VALUES (%s)", [tenant])
            owner.execute(
                "INSERT INTO usage.usage_period (tenant_id, customer_id, meter, dims, part, period_start, period_end,"
                " n, samples, total) VALUES (%s, %s, 'hits', '', '', %s, %s, 1, 1, 5)", [tenant, customer, *PERIOD]
            )  # fmt: skip
            owner.execute(
                "INSERT INTO usage.usage_day (tenant_id, customer_id, meter, dims, part, day, n, samples, total)"
                " VALUES (%s, %s, 'hits', '', '', %s, 1, 1, 5)", [tenant, customer, PERIOD[0]]
            )  # fmt: skip
        owner.execute("INSERT INTO catalog.tenant_login (login, tenant_id) VALUES (%s, 'mine')", [name])
    with admin_of(stack, settings) as admin:
        login = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}")
        admin.execute(login.format(sql.Identifier(name), password, sql.Identifier(TENANT)))
        url = urlsplit(settings.postgres.url)
        with psycopg.connect(
            host="127.0.0.1", port=url.port, dbname=url.path[1:], user=name, password=password, autocommit=True
        ) as connection:
            yield connection
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_a_tenant_sees_its_own_rows_and_can_read_nothing_else(
    stack: Any, settings: Settings, own_reader: psycopg.Connection
) -> None:
    with admin_of(stack, settings) as admin:
        every = [*relations(admin), *chunks(admin)]
    assert chunks_are_among(every)
    for schema, relation in every:
        statement = sql.SQL("SELECT count(*), count(*) FILTER (WHERE s::text LIKE '%theirs%') FROM {} s")
        query = statement.format(sql.Identifier(schema, relation))
        if schema == "report" and relation in OWN_VIEWS:
            rows, of_others = own_reader.execute(query).fetchall()[0]
            assert of_others == 0, relation
            assert rows == (1 if relation in {"own_invoice_line", "own_usage_by_dimension", "own_usage_daily"} else 0)
        else:
            with pytest.raises(Refused):
                own_reader.execute(query)


def chunks(admin: psycopg.Connection) -> list[tuple[str, str]]:
    return admin.execute("SELECT schema_name, table_name FROM _timescaledb_catalog.chunk").fetchall()


def chunks_are_among(every: list[tuple[str, str]]) -> bool:
    return any(schema == "_timescaledb_internal" for schema, _ in every)


def test_a_tenant_calls_no_function_of_ours(stack: Any, settings: Settings, own_reader: psycopg.Connection) -> None:
    with admin_of(stack, settings) as admin:
        functions = admin.execute(
            "SELECT format('SELECT %%I.%%I(%%s)', n.nspname, p.proname,"
            " (SELECT string_agg(format('NULL::%%s', t), ', ') FROM unnest(p.proargtypes::oid[]::regtype[]) t))"
            " FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = ANY (%s)", [SCHEMAS]
        ).fetchall()  # fmt: skip
    assert len(functions) > 10
    for (call,) in functions:
        with pytest.raises(Refused):
            own_reader.execute(call.encode())


@pytest.mark.parametrize("view", ["own_invoice_line", "own_usage_daily", "own_usage_by_dimension"])
def test_neither_errors_nor_aggregates_tell_of_others(own_reader: psycopg.Connection, view: str) -> None:
    # Each would fail on the first row of the other tenant, and its message would hold the customer.
    probes = (
        f"SELECT * FROM report.{view} WHERE 1 / (CASE WHEN tenant_id = 'theirs' THEN 0 ELSE 1 END) = 1",
        f"SELECT * FROM report.{view} WHERE customer_id::int > 0",
        f"SELECT max(customer_id::int) FROM report.{view}",
        f"SELECT a.customer_id FROM report.{view} a JOIN report.{view} b ON a.customer_id::int = b.customer_id::int",
    )
    for probe in probes:
        assert len(own_reader.execute(probe.encode()).fetchall()) == 1
    total = f"SELECT count(*), sum(value), array_agg(DISTINCT tenant_id) FROM report.{view}"
    assert own_reader.execute(total.encode()).fetchall() == [(1, 5, ["mine"])]


@pytest.mark.parametrize(
    "statement",
    [
        "SET ROLE tidemark_reader",
        "SET SESSION AUTHORIZATION tidemark_ops",
        "INSERT INTO catalog.tenant_login VALUES (session_user, 'theirs')",
        "CREATE TEMPORARY TABLE mine (a int)",
        "CREATE FUNCTION pg_temp.leak(text) RETURNS boolean LANGUAGE sql COST 0.0001 AS 'SELECT true'",
        "CREATE FUNCTION public.leak(text) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "SELECT * FROM report.invoice_line",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    ],
)
def test_a_tenant_cannot_become_somebody_else_or_make_what_would_look(
    own_reader: psycopg.Connection, statement: str
) -> None:
    with pytest.raises(Refused):
        own_reader.execute(statement.encode())


def test_the_statistics_show_a_tenant_nothing(own_reader: psycopg.Connection) -> None:
    query = "SELECT count(*) FROM pg_stats WHERE schemaname = ANY (%s) OR schemaname = '_timescaledb_internal'"
    assert own_reader.execute(query, [SCHEMAS]).fetchall() == [(0,)]


def test_who_is_in_no_role_does_not_get_into_the_database(stack: Any, settings: Settings) -> None:
    name = f"nobody_{secrets.token_hex(5)}"
    url = urlsplit(settings.postgres.url)
    with admin_of(stack, settings) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(sql.Identifier(name)))
        try:
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                psycopg.connect(host="127.0.0.1", port=url.port, dbname=url.path[1:], user=name, password="x")  # noqa: S106
        finally:
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
