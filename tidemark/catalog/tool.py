"""Catalog tool: a YAML file into Postgres in one transaction, as versions of the rows that differ; and back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from tidemark.catalog import file as catalog_file
from tidemark.catalog import history
from tidemark.catalog import rows as catalog_rows
from tidemark.catalog.checked import planned
from tidemark.catalog.confirmations import Confirmation, confirmations
from tidemark.catalog.cuts import Cut, changed_calendars, cuts
from tidemark.catalog.entries import mapping
from tidemark.catalog.exported import exported
from tidemark.catalog.file import OWNED, TABLES
from tidemark.catalog.instants import shown
from tidemark.catalog.plan import Plan
from tidemark.catalog.plan_faults import Terms
from tidemark.catalog.schema_faults import suggestion
from tidemark.catalog.timeline import Stored
from tidemark.core import access, audit
from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.postgres import NOT_MIGRATED, connect
from tidemark.core.settings import Settings
from udfs.postgres import first_line
from udfs.values import epoch_ms

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


@dataclass(frozen=True, slots=True)
class Outcome:
    """A plan and the catalog's revision: after it where it was applied, else before."""

    revision: int
    plan: Plan


def preview(
    settings: Settings, path: Path, *, backdate: bool = False, prune: bool = False, all_tenants: bool = False
) -> Outcome:
    """What `apply` would do now, changing nothing; faults of the plan are left for the caller to raise.

    Raises
    ------
    UsageError
        Every fault of the file itself.
    UnavailableError, TidemarkError
        Postgres cannot be reached, or is not migrated.

    """
    file = catalog_file.read(path)
    with _transaction(settings) as connection:
        connection.execute(_SNAPSHOT)
        revision, now = connection.execute(_BEGIN).fetchall()[0]
        terms = _terms(settings, revision, now, backdate=backdate, prune=prune, all_tenants=all_tenants)
        return Outcome(revision, _plan(connection, settings, file, path, terms))


def apply(
    settings: Settings,
    path: Path,
    *,
    backdate: bool = False,
    prune: bool = False,
    all_tenants: bool = False,
    announce: Callable[[Plan], None] = lambda _: None,
    agreed: Collection[Confirmation] | None = None,
    by: str = "",
) -> Outcome:
    """Make the catalog equal to the file; see `tidemark.catalog.plan.plan` for the event times of the change.

    Parameters
    ----------
    settings:
        Database, refresh interval and clock skew.
    path:
        The file.
    backdate:
        Change what events may have been counted by already; a replay then counts them anew.
    prune:
        Close rows of the tenants in the file that it does not name; otherwise they stay as they are.
    all_tenants:
        With `prune`: the file is the whole catalog. All it does not name is closed, and keys it does not name cleared.
    announce:
        Called with the plan before it is carried out, in the same transaction, and also if it is refused.
    agreed:
        What was confirmed of what the plan needs; None: all of it.
    by:
        Who does it, for the audit.

    Raises
    ------
    UsageError
        Every fault at once, each with its path: of the file itself, or else of the plan.
    UnavailableError, TidemarkError
        Postgres cannot be reached, is not migrated, or was changed by somebody else meanwhile.

    """
    file = catalog_file.read(path)
    with _transaction(settings) as connection:
        revision, now = connection.execute(_LOCK).fetchall()[0]
        terms = _terms(settings, revision, now, backdate=backdate, prune=prune, all_tenants=all_tenants)
        made = _plan(connection, settings, file, path, terms)
        announce(made)
        catalog_file.fail(path, made.faults)
        _require(made, agreed)
        if made.changes:
            revision += 1
            # First, because the history records each change under the current revision.
            connection.execute("UPDATE catalog.revision SET revision = %s, applied_at = %s", [revision, now])
            catalog_rows.write(connection, made.changes)
            how = {"backdate": backdate, "prune": prune, "all_tenants": all_tenants, "changes": len(made.changes)}
            audit.record(connection, "", "catalog.apply", path.name, by=by, revision=revision, **how)
            access.analyze(connection)
        return Outcome(revision, made)


def show(
    settings: Settings, at: datetime | None = None, known_at: datetime | None = None, tenant: str | None = None
) -> dict[str, Any]:
    """Read the revision, and by table the versions that hold at an event time; None: now.

    With `known_at` as they were known at that instant; with `tenant` only its own, the meters of all tenants, and the
    calendars that it and its customers name.

    Raises
    ------
    UsageError
        That instant is before the history, or in the future. Or there is no such tenant.
    UnavailableError, TidemarkError
        Postgres cannot be reached, or is not migrated.

    """
    with _transaction(settings) as connection, history.translated():
        connection.execute(_SNAPSHOT)
        revision, applied_at, now = _current(connection, known_at)
        at_ms = epoch_ms(at or now)
        versions = {table: catalog_rows.versions_at(connection, table, at_ms, known_at) for table in TABLES}
    if tenant is not None:
        versions = _narrowed(versions, tenant)
    tables = {_plural(table): rows for table, rows in versions.items()}
    return {"revision": revision, "applied_at": shown(epoch_ms(applied_at)), "at": shown(at_ms), **tables}


