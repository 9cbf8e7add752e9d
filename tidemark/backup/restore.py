"""Restores a backup into an empty database: the migrations it was made with, its rows, then the migrations since."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import LiteralString

import psycopg
from psycopg import sql

from jobs.flink.rest import FlinkRest
from tidemark.backup import copying
from tidemark.backup.manifest import Manifest, Table
from tidemark.core import access, audit, migrate, postgres, rollup_views
from tidemark.core.errors import UnavailableError, UsageError
from tidemark.core.places import Place
from tidemark.core.settings import Settings

Say = Callable[[str], None]
# Workers that went on may know revisions of the catalog that were given after the backup: no number is given twice.
PASSED_OVER = 1_000

_SKIPPED = "UPDATE catalog.revision SET revision = revision + %s"
_OURS = """
SELECT nspname FROM pg_namespace WHERE nspname ~ '^(audit|catalog|api|usage|billing|report)(_|$)' ORDER BY 1
"""
# Their rows come without numbers to guard: no trigger of theirs is about a row that is new.
_HYPERTABLES = "SELECT hypertable_schema, hypertable_name FROM timescaledb_information.hypertables"


def run(settings: Settings, place: Place, manifest: Manifest, say: Say, by: str = "") -> list[str]:
    """Restore into the database of the settings; the migrations that were applied after it.

    It leaves an entry in the audit, by which `tidemark submit rollup` knows which state is newer than these tables.

    Raises
    ------
    UsageError
        The database is not empty, or a job that writes to it runs.
    DifferenceError
        A file was changed since.
    TidemarkError
        The backup was made by a later version, or a migration was changed.
    """
    _refuse_running(settings, manifest)
    applied = into(settings, place, manifest, say)
    with access.connect_owner(settings.postgres) as connection, connection.transaction():
        connection.execute(_SKIPPED, [PASSED_OVER])
        for one in manifest.runs:
            state = manifest.state.get("rollup") if one == manifest.run_id else None
            detail = {"made_at": manifest.made_at, "state": state}
            audit.record(connection, one, "database.restore", place.uri, by=by, **detail)
    return applied


def into(settings: Settings, place: Place, manifest: Manifest, say: Say) -> list[str]:
    """Restore into an empty database, and nothing else; the migrations that were applied after it. Raises as `run`.

    1. Migrate each run as far as the backup was.
    2. Read all tables, without their triggers, in one transaction: all of them, or none.
    3. Apply the migrations since, and point the views to the promoted versions.
    """
    with postgres.connect(settings.postgres.owner) as connection:
        _refuse_filled(connection, settings)
    # Step 1
    runs = [(settings.with_changes({"run_id": run}), ledger) for run, ledger in manifest.runs.items()]
    for run, ledger in runs:
        migrate.migrate(run, ledger=ledger, upto=manifest.migrations)
    # Step 2
    with access.connect_owner(settings.postgres) as connection, connection.transaction():
        fill(connection, manifest, place, say)
    # Step 3
    applied: list[str] = []
    for run, ledger in runs:
        applied += [f"{one.schema}: {one.name}" for one in migrate.migrate(run, ledger=ledger)]
        if ledger:
            _point_views(run)
    return applied


def fill(connection: psycopg.Connection, manifest: Manifest, place: Place, say: Say) -> None:
    """Read all tables, in the transaction of the caller; what migrations put into them goes."""
    hypertables = {(row[0], row[1]) for row in connection.execute(_HYPERTABLES).fetchall()}
    plain = [table for table in manifest.tables if (table.schema, table.name) not in hypertables]
    _each(connection, "ALTER TABLE {} DISABLE TRIGGER USER", plain)
    connection.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(map(_name, plain))))
    for table in manifest.tables:
        copying.load(connection, table, place)
        say(f"{table.schema}.{table.name}: {table.rows:,} rows")
    for one in manifest.sequences:
        connection.execute(
            "SELECT setval(pg_get_serial_sequence(format('%%I.%%I', %s::text, %s::text), %s), %s, false)",
            [one.schema, one.table, one.column, one.next],
        )
    _each(connection, "ALTER TABLE {} ENABLE TRIGGER USER", plain)


def _refuse_running(settings: Settings, manifest: Manifest) -> None:
    """A job would fill the empty tables, or go on from what the restored ones do not have."""
    rest = FlinkRest(settings.flink)
    for run in manifest.runs:
        name = settings.with_changes({"run_id": run}).names.job("rollup")
        try:
            running = rest.active(name)
        except UnavailableError:
            # Without Flink there are no jobs.
            return
        if running is not None:
            raise UsageError(
                f"{name} is {running.state}, and what it has counted since the backup would be missing for good.",
                "`tidemark stop rollup` (or cancel it), then restore.",
            )


def _refuse_filled(connection: psycopg.Connection, settings: Settings) -> None:
    there = [row[0] for row in connection.execute(_OURS).fetchall()]
    if there:
        raise UsageError(
            f"the database of {settings.postgres.owner.url} has schemas of Tidemark: {', '.join(there)}.",
            "restore into an empty database: make another one and name it in postgres.url, or drop these.",
        )


def _point_views(run: Settings) -> None:
    with access.connect_owner(run.postgres) as connection:
        rollup_views.apply(connection, run.names)


def _each(connection: psycopg.Connection, statement: LiteralString, tables: Iterable[Table]) -> None:
    for table in tables:
        connection.execute(sql.SQL(statement).format(_name(table)))


def _name(table: Table) -> sql.Identifier:
    return sql.Identifier(table.schema, table.name)
