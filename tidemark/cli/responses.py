"""`tidemark deliver` and `tidemark respond`: notifications to receivers, and automated responses to alerts."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import Annotated, Any

import typer

from tidemark.cli.by import By
from tidemark.cli.output import Json, Table, emit
from tidemark.cli.run_id import RunId
from tidemark.core.errors import UnavailableError, UsageError
from tidemark.core.postgres import run_once
from tidemark.core.settings import load
from tidemark.core.user import stated
from tidemark.delivery import store
from tidemark.responses import suspend
from tidemark.responses.flags import Flags
from udfs.values import rfc3339

Limit = Annotated[int, typer.Option(min=1, help="Rows shown, the newest.")]


def register(app: typer.Typer) -> None:
    """Add both groups to the `tidemark` app."""
    deliver = typer.Typer(help="Notifications to receivers.", no_args_is_help=True)
    dead = typer.Typer(help="Notifications that were given up.", no_args_is_help=True)
    dead.command("list")(dead_list)
    dead.command("retry")(dead_retry)
    deliver.add_typer(dead, name="dead")
    app.add_typer(deliver, name="deliver")
    respond = typer.Typer(help="Automated responses to alerts.", no_args_is_help=True)
    respond.command("list")(respond_list)
    respond.command("undo")(respond_undo)
    app.add_typer(respond, name="respond")


def dead_list(
    receiver: Annotated[str | None, typer.Option(help="Only those of this receiver.")] = None,
    limit: Limit = 50,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """List notifications that were given up, and why."""
    settings = load(run_id=run_id)
    notifications = run_once(
        settings.postgres.ops,
        "deliver",
        lambda connection: store.dead(connection, receiver, limit),
        settings.names.usage_schema,
    )
    table = Table("id", "receiver", "kind", "attempts", "given up", "why", "summary")
    for notification in notifications:
        shown = (
            str(notification.attempts),
            _instant(notification.dead_at),
            notification.last_error,
            notification.summary,
        )
        table.add_row(notification.notification_id, notification.receiver, notification.kind, *shown)
    emit(
        [asdict(notification) for notification in notifications],
        table if notifications else "no notification is dead",
        as_json=as_json,
    )


def dead_retry(
    ids: Annotated[list[str], typer.Argument(help="Ids as `list` shows them.")],
    by: By = "",
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Make dead notifications due again, with all their attempts before them."""
    settings = load(run_id=run_id)
    revived = run_once(
        settings.postgres.ops,
        "deliver",
        lambda connection: store.revive(connection, settings.run_id, ids, by),
        settings.names.usage_schema,
    )
    emit({"due": revived}, f"{len(revived)} of {len(ids)} are due now", as_json=as_json)
    if len(revived) < len(set(ids)):
        missing = ", ".join(sorted(set(ids) - set(revived)))
        raise UsageError(f"no dead notification has the id {missing}.", "`tidemark deliver dead list` shows them.")


def respond_list(
    everything: Annotated[bool, typer.Option("--all", help="Also those that ended or were lifted.")] = False,
    limit: Limit = 100,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """List customers that are suspended, since when, until when, and why."""
    settings = load(run_id=run_id)
    suspensions = run_once(
        settings.postgres.ops,
        "respond",
        lambda connection: suspend.suspensions(connection, everything=everything, limit=limit),
        settings.names.usage_schema,
    )
    table = Table("tenant", "customer", "reason", "since", "until", "lifted", "by")
    for suspension in suspensions:
        times = (_instant(suspension.since), _instant(suspension.until), _instant(suspension.lifted_at))
        table.add_row(
            suspension.tenant_id, suspension.customer_id, suspension.reason, *times, suspension.lifted_by or ""
        )
    emit(
        [asdict(suspension) for suspension in suspensions],
        table if suspensions else "nobody is suspended",
        as_json=as_json,
    )


def respond_undo(
    tenant: Annotated[str, typer.Argument()],
    customer: Annotated[str, typer.Argument()],
    by: By = "",
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Lift all suspensions of a customer; the same condition suspends no second time."""
    settings = load(run_id=run_id)
    who = stated(by)
    lifted = run_once(
        settings.postgres.ops,
        "respond",
        lambda connection: suspend.lift(connection, settings.run_id, (tenant, customer), who),
        settings.names.usage_schema,
    )
    if not lifted:
        raise UsageError(f"customer {customer} of {tenant} is not suspended.", "`tidemark respond list` shows who is.")
    with closing(Flags(settings.redis, settings.names)) as flags:
        try:
            run_once(settings.postgres.ops, "respond", flags.sync, settings.names.usage_schema)
        except UnavailableError as error:
            raise UnavailableError(
                f"the suspension is lifted, but its flag is still in Redis: {error.what}",
                "the role `respond` of `tidemark serve` deletes it as soon as Redis is back.",
            ) from error
    emit({"lifted": list(lifted), "by": who}, f"lifted {len(lifted)} suspension(s) of {customer}", as_json=as_json)


def _instant(at: Any) -> str:
    return "" if at is None else rfc3339(at)
