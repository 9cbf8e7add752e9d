"""`tidemark deliver` and `tidemark respond`: notifications to receivers, and automated responses to alerts."""

from __future__ import annotations

import getpass
from contextlib import closing
from dataclasses import asdict
from typing import Annotated, Any

import typer

from tidemark.cli.output import Json, Table, emit
from tidemark.core.errors import UnavailableError, UsageError
from tidemark.core.postgres import ask_once
from tidemark.core.settings import load
from tidemark.delivery import store
from tidemark.responses import suspend
from tidemark.responses.flags import Flags

RunId = Annotated[str | None, typer.Option("--run-id", help="A run with topics, schema and keys of its own.")]
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
    found = ask_once(
        settings.postgres, settings.names, "deliver", lambda connection: store.dead(connection, receiver, limit)
    )
    table = Table("id", "receiver", "kind", "attempts", "given up", "why", "summary")
    for one in found:
        shown = (str(one.attempts), _instant(one.dead_at), one.last_error, one.summary)
        table.add_row(one.notification_id, one.receiver, one.kind, *shown)
    emit([asdict(one) for one in found], table if found else "no notification is dead", as_json=as_json)


def dead_retry(
    ids: Annotated[list[str], typer.Argument(help="Ids as `list` shows them.")],
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Make dead notifications due again, with all their attempts before them."""
    settings = load(run_id=run_id)
    revived = ask_once(settings.postgres, settings.names, "deliver", lambda connection: store.revive(connection, ids))
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
    found = ask_once(
        settings.postgres,
        settings.names,
        "respond",
        lambda connection: suspend.suspensions(connection, everything=everything, limit=limit),
    )
    table = Table("tenant", "customer", "reason", "since", "until", "lifted", "by")
    for one in found:
        times = (_instant(one.since), _instant(one.until), _instant(one.lifted_at))
        table.add_row(one.tenant_id, one.customer_id, one.reason, *times, one.lifted_by or "")
    emit([asdict(one) for one in found], table if found else "nobody is suspended", as_json=as_json)


def respond_undo(
    tenant: Annotated[str, typer.Argument()],
    customer: Annotated[str, typer.Argument()],
    by: Annotated[str | None, typer.Option(help="Who lifts it; the login name when absent.")] = None,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Lift all suspensions of a customer; the same condition suspends no second time."""
    settings = load(run_id=run_id)
    who = by or getpass.getuser()
    lifted = ask_once(
        settings.postgres, settings.names, "respond", lambda connection: suspend.lift(connection, tenant, customer, who)
    )
    if not lifted:
        raise UsageError(f"customer {customer} of {tenant} is not suspended.", "`tidemark respond list` shows who is.")
    with closing(Flags(settings.redis, settings.names)) as flags:
        try:
            ask_once(settings.postgres, settings.names, "respond", flags.level)
        except UnavailableError as error:
            raise UnavailableError(
                f"the suspension is lifted, but its flag still stands: {error.what}",
                "the role `respond` of `tidemark serve` deletes it as soon as Redis is back.",
            ) from error
    emit({"lifted": list(lifted), "by": who}, f"lifted {len(lifted)} suspension(s) of {customer}", as_json=as_json)


def _instant(at: Any) -> str:
    return "" if at is None else at.isoformat(timespec="seconds").replace("+00:00", "Z")
