"""A database for a while, beside the one of the settings: what a backup is tried in."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from tidemark.core import postgres
from tidemark.core.errors import UsageError
from tidemark.core.settings import PostgresSettings, Settings

_URLS = ("url", "owner_url", "writer_url", "ledger_url", "ops_url")


@contextmanager
def scratch(settings: Settings, name: str = "") -> Iterator[Settings]:
    """Settings that reach an empty database on the same server: one that is made and dropped, or an empty one by name.

    Raises
    ------
    UsageError
        The login of `postgres.owner_url` may make none.
    UnavailableError
        Postgres does not answer.
    """
    if name:
        yield at(settings, name)
        return
    made = f"tidemark_verify_{secrets.token_hex(4)}"
    with postgres.connect(settings.postgres.owner) as connection:
        _make(connection, made)
    try:
        yield at(settings, made)
    finally:
        with postgres.connect(settings.postgres.owner) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(made)))


def at(settings: Settings, database: str) -> Settings:
    """The settings with another database of the same server, for every role."""
    return settings.with_changes({f"postgres.{name}": url for name, url in _moved(settings.postgres, database).items()})


def _moved(section: PostgresSettings, database: str) -> dict[str, str]:
    urls = {name: getattr(section, name) for name in _URLS}
    return {name: urlsplit(url)._replace(path=f"/{database}").geturl() for name, url in urls.items() if url}


def _make(connection: psycopg.Connection, name: str) -> None:
    try:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.errors.InsufficientPrivilege as error:
        login = connection.info.user
        raise UsageError(
            f"{login} may not make a database to try the backup in.",
            f"ALTER ROLE {login} CREATEDB; or have one made for it, empty, and name it: --database NAME.",
        ) from error
