"""Database migrations: ordered SQL files, each applied once, in one transaction, under one lock."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from schemas import SqlFile, sql_files
from tidemark.core import access, audit, rollup_views, two_person
from tidemark.core.errors import TidemarkError
from tidemark.core.postgres import connect
from tidemark.core.settings import Settings
from udfs.postgres import first_line

# Any fixed number: all migrations of one database take the same advisory lock.
_LOCK_ID = 8_462_001

# It names the rollups without a schema, so it serves the tables of one run and the views of the active versions.
VALUES_FILE = "0002_values.sql"
_COMMENTS = {
    "catalog": "Catalog", "usage": "Rollups of usage", "billing": "Ledger, replays and current usage",
    "report": "Views for finance", "api": "Keys of the HTTP API", "audit": "Audit",
}  # fmt: skip

_LEDGER = """
CREATE TABLE IF NOT EXISTS {schema}.schema_migration (
    name       text        PRIMARY KEY,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE {schema}.schema_migration IS 'Migrations applied to this schema; written by `tidemark db migrate`.';
COMMENT ON COLUMN {schema}.schema_migration.name IS 'File name; its number gives the order.';
COMMENT ON COLUMN {schema}.schema_migration.checksum IS 'SHA-256 of the file as applied; a changed file is refused.';
COMMENT ON COLUMN {schema}.schema_migration.applied_at IS 'When it was applied.';
"""


@dataclass(frozen=True, slots=True)
class Applied:
    """One migration that this call applied."""

    schema: str
    name: str


def migrate(
    settings: Settings, *, ledger: bool = True, upto: Mapping[str, Mapping[str, str]] | None = None
) -> list[Applied]:  # fmt: skip
    """Bring the schemas of catalog, rollups and ledger up to date; what is current is left alone.

    Without `ledger` a run has rollups alone: a replay, which changes the ledger of the run it is promoted in. With
    `upto`, checksums by schema and name of migration, each schema gets these alone: as it was when they were applied.

    Raises
    ------
    UnavailableError
        Postgres cannot be reached.
    TidemarkError
        An applied file was changed or is missing here, or a statement failed; that file is rolled back.

    """
    done: list[Applied] = []
    with connect(settings.postgres.owner) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK_ID])
        _create_extension(connection)
        if access.make_roles(connection):
            access.act_as_owner(connection)
        names = settings.names
        shared = ((kind, kind) for kind in ("audit", "catalog", "api"))
        for kind, schema in (*shared, ("usage", names.usage_schema)):
            _create_schema(connection, schema, kind)
            done += _migrate_schema(connection, schema, chosen(sql_files(kind), schema, upto))
        if ledger:
            _create_schema(connection, names.billing_schema, "billing")
            rollup_views.apply(connection, names)
            files = chosen([*values_files(), *sql_files("billing")], names.billing_schema, upto)
            done += _migrate_schema(connection, names.billing_schema, files)
            rollup_views.set_grace(connection, names, settings.events.grace_s)
            _create_schema(connection, names.report_schema, "report")
            files = chosen(sql_files("report"), names.report_schema, upto)
            done += _migrate_schema(connection, names.report_schema, files, names.billing_schema)
        access.grant(connection, access.schemas_of(names, ledger=ledger))
        if done:
            made = [f"{one.schema}: {one.name}" for one in done]
            audit.record(connection, settings.run_id, "database.migrate", names.usage_schema, files=made)
        if ledger:
            two_person.store(connection, settings.audit.two_person)
        connection.execute("RESET ROLE")
        access.without_jit(connection)
        access.analyze(connection, names if ledger else None)
    return done


def missing(connection: psycopg.Connection, settings: Settings) -> list[str]:
    """Migrations of a run that are not applied, as `schema: name`.

    Raises
    ------
    TidemarkError
        The database was made by other files than these.
    """
    names = settings.names
    wanted = {
        **{kind: sql_files(kind) for kind in ("audit", "catalog", "api")},
        names.usage_schema: sql_files("usage"),
        names.billing_schema: [*values_files(), *sql_files("billing")],
        names.report_schema: sql_files("report"),
    }
    return [
        f"{schema}: {file.name}"
        for schema, files in wanted.items()
        for file in pending(files, _applied(connection, schema), schema)
    ]


def _applied(connection: psycopg.Connection, schema: str) -> dict[str, str]:
    known = connection.execute("SELECT to_regclass(%s)", [f'"{schema}".schema_migration']).fetchone()
    if known is None or known[0] is None:
        return {}
    rows = connection.execute(sql.SQL("SELECT name, checksum FROM {}.schema_migration").format(sql.Identifier(schema)))
    return {row[0]: row[1] for row in rows}


def checksum(file: SqlFile) -> str:
    """SHA-256 of a migration in hexadecimal."""
    return hashlib.sha256(file.content).hexdigest()


def pending(files: Sequence[SqlFile], ledger: dict[str, str], schema: str) -> list[SqlFile]:
    """Files still to be applied, given the checksums of those that were.

    Raises
    ------
    TidemarkError
        The ledger and the files disagree: the database was made by other files than these.

    """
    known = {file.name: checksum(file) for file in files}
    for name, applied in ledger.items():
        if name not in known:
            raise TidemarkError(
                f"{schema}: migration {name} is applied but not part of this version.",
                "use the version of Tidemark that applied it, or a later one.",
            )
        if known[name] != applied:
            raise TidemarkError(
                f"{schema}: migration {name} was changed after it was applied (checksum {known[name][:12]}, "
                f"applied {applied[:12]}).",
                "restore the file and put the change into a new one.",
            )
    todo = [file for file in files if file.name not in ledger]
    last = max(ledger, default="")
    if todo and todo[0].name < last:
        raise TidemarkError(
            f"{schema}: migration {todo[0].name} sorts before {last}, which is already applied.",
            "give it the next free number.",
        )
    return todo


def chosen(
    files: Sequence[SqlFile], schema: str, upto: Mapping[str, Mapping[str, str]] | None
) -> Sequence[SqlFile]:  # fmt: skip
    """The files that a schema gets: all, or those that it had before, which must be as they were.

    Raises
    ------
    TidemarkError
        One that it had is not part of this version, or was changed since.
    """
    if upto is None:
        return files
    had = dict(upto.get(schema, {}))
    pending(files, had, schema)
    return [file for file in files if file.name in had]


def _create_extension(connection: psycopg.Connection) -> None:
    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb WITH SCHEMA public")
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise TidemarkError(
            f"the TimescaleDB extension cannot be created: {first_line(error)}",
            "install it, put timescaledb into shared_preload_libraries, and migrate once as a superuser.",
        ) from error


def values_files() -> list[SqlFile]:
    """The migration with the values of meters: applied to the rollups, and again to the views over the versions."""
    return [file for file in sql_files("usage") if file.name == VALUES_FILE]


def _create_schema(connection: psycopg.Connection, schema: str, kind: str) -> None:
    name = sql.Identifier(schema)
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))
    comment = sql.Literal(f"{_COMMENTS[kind]} of Tidemark.")
    connection.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(name, comment))


def _migrate_schema(
    connection: psycopg.Connection, schema: str, files: Sequence[SqlFile], *below: str
) -> list[Applied]:
    """Apply what is pending; `below` are schemas that the files find relations in, after their own."""
    name = sql.Identifier(schema)
    path = sql.SQL(", ").join(map(sql.Identifier, (schema, *below, "public")))
    connection.execute(sql.SQL("SET client_min_messages = warning; SET search_path TO {}").format(path))
    connection.execute(sql.SQL(_LEDGER).format(schema=name))
    todo = pending(files, _applied(connection, schema), schema)
    for file in todo:
        _apply(connection, schema, file)
    return [Applied(schema, file.name) for file in todo]


def _apply(connection: psycopg.Connection, schema: str, file: SqlFile) -> None:
    ledger = sql.SQL("INSERT INTO {}.schema_migration (name, checksum) VALUES (%s, %s)").format(sql.Identifier(schema))
    try:
        with connection.transaction():
            connection.execute(file.content)
            connection.execute(ledger, [file.name, checksum(file)])
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise TidemarkError(
            f"{schema}: migration {file.name} failed and was rolled back: {first_line(error)}",
            "correct the cause and migrate again.",
        ) from error
