"""`tidemark deliver` and `tidemark respond`: notifications to receivers, and automated responses to alerts."""

from __future__ import annotations

import getpass
from contextlib import closing
from dataclasses import asdict
from typing import Annotated, Any, Literal

import typer

from tidemark.cli.output import Json, Table, emit
from tidemark.cli.until_stopped import until_stopped
from tidemark.core.errors import UnavailableError, UsageError
from tidemark.core.postgres import ask_once
from tidemark.core.settings import Settings, load
from tidemark.delivery import store, worker
from tidemark.responses import suspend, webhook
from tidemark.responses import worker as responder
from tidemark.responses.flags import Flags
from tidemark.responses.handler import Handler
from udfs.alerts.event import Severity
from udfs.values import rfc3339

RunId = Annotated[str | None, typer.Option("--run-id", help="A run with topics, schema and keys of its own.")]
Limit = Annotated[int, typer.Option(min=1, help="Rows shown, the newest.")]
Kind = Literal["suspend", "webhook"]


def register(app: typer.Typer) -> None:
    """Add both groups to the `tidemark` app."""
    deliver = typer.Typer(help="Notifications to receivers.", no_args_is_help=True)
    deliver.command("run")(deliver_run)
    dead = typer.Typer(help="Notifications that were given up.", no_args_is_help=True)
    dead.command("list")(dead_list)
    dead.command("retry")(dead_retry)
    deliver.add_typer(dead, name="dead")
    app.add_typer(deliver, name="deliver")
    respond = typer.Typer(help="Automated responses to alerts.", no_args_is_help=True)
    respond.command("run")(respond_run)
    respond.command("list")(respond_list)
    respond.command("undo")(respond_undo)
    app.add_typer(respond, name="respond")


def deliver_run(run_id: RunId = None) -> None:
    """Send notifications that are due, until SIGTERM or Ctrl-C; logs JSON lines to stderr."""
    worker.run(load(run_id=run_id), until_stopped())


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


def respond_run(
    handler: Annotated[Kind, typer.Option(help="suspend: deny customers at a hard limit; webhook: tell a receiver.")],
    receiver: Annotated[str | None, typer.Option(help="webhook: receiver of the alert policy that is told.")] = None,
    name: Annotated[str | None, typer.Option(help="webhook: names the response; the receiver when absent.")] = None,
    types: Annotated[list[str] | None, typer.Option("--type", help="webhook: glob of types; repeatable.")] = None,
    severities: Annotated[
        list[str] | None, typer.Option("--severity", help="webhook: only this severity; repeatable.")
    ] = None,
    tenants: Annotated[
        list[str] | None, typer.Option("--tenant", help="webhook: only this tenant; repeatable.")
    ] = None,
    run_id: RunId = None,
) -> None:
    """Answer alerts, until SIGTERM or Ctrl-C; logs JSON lines to stderr."""
    settings = load(run_id=run_id)
    told = {"types": types or [], "severities": severities or [], "tenants": tenants or []}
    if handler == "webhook":
        responder.run(settings, _tell(settings, receiver, name, told), until_stopped())
        return
    if receiver or name or any(told.values()):
        raise UsageError("suspend takes no receiver, name, type, severity or tenant.", "leave them out.")
    with closing(Flags(settings.redis, settings.names)) as flags:
        responder.run(settings, suspend.Suspend(flags), until_stopped())


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
                "`tidemark respond run --handler suspend` deletes it as soon as Redis is back.",
            ) from error
    emit({"lifted": list(lifted), "by": who}, f"lifted {len(lifted)} suspension(s) of {customer}", as_json=as_json)


def _tell(settings: Settings, receiver: str | None, name: str | None, told: dict[str, list[Any]]) -> Handler:
    if not receiver:
        raise UsageError("the handler webhook needs a receiver.", "name one of the alert policy: --receiver NAME.")
    wrong = sorted(set(told["severities"]) - {"info", "warning", "critical"})
    if wrong:
        raise UsageError(f"severity {', '.join(wrong)} is unknown.", "use info, warning or critical.")
    ask_once(settings.postgres, settings.names, "respond", lambda connection: webhook.kind_of(connection, receiver))
    severities: list[Severity] = told["severities"]
    return webhook.Tell(f"webhook:{name or receiver}", receiver, told["types"], severities, told["tenants"])


def _instant(at: Any) -> str:
    return "" if at is None else rfc3339(at)
