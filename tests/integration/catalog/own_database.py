"""A database of its own on the shared server: what one module does to the catalog, or closes, is not another's."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from psycopg import sql

from infra.local.addresses import postgres_urls
from infra.local.prepare import connect_admin, make_database
from tidemark.core import migrate
from tidemark.core.settings import Settings


def postgres_at(stack: Any, port: int, database: str) -> dict[str, str]:
    """Settings of all roles that reach a database of the stack."""
    urls = postgres_urls(stack.local.paths, port, database)
    return {f"postgres.{name}": url for name, url in urls.items()}


@contextmanager
def own_database(stack: Any, prefix: str) -> Iterator[Settings]:
    """Settings that reach a fresh database, migrated; it is dropped at the end."""
    name, port = f"{prefix}_{secrets.token_hex(5)}", urlsplit(stack.settings.postgres.url).port
    assert port is not None
    quoted = sql.Identifier(name)
    with connect_admin(stack.local.paths, port) as admin:
        make_database(admin, name)
    with connect_admin(stack.local.paths, port, name) as admin:
        admin.execute("CREATE EXTENSION timescaledb")
        # No test stops Postgres without a shutdown, so nothing is lost by not waiting for its disk.
        admin.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(quoted))
    settings: Settings = stack.settings.with_changes(postgres_at(stack, port, name))
    migrate.migrate(settings)
    try:
        yield settings
    finally:
        with connect_admin(stack.local.paths, port) as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(quoted))
