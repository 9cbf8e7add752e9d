"""Privileges in Postgres: roles, who owns the tables, what the others may do; and what the planner needs to know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from typing import LiteralString

import psycopg
from psycopg import sql

from tidemark.core import grants
from tidemark.core.grants import OWNER, ROLES, Right, Schema
from tidemark.core.names import Names
from tidemark.core.postgres import connect
from tidemark.core.settings import PostgresSettings

_RELATIONS = """
SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(quote_ident(%s)) AND relkind IN ('r', 'v', 'p', 'm')
ORDER BY relname
"""
_GRANTED = """
SELECT grantee.rolname, acl.privilege_type, n.nspname, c.relname
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL aclexplode(c.relacl) acl
JOIN pg_roles grantee ON grantee.oid = acl.grantee
WHERE n.nspname = ANY (%s) AND grantee.rolname = ANY (%s) AND c.relkind IN ('r', 'v', 'p', 'm')
"""
_OF_OTHERS = """
SELECT EXISTS (
    SELECT FROM pg_namespace
    WHERE nspowner = (SELECT oid FROM pg_roles WHERE rolname = session_user)
      AND nspname ~ '^(audit|catalog|api|usage|billing|report)(_|$)'
)
"""
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


@contextmanager
def connect_owner(postgres: PostgresSettings) -> Iterator[psycopg.Connection]:
    """Connection for what changes tables: what it makes belongs to OWNER where there are roles; raises as `connect`."""
    with connect(postgres.owner) as connection:
        act_as_owner(connection)
        yield connection


def act_as_owner(connection: psycopg.Connection) -> None:
    """Let OWNER own what this session makes, if there is such a role and this login is a member of it."""
    if _is_member(connection):
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(OWNER)))


def make_roles(connection: psycopg.Connection) -> bool:
    """Create the roles that are missing, as far as this login may, and give OWNER what this login owns of Tidemark.

    Otherwise an administrator creates them (docs/security.md) and migrates again. Returns whether all exist and this
    login is a member of OWNER; without, it stays the owner of all, and no other role has rights.
    """
    for role in sorted(set(ROLES) - _existing(connection)):
        with _if_allowed(connection):
            connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)))
            if role == OWNER:
                connection.execute(sql.SQL("GRANT {} TO SESSION_USER").format(sql.Identifier(OWNER)))
    if _existing(connection) != set(ROLES) or not _is_member(connection):
        return False
    with _if_allowed(connection):
        # Extensions of the catalog, and schemas.
        _on_database(connection, "GRANT CREATE ON DATABASE {} TO {}", OWNER)
    row = connection.execute(_OF_OTHERS).fetchone()
    if row and row[0] and not _is_superuser(connection):
        connection.execute(sql.SQL("REASSIGN OWNED BY SESSION_USER TO {}").format(sql.Identifier(OWNER)))
    return True


def grant(connection: psycopg.Connection, schemas: Mapping[str, str]) -> list[Right]:
    """Give all roles their rights on schemas, by kind and name, and take back others; what was changed.

    Run as who owns the schemas. Nothing is done where roles are missing.
    """
    if _existing(connection) != set(ROLES):
        return []
    there = [Schema(kind, name, _relations(connection, name)) for kind, name in schemas.items()]
    file = grants.read()
    wanted = grants.rights(file, there)
    granted = {Right(*row) for row in connection.execute(_GRANTED, [[*schemas.values()], [*file]]).fetchall()}
    with connection.transaction():
        for schema in there:
            _let_use(connection, schema.name, grants.users(file, schema.kind))
        _change(connection, "GRANT {} ON {} TO {}", wanted - granted)
        _change(connection, "REVOKE {} ON {} FROM {}", granted - wanted)
    _close_database(connection)
    return sorted(wanted ^ granted)


def schemas_of(names: Names, *, ledger: bool) -> dict[str, str]:
    """Schemas of a run by kind; without `ledger`, of a replay."""
    own = {"audit": "audit", "catalog": "catalog", "api": "api", "usage": names.usage_schema}
    return {**own, "billing": names.billing_schema, "report": names.report_schema} if ledger else own


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


def _let_use(connection: psycopg.Connection, schema: str, roles: Iterable[str]) -> None:
    users = sql.SQL(", ").join(map(sql.Identifier, roles))
    connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), users))


def _change(connection: psycopg.Connection, statement: LiteralString, rights: Iterable[Right]) -> None:
    """A statement for each role and privilege, on all relations: there are hundreds of rights."""
    for (role, privilege), group in groupby(sorted(rights), lambda right: (right.role, right.privilege)):
        relations = sql.SQL(", ").join(sql.Identifier(right.schema, right.relation) for right in group)
        # A privilege is a word of our file, or of Postgres.
        connection.execute(sql.SQL(statement).format(sql.SQL(privilege), relations, sql.Identifier(role)))


def _close_database(connection: psycopg.Connection) -> None:
    """Let nobody but the roles into the database, where this login owns it."""
    with _if_allowed(connection):
        _on_database(connection, "REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM {}", "public")
        for role in sorted(grants.read()):
            _on_database(connection, "GRANT CONNECT ON DATABASE {} TO {}", role)
        for role in (grants.LEDGER, grants.OPS):
            _on_database(connection, "GRANT TEMPORARY ON DATABASE {} TO {}", role)


def _on_database(connection: psycopg.Connection, statement: LiteralString, role: str) -> None:
    database = sql.Identifier(connection.info.dbname)
    name = sql.SQL("PUBLIC") if role == "public" else sql.Identifier(role)
    connection.execute(sql.SQL(statement).format(database, name))


def _relations(connection: psycopg.Connection, schema: str) -> tuple[str, ...]:
    return tuple(row[0] for row in connection.execute(_RELATIONS, [schema]).fetchall())


def _existing(connection: psycopg.Connection) -> set[str]:
    rows = connection.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)", [[*ROLES]]).fetchall()
    return {row[0] for row in rows}


def _is_member(connection: psycopg.Connection) -> bool:
    row = connection.execute(
        "SELECT pg_has_role(session_user, rolname, 'SET') FROM pg_roles WHERE rolname = %s", [OWNER]
    ).fetchone()
    return row is not None and bool(row[0])


def _is_superuser(connection: psycopg.Connection) -> bool:
    row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = session_user").fetchone()
    return row is not None and bool(row[0])


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