def show_file(
    settings: Settings, at: datetime | None = None, known_at: datetime | None = None, tenant: str | None = None
) -> tuple[int, dict[str, Any]]:
    """The revision, and the content of a catalog file that changes nothing when it is applied now.

    It has what is to hold in the end: a planned version with its `valid_from`. With `at` it has what holds then
    instead. Other parameters and errors: see `show`.
    """
    with _transaction(settings) as connection, history.translated():
        connection.execute(_SNAPSHOT)
        revision, _, now = _current(connection, known_at)
        stored = catalog_rows.read(connection, None if tenant is None else [tenant], known_at)
    if tenant is not None:
        _require_tenant(tenant, [str(name) for (name,) in stored["tenant"]])
    return revision, exported(stored, epoch_ms(now), tenant, None if at is None else epoch_ms(at))


def _current(connection: psycopg.Connection, known_at: datetime | None) -> Any:
    statement = sql.SQL("SELECT revision, applied_at, clock_timestamp() FROM {}")
    return connection.execute(statement.format(catalog_rows.source("revision", known_at))).fetchall()[0]


def _narrowed(versions: Mapping[str, list[dict[str, Any]]], tenant: str) -> dict[str, list[dict[str, Any]]]:
    _require_tenant(tenant, [row["tenant_id"] for row in versions["tenant"]])
    rows = {
        table: [
            row for row in versions[table] if row["tenant_id"] in ((tenant, None) if table == "meter" else (tenant,))
        ]
        for table in OWNED
    }
    named = {row["calendar_id"] for table in ("tenant", "customer") for row in rows[table]}
    return {"calendar": [row for row in versions["calendar"] if row["calendar_id"] in named], **rows}


def _require_tenant(tenant: str, known: Sequence[str]) -> None:
    if tenant not in known:
        raise UsageError(f"there is no tenant {tenant!r}.{suggestion(tenant, known)}", "name one of the catalog.")


def _require(made: Plan, agreed: Collection[Confirmation] | None) -> None:
    subjects = {confirmation.subject for confirmation in agreed or ()}
    more = [confirmation for confirmation in made.confirmations if confirmation.subject not in subjects]
    if agreed is not None and more:
        lines = "\n".join(f"  {confirmation.text}" for confirmation in more)
        raise UsageError(f"the plan has changed since it was shown:\n{lines}", "read it, and apply again.")


def _terms(
    settings: Settings, revision: int, now: datetime, *, backdate: bool, prune: bool, all_tenants: bool
) -> Terms:
    return Terms(
        now_ms=epoch_ms(now),
        first=revision == 0,
        refresh_s=settings.catalog.refresh_s,
        tolerance_s=settings.events.future_tolerance_s,
        backdate=backdate,
        prune=prune,
        all_tenants=all_tenants,
    )


def _plan(
    connection: psycopg.Connection, settings: Settings, file: catalog_file.CatalogFile, path: Path, terms: Terms
) -> Plan:
    tenants = None if terms.is_whole else [*mapping(mapping(file.content).get("tenants"))]
    stored = catalog_rows.read(connection, tenants)
    made = planned(
        file,
        path,
        terms,
        longest_period_days=settings.flink.state_ttl_days,
        stored=stored,
        known=catalog_rows.known(connection),
    )
    cut = _cuts(connection, settings, made, stored)
    return replace(made, confirmations=tuple(confirmations(made.changes, cut, prune=terms.prune)))


def _cuts(connection: psycopg.Connection, settings: Settings, made: Plan, stored: Stored) -> tuple[Cut, ...]:
    if calendars := changed_calendars(made.changes):
        stored = {**stored, "customer": {**catalog_rows.customers_on(connection, calendars), **stored["customer"]}}
    customers = [change for change in made.changes if change.table == "customer" and change.kind == "added"]
    added = [change.key for change in customers if (change.new or [0])[0]]
    used = catalog_rows.with_usage(connection, settings.names.usage_schema, added)
    return cuts(made.changes, stored, {*added} - used)


def _plural(table: str) -> str:
    return f"{table[:-1]}ies" if table.endswith("y") else f"{table}s"


@contextmanager
def _transaction(settings: Settings) -> Iterator[psycopg.Connection]:
    try:
        with (
            connect(settings.postgres.ops, statement_timeout_s=_STATEMENT_TIMEOUT_S) as connection,
            connection.transaction(),
        ):
            yield connection
    except NOT_MIGRATED as error:
        raise TidemarkError("the database has no current catalog tables.", "run `tidemark db migrate`.") from error
    except psycopg.errors.IntegrityError as error:
        raise TidemarkError(
            f"the database refuses the new versions: {first_line(error)} ({error.diag.message_detail or 'no detail'})",
            "somebody wrote into the catalog's tables meanwhile; look at `tidemark catalog show` and apply again.",
        ) from error
