"""Postgres for everything beside the jobs: one connection remade after failures, errors in words, locks by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import TypeVar

import psycopg
from psycopg import sql

from tidemark.core.errors import StandbyError, TidemarkError, UnavailableError
from tidemark.core.settings import PostgresSettings
from tidemark.core.watchdog import watched
from udfs import postgres as low_level
from udfs.postgres import deadline, first_line

STATEMENT_TIMEOUT_MS = 15_000
# A tool waits this long for a lock that another one, or a job, holds; longer means somebody should see to it.
LOCK_TIMEOUT_S = 60
# Of a stop's time; a claim that is not released by then ends with its session.
RELEASE_MS = 1_000

# A step of a role waits for Kafka no longer than this.
CLAIM_IDLE_S = 180.0
# A tool may read Kafka, or write a file, for long without asking the database.
TOOL_IDLE_S = 3_600.0
# Of the server's side: a machine that is gone without a word is noticed within half a minute. Only over TCP.
_KEEPALIVES = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}

# The tables, or what they are made of, are not those that the statement was written for.
NOT_MIGRATED = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.InvalidSchemaName,
)

Result = TypeVar("Result")


class Database:
    """One connection, made again after each failure.

    Parameters
    ----------
    postgres:
        Where Postgres is.
    part:
        Which part of Tidemark it is, shown in pg_stat_activity.
    schema:
        Where tables without a schema are; empty where statements name theirs.
    claim:
        Name that only one connection of a schema has at a time; empty for no such right.
    timeout_ms:
        Longest time of a statement and, unless `run` says otherwise, of an operation.
    claim_idle_s:
        Longest time between two operations of who has the claim: one that says nothing for longer (it is frozen, or its
        network is dead) loses it to another connection.
    """

    def __init__(
        self, postgres: PostgresSettings, part: str, schema: str = "", *, claim: str = "",
        timeout_ms: int = STATEMENT_TIMEOUT_MS, claim_idle_s: float = CLAIM_IDLE_S,
    ) -> None:  # fmt: skip
        self._postgres = postgres
        self._part = part
        self._schema = schema
        self._claim = claim
        self._timeout_ms = timeout_ms
        self._claim_idle_s = claim_idle_s
        self._connection: psycopg.Connection | None = None

    def run(self, operation: Callable[[psycopg.Connection], Result], timeout_ms: int | None = None) -> Result:
        """The result of an operation, which ends within `timeout_ms` and a margin.

        Raises
        ------
        UnavailableError
            Postgres cannot be used; the next operation opens a new connection.
        StandbyError
            Another connection has the claim.
        TidemarkError
            The database has no current tables, or the role of this login has not the right.
        """
        with self.using(timeout_ms) as connection:
            return operation(connection)

    @contextmanager
    def using(self, timeout_ms: int | None = None) -> Iterator[psycopg.Connection]:
        """The connection, for a body that ends within `timeout_ms` and a margin; raises as `run` does."""
        try:
            if self._connection is None:
                self._connection = self._open()
            with deadline(self._connection, self._timeout_ms if timeout_ms is None else timeout_ms):
                yield self._connection
        except psycopg.Error as error:
            self.close()
            raise translated(self._postgres, error) from error

    def close(self) -> None:
        """Give the claim back, then the connection: the server may take a while to notice that a session has ended."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._claim and not connection.closed:
            self._release(connection)
        connection.close()

    def _release(self, connection: psycopg.Connection) -> None:
        # Whatever is wrong with the connection, its end releases the claim as well.
        with suppress(psycopg.Error), deadline(connection, RELEASE_MS):
            connection.rollback()
            unlock(connection, self._lock_name)

    @property
    def _lock_name(self) -> str:
        return f"tidemark {self._claim} {self._schema}"

    def _open(self) -> psycopg.Connection:
        connection = low_level.connect(
            self._postgres.url, statement_timeout_ms=self._timeout_ms, application_name=f"tidemark {self._part}"
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: psycopg.Connection) -> None:
        if self._schema:
            use_schema(connection, self._schema)
        if self._claim:
            end_when_idle(connection, self._claim_idle_s)
        if self._claim and not try_lock(connection, self._lock_name):
            raise StandbyError(f"another `{self._claim}` of {self._schema} is at work.", "end one of the two.")


