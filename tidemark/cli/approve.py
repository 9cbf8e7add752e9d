"""`tidemark approve`: the second of two people."""

from __future__ import annotations

from typing import Annotated, get_args

import typer

from tidemark.cli.by import By
from tidemark.cli.output import Json, emit
from tidemark.core import two_person
from tidemark.core.errors import UsageError
from tidemark.core.postgres import run_once
from tidemark.core.settings import TwoPerson, load

ACTIONS = get_args(TwoPerson)
Action = Annotated[str, typer.Argument(help=f"One of {', '.join(ACTIONS)}.")]
Subject = Annotated[str, typer.Argument(help="The replay, the number of the drift, or TENANT/CUSTOMER.")]
RunId = Annotated[str | None, typer.Option("--run-id", help="Run that it concerns; the live run when absent.")]


def register(app: typer.Typer) -> None:
    """Add the command to the `tidemark` app."""
    app.command("approve")(approve)


def approve(action: Action, subject: Subject, by: By = "", run_id: RunId = None, as_json: Json = False) -> None:
    """Approve what another login is about to do, once, within a day."""
    if action not in ACTIONS:
        raise UsageError(f"{action} takes no approval.", f"name one of {', '.join(ACTIONS)}.")
    settings = load(run_id=run_id)
    number, needed = run_once(
        settings.postgres.ops,
        "approve",
        lambda db: (two_person.approve(db, settings.run_id, action, subject, by), action in two_person.stored(db)),
    )
    rule = "" if needed else "; the two-person rule does not hold for it (audit.two_person)"
    emit(
        {"entry": number, "action": action, "subject": subject, "needed": needed},
        f"{action} of {subject} is approved by entry {number}{rule}",
        as_json=as_json,
    )
