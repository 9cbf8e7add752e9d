"""Which tables of the database are Tidemark's, in which order they can be filled, and what their numbers go on with."""

from __future__ import annotations

from collections.abc import Iterable
from graphlib import TopologicalSorter

import psycopg
from psycopg import sql

from tidemark.backup.manifest import Sequence, Table

# Schemas that migrations make; the catalog of a replay at an instant is made from its history again.
_SCHEMAS = """
SELECT n.nspname FROM pg_namespace n
WHERE n.nspname ~ '^(audit|catalog|api|usage|billing|report)(_|$)'
  AND to_regclass(format('%I.schema_migration', n.nspname)) IS NOT NULL
ORDER BY 1
"""
_TABLES = """
SELECT n.nspname, c.relname, array_agg(a.attname::text ORDER BY a.attnum)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
WHERE n.nspname = ANY (%s) AND c.relkind IN ('r', 'p') AND c.relname <> 'schema_migration'
GROUP BY 1, 2
ORDER BY 1, 2
"""
_REFERENCES = """
SELECT n.nspname, c.relname, m.nspname, r.relname
FROM pg_constraint f
JOIN pg_class c ON c.oid = f.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class r ON r.oid = f.confrelid
JOIN pg_namespace m ON m.oid = r.relnamespace
WHERE f.contype = 'f' AND f.conrelid <> f.confrelid AND n.nspname = ANY (%s)
"""
_IDENTITIES = """
SELECT n.nspname, c.relname, a.attname, pg_get_serial_sequence(format('%%I.%%I', n.nspname, c.relname), a.attname)
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY (%s) AND a.attidentity <> '' AND c.relkind IN ('r', 'p')
ORDER BY 1, 2, 3
"""

Name = tuple[str, str]


def schemas(connection: psycopg.Connection) -> list[str]:
    """Schemas that hold what was migrated, of all runs and replays."""
    return [row[0] for row in connection.execute(_SCHEMAS).fetchall()]


def migrations(connection: psycopg.Connection, schema: str) -> dict[str, str]:
    """Name and checksum of the migrations of a schema."""
    statement = sql.SQL("SELECT name, checksum FROM {}.schema_migration ORDER BY name").format(sql.Identifier(schema))
    return dict(connection.execute(statement).fetchall())


def tables(connection: psycopg.Connection, within: Iterable[str]) -> list[Table]:
    """Tables of schemas in an order in which each comes after those it refers to."""
    wanted = [*within]
    found = {(row[0], row[1]): Table(*row) for row in connection.execute(_TABLES, [wanted]).fetchall()}
    references = [((row[0], row[1]), (row[2], row[3])) for row in connection.execute(_REFERENCES, [wanted]).fetchall()]
    return [found[name] for name in ordered(found, references) if name in found]


def ordered(names: Iterable[Name], references: Iterable[tuple[Name, Name]]) -> list[Name]:
    """Names such that each comes after those it refers to; raises graphlib.CycleError."""
    sorter: TopologicalSorter[Name] = TopologicalSorter(dict.fromkeys(names, ()))
    for name, other in references:
        sorter.add(name, other)
    return [*sorter.static_order()]


def sequences(connection: psycopg.Connection, within: Iterable[str]) -> list[Sequence]:
    """The next number of each identity column; numbers that were given out meanwhile are passed over."""
    return [
        Sequence(schema, table, column, _next(connection, sequence))
        for schema, table, column, sequence in connection.execute(_IDENTITIES, [[*within]]).fetchall()
    ]


def _next(connection: psycopg.Connection, sequence: str) -> int:
    # The name is quoted by Postgres.
    statement = f"SELECT last_value + is_called::int FROM {sequence}".encode()
    return int(connection.execute(statement).fetchall()[0][0])
