"""`tidemark dlq`: lists events that were not counted, shows why, and sends them again."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tidemark.billing.dead_letter_list import listed
from tidemark.cli.by import By
from tidemark.cli.catalog_wait import await_workers
from tidemark.cli.dlq_text import drawn_dead_letters, drawn_plan, drawn_status, plan_document, status_document
from tidemark.cli.known import known
from tidemark.cli.output import Json, draw, emit, say
from tidemark.core import audit
from tidemark.core.errors import UsageError
from tidemark.core.settings import load
from tidemark.core.times import given_ms
from tidemark.dead_letters import tool
from tidemark.dead_letters.fixes import parse_fixes
from tidemark.dead_letters.records import Wanted, position_of

Reason = Annotated[str | None, typer.Option(help="Only this reason code.")]
Tenant = Annotated[str | None, typer.Option(help="Only this tenant.")]
Customer = Annotated[str | None, typer.Option(help="Only this customer id.")]
Meter = Annotated[str | None, typer.Option(help="Only events that this meter refused.")]
Partial = Annotated[
    bool | None, typer.Option("--partial/--whole", help="Only events that other meters counted, or that none did.")
]
Since = Annotated[str | None, typer.Option(help="Only events that arrived at this RFC 3339 instant or later.")]
Until = Annotated[str | None, typer.Option(help="Only events that arrived before this RFC 3339 instant.")]
RunId = Annotated[str | None, typer.Option("--run-id", help="Dead letters of this run.")]


def register(app: typer.Typer) -> None:
    """Add the command group to the `tidemark` app."""
    group = typer.Typer(help="Events that were not counted.", no_args_is_help=True)
    group.command("list")(list_)
    group.command("show")(show)
    group.command("redrive")(redrive)
    app.add_typer(group, name="dlq")


def list_(
    reason: Reason = None,
    tenant: Tenant = None,
    customer: Customer = None,
    meter: Meter = None,
    partial: Partial = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=0, help="Records shown: the newest by arrival, oldest first.")] = 20,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """List dead letters with their original bytes, and how many there are by reason."""
    wanted = _wanted(reason, tenant, customer, since, until) | {"meter": meter, "partial": partial}
    settings = load(run_id=run_id)
    say(f"reading what is new in {settings.names.dlq} …")
    audit.record_before(settings, "read.dead_letters", settings.names.dlq, asked={**wanted, "limit": limit})
    matching, unreadable = listed(settings, limit, **wanted)
    if not matching.by_reason and tenant is not None:
        known(settings, tenant, customer)
    document = {
        "total": sum(matching.by_reason.values()), "partial": matching.partial, "by_reason": matching.by_reason,
        "records": matching.dead_letters, "unreadable": [str(position) for position in unreadable[:limit]],
    }  # fmt: skip
    if unreadable:
        say(f"{len(unreadable):,} records are not dead letters and are left out, the first at {unreadable[0]}.")
    emit(document, drawn_dead_letters(matching), as_json=as_json)


def show(
    position: Annotated[str, typer.Argument(help="PARTITION:OFFSET as `list` shows it.")],
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Show one dead letter in full, whether it was redriven, and whether it can be."""
    settings = load(run_id=run_id)
    audit.record_before(settings, "read.dead_letters", f"{settings.names.dlq} {position}")
    status = tool.status(settings, position_of(position))
    emit(status_document(status), drawn_status(status, settings), as_json=as_json)


def redrive(
    reason: Reason = None,
    tenant: Tenant = None,
    customer: Customer = None,
    meter: Meter = None,
    partial: Partial = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the newest, as `list` shows them.")] = None,
    at: Annotated[list[str] | None, typer.Option(help="Only the dead letter at PARTITION:OFFSET; repeatable.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="path=JSON: give a field this value.")] = None,
    rename: Annotated[list[str] | None, typer.Option(help="old=new: give a field another name.")] = None,
    default: Annotated[
        list[str] | None, typer.Option(help="path=JSON: give a field this value where it is missing or null.")
    ] = None,
    by_event_time: Annotated[
        bool,
        typer.Option(
            "--by-event-time", help="Events from the future arrived at their event time: the broker's clock was behind."
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Send also events that would be rejected again.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop after the plan.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    by: By = "",
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Send dead letters again, repaired, with their original arrival; each event is counted once."""
    wanted = _wanted(reason, tenant, customer, since, until) | {"meter": meter, "partial": partial}
    if at:
        wanted["at"] = frozenset(map(position_of, at))
    fixes = parse_fixes(set_ or (), rename or (), default or (), by_event_time=by_event_time)
    if not (dry_run or yes) and (as_json or not sys.stdin.isatty()):
        raise UsageError("there is no terminal to confirm at.", "check the plan with --dry-run, then add --yes.")
    settings = load(run_id=run_id)
    say(f"reading {settings.names.dlq} and {settings.topics.redrive} …")
    plan = tool.load_plan(settings, wanted, fixes, limit=limit, force=force)
    document = plan_document(plan) | {"topic": settings.topics.redrive, "dry_run": dry_run}
    if not as_json:
        draw(drawn_plan(plan))
    if dry_run or not plan.sends:
        emit(document | {"sent": 0, "expired": 0}, "nothing was sent.", as_json=as_json)
        return
    if not yes:
        typer.confirm(f"send {len(plan.sends):,} events to {settings.topics.redrive}?", abort=True)
    await_workers(settings)
    sent = tool.send(settings, plan, by=by)
    expired = f"{sent.expired:,} were left out because their window had ended."
    text = f"sent {sent.sent:,} events to {settings.topics.redrive}; {expired}"
    emit(document | {"sent": sent.sent, "expired": sent.expired}, text, as_json=as_json)


def _wanted(
    reason: str | None, tenant: str | None, customer: str | None, since: str | None, until: str | None
) -> Wanted:
    return {
        "reason": reason,
        "tenant": tenant,
        "customer": customer,
        "since_ms": None if since is None else given_ms(since),
        "until_ms": None if until is None else given_ms(until),
    }
