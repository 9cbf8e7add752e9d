"""Catalog tool: a YAML file into Postgres in one transaction, as versions of the rows that differ; and what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from jobs import access
from jobs.catalog import file as catalog_file
from jobs.catalog import rows as catalog_rows
from jobs.catalog.check import check
from jobs.catalog.check_limits import NOTHING
from jobs.catalog.file import TABLES
from jobs.catalog.instants import shown
from jobs.catalog.known import refusals
from jobs.catalog.plan import Plan, plan
from jobs.catalog.refusals import Terms
from jobs.db import connect
from jobs.errors import TidemarkError
from jobs.settings import Settings
from udfs.postgres import first_line

# A million new customers take a minute, most of it in the constraint against overlaps.
_STATEMENT_TIMEOUT_S = 600
# The instant is later than the last apply's even if the clock is not. Whole milliseconds, as event times are.
_BEGIN: LiteralString = """
SELECT revision, greatest(date_trunc('milliseconds', clock_timestamp()), applied_at + interval '1 ms')
FROM catalog.revision
"""
# Locks the one row: applies follow each other, and each sees what the one before it wrote.
_LOCK: LiteralString = f"{_BEGIN} FOR UPDATE"
_SNAPSHOT: LiteralString = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_NOT_MIGRATED = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.InvalidSchemaName,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A plan and the catalog's revision: after it where it was applied, else before."""

    revision: int
    plan: Plan


def preview(settings: Settings, path: Path, *, backdate: bool = False, prune: bool = False) -> Outcome:
    """What `apply` would do now, changing nothing; faults of the plan are left for the caller to raise.

    Raises
    ------
    UsageError
        Every fault of the file itself.
    UnavailableError, TidemarkError
        Postgres is away, or not migrated.

    """
    file = catalog_file.read(path)
    with _transaction(settings) as connection:
        connection.execute(_SNAPSHOT)
        revision, now = connection.execute(_BEGIN).fetchall()[0]
        terms = _terms(settings, revision, now, backdate=backdate, prune=prune)
        return Outcome(revision, _plan(connection, file, path, terms, settings.state_ttl_days))


def apply(
    settings: Settings,
    path: Path,
    *,
    backdate: bool = False,
    prune: bool = False,
    announce: Callable[[Plan], None] = lambda _: None,
) -> Outcome:
    """Make the catalog say what the file says; see `jobs.catalog.plan.plan` for the event times it says so for.

    Parameters
    ----------
    settings:
        Database, refresh interval and clock skew.
    path:
        The file.
    backdate:
        Change what events may have been counted by already; a replay then counts them anew.
    prune:
        Close rows that the file does not name; otherwise they stay as they are.
    announce:
        Called with the plan before it is carried out, in the same transaction, and also if it is refused.

    Raises
    ------
    UsageError
        Every fault at once, each with its path: of the file itself, or else of the plan.
    UnavailableError, TidemarkError
        Postgres is away, not migrated, or changed by somebody else meanwhile.

    """
    file = catalog_file.read(path)
    with _transaction(settings) as connection:
        revision, now = connection.execute(_LOCK).fetchall()[0]
        terms = _terms(settings, revision, now, backdate=backdate, prune=prune)
        made = _plan(connection, file, path, terms, settings.state_ttl_days)
        announce(made)
        catalog_file.fail(path, made.faults)
        if made.changes:
            revision += 1
            # First, because the history writes each change down under the revision that stands.
            connection.execute("UPDATE catalog.revision SET revision = %s, applied_at = %s", [revision, now])
            catalog_rows.write(connection, made.changes)
            access.analyze(connection)
        return Outcome(revision, made)


def show(settings: Settings, at: datetime | None = None, known_at: datetime | None = None) -> dict[str, Any]:
    """Read the revision, and by table the versions that hold at an event time; None: now.

    With `known_at` as they were known at that instant.

    Raises
    ------
    UsageError
        What was known then is not: it is before the history, or in the future.
    UnavailableError, TidemarkError
        Postgres is away, or not migrated.

    """
    with _transaction(settings) as connection, refusals():
        connection.execute(_SNAPSHOT)
        statement = sql.SQL("SELECT revision, applied_at, clock_timestamp() FROM {}")
        stands = catalog_rows.source("revision", known_at)
        revision, applied_at, now = connection.execute(statement.format(stands)).fetchall()[0]
        at_ms = _ms(at or now)
        tables = {_plural(table): catalog_rows.versions_at(connection, table, at_ms, known_at) for table in TABLES}
    return {"revision": revision, "applied_at": shown(_ms(applied_at)), "at": shown(at_ms), **tables}


def _terms(settings: Settings, revision: int, now: datetime, *, backdate: bool, prune: bool) -> Terms:
    return Terms(
        now_ms=_ms(now),
        first=revision == 0,
        refresh_s=settings.catalog_refresh_s,
        tolerance_s=settings.future_tolerance_s,
        backdate=backdate,
        prune=prune,
    )


def _plan(
    connection: psycopg.Connection, file: catalog_file.CatalogFile, path: Path, terms: Terms, longest_period_days: int
) -> Plan:
    # A calendar that a tenant or customer names may come from an earlier file.
    calendars = [row[0] for row in connection.execute("SELECT DISTINCT calendar_id FROM catalog.calendar")]
    # Pruned, nothing stays open that the file could lean on.
    known = NOTHING if terms.prune else catalog_rows.known(connection)
    faults = check(file, known_calendars=calendars, longest_period_days=longest_period_days, known=known)
    catalog_file.fail(path, faults)
    wanted = catalog_file.rows(file)
    tenants = None if terms.prune else [row.key[0] for row in wanted["tenant"]]
    terms = replace(terms, default_ms=catalog_file.default_valid_from(file))
    return plan(wanted, catalog_rows.read(connection, tenants), terms)


def _plural(table: str) -> str:
    return f"{table[:-1]}ies" if table.endswith("y") else f"{table}s"


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


@contextmanager
def _transaction(settings: Settings) -> Iterator[psycopg.Connection]:
    try:
        with connect(settings, statement_timeout_s=_STATEMENT_TIMEOUT_S) as connection, connection.transaction():
            yield connection
    except _NOT_MIGRATED as error:
        raise TidemarkError("the database has no current catalog tables.", "run `tidemark db migrate`.") from error
    except psycopg.errors.IntegrityError as error:
        raise TidemarkError(
            f"the database refuses the new versions: {first_line(error)} ({error.diag.message_detail or 'no detail'})",
            "somebody wrote into the catalog's tables meanwhile; look at `tidemark catalog show` and apply again.",
        ) from error
