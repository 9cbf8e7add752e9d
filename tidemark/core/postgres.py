"""Postgres as delivery and responses use it: in the schema of the run, errors in words, one at a time by name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

import psycopg
from psycopg import sql

from tidemark.core.errors import StandbyError, TidemarkError, UnavailableError
from tidemark.core.names import Names
from tidemark.core.settings import PostgresSettings
from udfs.postgres import connect, deadline, first_line

STATEMENT_TIMEOUT_MS = 15_000

Answer = TypeVar("Answer")


class Database:
    """One connection, made again after each failure.

    Parameters
    ----------
    postgres, names:
        Where Postgres is, and the run whose usage schema is meant.
    part:
        Which part of Tidemark it is, shown in pg_stat_activity.
    claim:
        Name that only one connection has at a time; empty for no such right.
    """

    def __init__(self, postgres: PostgresSettings, names: Names, part: str, claim: str = "") -> None:
        self._postgres = postgres
        self._schema = names.usage_schema
        self._part = part
        self._claim = claim
        self._connection: psycopg.Connection | None = None

    def ask(self, question: Callable[[psycopg.Connection], Answer], timeout_ms: int = STATEMENT_TIMEOUT_MS) -> Answer:
        """The answer to a question, within `timeout_ms` and a margin.

        Raises
        ------
        UnavailableError
            Postgres is away; the next question opens a new connection.
        StandbyError
            Another connection has the claim.
        TidemarkError
            The database has no tables.
        """
        try:
            if self._connection is None:
                self._connection = self._opened()
            with deadline(self._connection, timeout_ms):
                return question(self._connection)
        except psycopg.Error as error:
            self.close()
            raise translated(self._postgres, error) from error

    def close(self) -> None:
        """Give the connection back, and with it the claim."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _opened(self) -> psycopg.Connection:
        connection = connect(
            self._postgres.url,
            statement_timeout_ms=STATEMENT_TIMEOUT_MS,
            application_name=f"tidemark {self._part}",
        )
        connection.execute(sql.SQL("SET search_path TO {}, public").format(sql.Identifier(self._schema)))
        if self._claim and not _claimed(connection, f"tidemark {self._claim} {self._schema}"):
            connection.close()
            raise StandbyError(f"another `{self._claim}` of {self._schema} is at work.", "end one of the two.")
        return connection


def ask_once(
    postgres: PostgresSettings, names: Names, part: str, question: Callable[[psycopg.Connection], Answer]
) -> Answer:
    """The answer to one question, over a connection of its own; raises as `Database.ask` does."""
    with closing(Database(postgres, names, part)) as database:
        return database.ask(question)


def _claimed(connection: psycopg.Connection, name: str) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [name]).fetchone()
    return row is not None and bool(row[0])


def translated(postgres: PostgresSettings, error: psycopg.Error) -> TidemarkError:
    """Say what a person can do about a database error."""
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
        return TidemarkError("the database has no current usage tables.", "run `tidemark db migrate`.")
    return UnavailableError(
        f"Postgres at {postgres.url} cannot be used: {first_line(error)}",
        "start it (`tidemark up`) or correct postgres.url and postgres.passfile.",
    )
