"""Privileges in Postgres, and what the planner needs to know: the role of finance, no JIT, statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from tidemark.core.names import Names

# May read the views for finance and nothing else; cannot log in: grant it to those who may.
READER = "tidemark_reader"

_VIEWS = "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind = 'v' ORDER BY relname"
_JIT_OFF = """
SELECT EXISTS (
    SELECT FROM pg_db_role_setting
    WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND setrole IN (0, %s::regrole) AND 'jit=off' = ANY (setconfig)
    HAVING count(*) = 2
)
"""
_TABLES = """
SELECT n.nspname, c.relname
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY (%s) AND c.relkind = 'r' AND c.relname <> 'change'
ORDER BY 1, 2
"""


def grant(connection: psycopg.Connection, names: Names) -> bool:
    """Let READER read the views of the schema `report`; creates the role if this login may. Whether the role exists.

    Otherwise an administrator creates it (`CREATE ROLE tidemark_reader NOLOGIN`) and migrates again.
    """
    with _if_allowed(connection):
        if not _has_reader(connection):
            connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(READER)))
    if not _has_reader(connection):
        return False
    reader, schema = sql.Identifier(READER), sql.Identifier(names.report_schema)
    connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, reader))
    for (view,) in connection.execute(_VIEWS, [f'"{names.report_schema}"']).fetchall():
        name = sql.Identifier(names.report_schema, view)
        connection.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(name, reader))
    return True


def without_jit(connection: psycopg.Connection) -> None:
    """Turn JIT off for this login and, if it owns the database, for all logins: JIT takes longer than the queries."""
    role, database = connection.info.user, sql.Identifier(connection.info.dbname)
    row = connection.execute(_JIT_OFF, [f'"{role}"']).fetchone()
    if row and row[0]:
        return
    with _if_allowed(connection):
        connection.execute(sql.SQL("ALTER ROLE {} IN DATABASE {} SET jit = off").format(sql.Identifier(role), database))
    with _if_allowed(connection):
        connection.execute(sql.SQL("ALTER DATABASE {} SET jit = off").format(database))


def analyze(connection: psycopg.Connection, names: Names | None = None) -> None:
    """Count the rows of the catalog and, with `names`, of the ledger's small tables.

    Autovacuum skips tables of a few rows, and the planner then assumes 1,810 rows.
    """
    schemas = ["catalog"] if names is None else ["catalog", names.billing_schema]
    tables = [sql.Identifier(*row) for row in connection.execute(_TABLES, [schemas]).fetchall()]
    if tables:
        connection.execute(sql.SQL("ANALYZE {}").format(sql.SQL(", ").join(tables)))


def _has_reader(connection: psycopg.Connection) -> bool:
    return connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [READER]).fetchone() is not None


@contextmanager
def _if_allowed(connection: psycopg.Connection) -> Iterator[None]:
    """Run statements that need more rights than some logins have, or that another session may run at this moment."""
    try:
        with connection.transaction():
            yield
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UniqueViolation, psycopg.errors.DuplicateObject):
        return
    except psycopg.errors.InternalError_ as error:
        # Another session writes the same row of the shared catalogs, with the same content.
        if "concurrently" not in str(error):
            raise
