"""The one connection to Postgres: remade after failures, bound in time, one holder of a claim, errors with a fix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from jobs.flink.rest import wait_until
from tests.addresses import postgres_by
from tests.integration.storage import own_run
from tests.sessions import end_sessions
from tests.toxics import toxics
from tidemark.core import watchdog
from tidemark.core.errors import StandbyError, TidemarkError, UnavailableError
from tidemark.core.postgres import Database, connect, run_once
from tidemark.core.settings import Settings


@pytest.fixture(scope="module")
def run(stack: Any) -> Iterator[Settings]:
    with own_run(stack.settings) as settings:
        yield settings


def answer(statement: str) -> Any:
    return lambda connection: connection.execute(statement).fetchone()[0]


def test_a_connection_that_the_server_ended_is_made_again(run: Settings) -> None:
    with closing(Database(run.postgres, "core-remade", run.names.usage_schema)) as database:
        first = database.run(answer("SELECT pg_backend_pid()"))
        assert database.run(answer("SELECT pg_backend_pid()")) == first
        assert end_sessions(run, "core-remade") == 1
        with pytest.raises(UnavailableError, match=r"cannot be used: .* Fix: start it"):
            database.run(answer("SELECT 1"))
        assert database.run(answer("SELECT pg_backend_pid()")) != first
        # The schema is that of the run again.
        assert database.run(answer("SELECT current_schema()")) == run.names.usage_schema


def test_a_statement_ends_in_time(run: Settings) -> None:
    with closing(Database(run.postgres, "core-slow", timeout_ms=200)) as database:
        with pytest.raises(UnavailableError, match="statement timeout"):
            database.run(answer("SELECT pg_sleep(60)"))
        assert database.run(answer("SELECT 1")) == 1


def test_a_claim_has_one_holder_and_goes_with_its_connection(run: Settings) -> None:
    schema = run.names.usage_schema
    first = Database(run.postgres, "core-first", schema, claim="test")
    with closing(first), closing(Database(run.postgres, "core-second", schema, claim="test")) as second:
        assert first.run(answer("SELECT 1")) == 1
        with pytest.raises(StandbyError, match=f"another `test` of {schema} is at work"):
            second.run(answer("SELECT 1"))
        # Another run, and another claim, are free.
        for other_schema, claim in (("usage", "test"), (schema, "other")):
            with closing(Database(run.postgres, "core-other", other_schema, claim=claim)) as other:
                assert other.run(answer("SELECT 1")) == 1
        assert end_sessions(run, "core-first") == 1
        assert second.run(answer("SELECT 1")) == 1
        # The one that lost it says so, whatever comes first: its connection is gone, or the claim.
        with pytest.raises(UnavailableError):
            first.run(answer("SELECT 1"))
        with pytest.raises(StandbyError):
            first.run(answer("SELECT 1"))


@pytest.mark.parametrize("statement", ["SELECT * FROM missing", "SELECT missing FROM usage_hour", "SELECT missing(1)"])
def test_tables_of_another_version_say_migrate(run: Settings, statement: str) -> None:
    with pytest.raises(TidemarkError, match=r"no current tables: .*missing.* Fix: run `tidemark db migrate`") as error:
        run_once(run.postgres, "core", answer(statement), run.names.usage_schema)
    assert not isinstance(error.value, UnavailableError)


def test_errors_of_the_operation_are_its_own(run: Settings) -> None:
    with closing(Database(run.postgres, "core-own")) as database:
        before = database.run(answer("SELECT pg_backend_pid()"))

        def refuse(_: psycopg.Connection) -> None:
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            database.run(refuse)
        assert database.run(answer("SELECT pg_backend_pid()")) == before


def locks(run: Settings) -> int:
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid IN (SELECT pid FROM pg_stat_activity "
    with connect(run.postgres) as connection:
        row = connection.execute(f"{query} WHERE application_name = 'tidemark core-claim')".encode()).fetchone()
    assert row is not None
    return int(row[0])


def test_a_claim_is_released_by_close_not_by_the_end_of_the_session(run: Settings) -> None:
    database = Database(run.postgres, "core-claim", run.names.usage_schema, claim="test")
    database.run(answer("SELECT 1"))
    assert locks(run) == 1
    # The session stays as a server would see it that has not noticed its end.
    connection = database._connection
    assert connection is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(connection), "close", lambda _: None)
        database.close()
    with connection:
        assert locks(run) == 0


def test_a_holder_that_says_nothing_loses_its_claim(run: Settings) -> None:
    schema = run.names.usage_schema
    frozen = Database(run.postgres, "core-frozen", schema, claim="test", claim_idle_s=1)
    with closing(frozen), closing(Database(run.postgres, "core-next", schema, claim="test")) as standby:
        frozen.run(answer("SELECT 1"))
        assert frozen.run(answer("SHOW tcp_keepalives_idle")) == "10"

        def took_over() -> bool:
            with suppress(StandbyError):
                return bool(standby.run(answer("SELECT 1")))
            return False

        wait_until(took_over, 30, "the claim")
        with pytest.raises(UnavailableError, match="idle-session timeout"):
            frozen.run(answer("SELECT 1"))
        with pytest.raises(StandbyError):
            frozen.run(answer("SELECT 1"))


def test_a_statement_that_nobody_answers_is_given_up(run: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "CHECK_S", 0.2)
    port = urlsplit(run.postgres.url).port
    assert port is not None
    with toxics() as proxies:
        way = proxies.proxy("postgres", port)
        behind = run.with_changes(postgres_by(run, way.port))
        # One that the server is at work on is waited for, however long it takes.
        with connect(behind.postgres) as connection:
            assert connection.execute("SELECT pg_sleep(1.5), 7").fetchall()[0][1] == 7
        refused = pytest.raises(UnavailableError, match="cannot be used")
        with refused, connect(behind.postgres) as connection, way.under("half_open"):
            connection.execute("SELECT 1")