def run_once(
    postgres: PostgresSettings, part: str, operation: Callable[[psycopg.Connection], Result], schema: str = "",
    *, timeout_ms: int = STATEMENT_TIMEOUT_MS,
) -> Result:  # fmt: skip
    """The result of one operation, over a connection of its own; parameters and errors are those of `Database`."""
    with closing(Database(postgres, part, schema, timeout_ms=timeout_ms)) as database:
        return database.run(operation)


@contextmanager
def connect(postgres: PostgresSettings, *, statement_timeout_s: int = 0) -> Iterator[psycopg.Connection]:
    """Autocommit connection in UTC for a tool; a statement may take `statement_timeout_s` (0: any time).

    However long that is, a server that is no longer at work on it is given up within about half a minute.

    Raises
    ------
    UnavailableError
        Postgres cannot be reached, or went away meanwhile.
    TidemarkError
        The role of this login has not the right.
    """
    waits = {"statement_timeout_ms": statement_timeout_s * 1_000, "lock_timeout_ms": LOCK_TIMEOUT_S * 1_000}
    try:
        with low_level.connect(postgres.url, application_name="tidemark", **waits) as connection:
            with deadline(connection, STATEMENT_TIMEOUT_MS):
                pid = end_when_idle(connection, TOOL_IDLE_S)
            with watched(connection, postgres.url, pid):
                yield connection
    except (psycopg.OperationalError, psycopg.errors.InsufficientPrivilege) as error:
        raise translated(postgres, error) from error


def end_when_idle(connection: psycopg.Connection, idle_s: float) -> int:
    """Have the server end this session, and give back its locks, when nothing came for `idle_s` or its peer is dead.

    Returns the process of the server, which a pooler in between hides from the client.
    """
    idle = f"{int(idle_s)}s"
    settings = {"idle_session_timeout": idle, "idle_in_transaction_session_timeout": idle, **_KEEPALIVES}
    values = sql.SQL(", ").join(
        sql.SQL("set_config({}, {}, false)").format(sql.Literal(name), sql.Literal(value))
        for name, value in settings.items()
    )
    return int(connection.execute(sql.SQL("SELECT pg_backend_pid(), {}").format(values)).fetchall()[0][0])


def use_schema(connection: psycopg.Connection, schema: str) -> None:
    """Look for tables without a schema in this one first."""
    connection.execute(sql.SQL("SET search_path TO {}, public").format(sql.Identifier(schema)))


def try_lock(connection: psycopg.Connection, name: str) -> bool:
    """Take the lock of a name until the connection ends; False when another connection has it."""
    row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [name]).fetchone()
    return row is not None and bool(row[0])


def unlock(connection: psycopg.Connection, name: str) -> None:
    """Give the lock of a name back, once for each time it was taken."""
    connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [name])


def lock(connection: psycopg.Connection, name: str) -> None:
    """Wait for the lock of a name, as long as `lock_timeout` says, and keep it until the connection ends."""
    connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [name])


def lock_in_transaction(connection: psycopg.Connection, name: str) -> None:
    """Wait for the lock of a name, and keep it until the transaction ends."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])


def translated(postgres: PostgresSettings, error: psycopg.Error) -> TidemarkError:
    """Say what a person can do about a database error."""
    if isinstance(error, NOT_MIGRATED):
        return TidemarkError(f"the database has no current tables: {first_line(error)}", "run `tidemark db migrate`.")
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return TidemarkError(
            f"the role of {postgres.url} may not do that: {first_line(error)}",
            "give the URL of the role that may (docs/security.md), or run `tidemark db migrate`, which grants rights.",
        )
    return unavailable(postgres, error)


def unavailable(postgres: PostgresSettings, error: BaseException) -> UnavailableError:
    """Say that Postgres cannot be used, and why."""
    return UnavailableError(
        f"Postgres at {postgres.url} cannot be used: {first_line(error)}",
        "start it (`tidemark up`) or correct postgres.url and postgres.passfile.",
    )
