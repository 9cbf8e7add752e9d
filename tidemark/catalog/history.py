"""The catalog as it was known at an instant: a schema of its own, for a run to measure by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import psycopg
from psycopg import sql

from tidemark.core import access
from tidemark.core.errors import UsageError

CATALOG = "catalog"


def materialize(connection: psycopg.Connection, moment: datetime, schema: str) -> int:
    """Make `schema` the catalog as known at `moment`, in one transaction; returns its revision, 0 for an empty one.

    It waits for an apply that is under way, and the next one waits for it. A schema that is of that instant already is
    kept: workers may be reading it.

    Raises
    ------
    UsageError
        The instant is before the history or in the future, or the schema is something else.
    psycopg.Error
        Postgres cannot be reached, or is not migrated.

    """
    with translated(), connection.transaction():
        row = connection.execute("SELECT catalog.known_at(%s, %s)", [moment, schema]).fetchone()
        access.grant(connection, {"catalog": schema})
    return int(row[0]) if row else 0


def drop(connection: psycopg.Connection, schema: str) -> None:
    """Remove what `materialize` made; nothing if it is gone already.

    Raises
    ------
    UsageError
        The schema was not made by it.

    """
    name = sql.Identifier(schema)
    with connection.transaction():
        row = connection.execute(
            "SELECT to_regnamespace(quote_ident(%(schema)s)) IS NOT NULL,"
            " to_regclass(format('%%I.known', %(schema)s::text)) IS NOT NULL",
            {"schema": schema},
        ).fetchone()
        exists, materialized = row or (False, False)
        if exists and (not materialized or schema == CATALOG):
            raise UsageError(f"schema {schema} is not a catalog of an earlier instant.", "name one that is.")
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(name))


@contextmanager
def translated() -> Iterator[None]:
    """Errors that the functions of the history raise, as UsageError."""
    try:
        yield
    except psycopg.errors.RaiseException as error:
        raise UsageError(error.diag.message_primary or str(error), error.diag.message_hint or "") from error
