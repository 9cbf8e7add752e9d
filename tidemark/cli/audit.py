"""`tidemark audit`: who did what, when and from where."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

from tidemark.cli.output import Json, Table, emit
from tidemark.core import audit as core_audit
from tidemark.core.audit import Entry, Filter
from tidemark.core.postgres import run_once
from tidemark.core.settings import load
from tidemark.core.times import given_instant
from udfs.values import rfc3339

Action = Annotated[str | None, typer.Option(help="Only this action, as replay.promote, or group, as replay.")]
Subject = Annotated[str | None, typer.Option(help="Only what was done to this: TENANT/CUSTOMER, a job, a replay, …")]
Login = Annotated[str | None, typer.Option(help="Only what this login of the database did.")]
Since = Annotated[str | None, typer.Option(help="Only from this RFC 3339 instant on.")]
Until = Annotated[str | None, typer.Option(help="Only before this RFC 3339 instant.")]
Limit = Annotated[int, typer.Option(min=1, help="Entries shown, the newest.")]
RunId = Annotated[str | None, typer.Option("--run-id", help="Only what concerns this run; else all runs.")]


def register(app: typer.Typer) -> None:
    """Add the command to the `tidemark` app."""
    app.command("audit")(audit)


def audit(
    action: Action = None,
    subject: Subject = None,
    login: Login = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Print who changed what: the newest entries of the audit."""
    wanted = Filter(action, subject, login, _instant(since, "--since"), _instant(until, "--until"), run_id)
    entries = run_once(load().postgres.ops, "audit", lambda db: core_audit.newest(db, wanted, limit))
    documents = [{**asdict(entry), "at": rfc3339(entry.at)} for entry in entries]
    emit(documents, _drawn(entries), as_json=as_json)


def _drawn(entries: Sequence[Entry]) -> Table | str:
    table = Table("entry", "at", "login", "from", "by", "action", "subject", "detail")
    for entry in entries:
        detail = json.dumps(entry.detail, ensure_ascii=False)
        who = (entry.login, entry.client or "local", entry.stated_by)
        table.add_row(str(entry.entry_id), rfc3339(entry.at), *who, entry.action, entry.subject, detail)
    return table if entries else "no entry"


def _instant(text: str | None, option: str) -> datetime | None:
    return None if text is None else given_instant(text, option)
