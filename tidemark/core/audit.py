"""The audit: who did what, when and from where; an entry is written in the transaction of the change it is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from tidemark.core.errors import TidemarkError
from tidemark.core.postgres import run_once
from tidemark.core.settings import Settings
from tidemark.core.user import stated
from udfs.postgres import first_line

SCHEMA = "audit"
Action = Literal[
    "alerts.acknowledge",
    "archive.erase",
    "audit.approve",
    "audit.two_person",
    "catalog.apply",
    "close.accept_dead_letters",
    "close.approve",
    "close.close",
    "database.clear_rollups",
    "database.migrate",
    "database.restore",
    "deliver.retry",
    "dlq.redrive",
    "job.stop",
    "job.submit",
    "keys.create",
    "keys.revoke",
    "keys.rotate",
    "ledger.recover",
    "live.refresh",
    "read.dead_letters",
    "read.event",
    "read.explain",
    "read.ledger",
    "read.usage",
    "reconcile.explain_drift",
    "reconcile.import_invoices",
    "reconcile.import_manifests",
    "replay.discard",
    "replay.promote",
    "replay.revert",
    "replay.start",
    "respond.undo",
    "retention.act",
]
_RECORD = """
INSERT INTO audit.entry (stated_by, run_id, action, subject, detail)
VALUES (%(by)s, %(run_id)s, %(action)s, %(subject)s, %(detail)s)
RETURNING entry_id
"""
_NEWEST = """
SELECT entry_id, at, login, coalesce(host(client), '') AS client, stated_by, run_id, action, subject, detail
FROM audit.entry
WHERE (%(action)s::text IS NULL OR action = %(action)s OR starts_with(action, %(action)s || '.'))
  AND (%(subject)s::text IS NULL OR subject = %(subject)s)
  AND (%(login)s::text IS NULL OR login = %(login)s)
  AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR at < %(until)s)
  AND (%(run_id)s::text IS NULL OR run_id = %(run_id)s)
ORDER BY entry_id DESC
LIMIT %(limit)s
"""


def record(
    connection: psycopg.Connection, run_id: str, action: Action, subject: str, *, by: str = "", **detail: Any
) -> int:
    """Write an entry, in the transaction of the caller, which has the change too; returns its number.

    Parameters
    ----------
    connection:
        The database writes down its login and address.
    run_id:
        Run that is changed; empty for the live run.
    action, subject:
        What is done, and to what.
    by:
        Name that was stated; empty: the user of this machine.
    detail:
        Options, edits and counts, as JSON values.

    Raises
    ------
    TidemarkError
        The two-person rule holds for the action, and no other login has approved it (`tidemark.core.two_person`).
    """
    values: Mapping[str, Any] = {
        "by": stated(by), "run_id": run_id, "action": action, "subject": subject, "detail": Jsonb(detail),
    }  # fmt: skip
    try:
        return int(connection.execute(_RECORD, values).fetchall()[0][0])
    except psycopg.errors.RaiseException as error:
        raise TidemarkError(first_line(error), f"{error.diag.message_hint}.") from error


def record_before(settings: Settings, action: Action, subject: str, *, by: str = "", **detail: Any) -> int:
    """Write and commit an entry before a read, or a change outside Postgres: there is none without an entry.

    Raises
    ------
    UnavailableError
        Postgres does not answer.
    """
    return run_once(
        settings.postgres.ops,
        "audit",
        lambda connection: record(connection, settings.run_id, action, subject, by=by, **detail),
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry; see the comments of the columns of audit.entry."""

    entry_id: int
    at: datetime
    login: str
    client: str
    stated_by: str
    run_id: str
    action: str
    subject: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries: equal login, subject and run, an action or all of a group; what is None is any."""

    action: str | None = None
    subject: str | None = None
    login: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    run_id: str | None = None


def newest(connection: psycopg.Connection, wanted: Filter, limit: int) -> list[Entry]:
    """The newest `limit` entries, the oldest first."""
    with connection.cursor(row_factory=class_row(Entry)) as cursor:
        found = cursor.execute(_NEWEST, {**asdict(wanted), "limit": limit}).fetchall()
    return found[::-1]
