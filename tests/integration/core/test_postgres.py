"""The one connection to Postgres: remade after failures, bound in time, one holder of a claim, errors with a fix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from tests.integration.storage import own_run
from tidemark.core.errors import StandbyError, TidemarkError, UnavailableError
from tidemark.core.postgres import Database, connect, run_once
from tidemark.core.settings import Settings


@pytest.fixture(scope="module")
def run(stack: Any) -> Iterator[Settings]:
    with own_run(stack.settings) as settings:
        yield settings


def answer(statement: str) -> Any:
    return lambda connection: connection.execute(statement).fetchone()[0]


def end_sessions(settings: Settings, part: str) -> None:
    with connect(settings.postgres) as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = %s",
            [f"tidemark {part}"],
        ).fetchall()
    assert ended == [(True,)]


def test_a_connection_that_the_server_ended_is_made_again(run: Settings) -> None:
    with closing(Database(run.postgres, "core-remade", run.names.usage_schema)) as database:
        first = database.run(answer("SELECT pg_backend_pid()"))
        assert database.run(answer("SELECT pg_backend_pid()")) == first
        end_sessions(run, "core-remade")
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
        end_sessions(run, "core-first")
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
