"""`tidemark ledger` and `tidemark explain`: what was closed and corrected, and what a number is made of."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.table import Table

from tidemark.billing import explain as billing_explain
from tidemark.billing import heartbeat as billing_heartbeat
from tidemark.billing import history, outbox
from tidemark.billing.explain import Explained, Version
from tidemark.billing.lines import Line, rfc3339
from tidemark.billing.periods import instant
from tidemark.billing.true_up import Change
from tidemark.cli.close import RunId
from tidemark.cli.output import Json, emit, say
from tidemark.core.settings import load
from tidemark.dead_letters.records import instant_ms
from udfs.decimals import plain


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    group = typer.Typer(help="Closed periods and corrections.", no_args_is_help=True)
    group.command("show")(show)
    group.command("tell")(tell)
    group.command("heartbeat")(heartbeat)
    app.add_typer(group, name="ledger")
    app.command("explain")(explain)


def show(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    customer: Annotated[str | None, typer.Option(help="Only this customer id.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Records shown, the newest first.")] = 20,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Show the newest closes and corrections."""
    rows = history.newest(load(run_id=run_id), tenant, customer, limit)
    table = Table("at", "what", "tenant", "customer", "period", "lines", "by")
    for row in rows:
        what = "close" if row["correction_no"] == 0 else f"correction {row['correction_no']}: {row['cause']}"
        period = f"{row['period_start']} to {row['period_end']}"
        table.add_row(row["at"], what, row["tenant_id"], row["customer_id"], period, str(row["lines"]), row["by"])
    emit({"records": rows}, table if rows else "nothing was closed yet.", as_json=as_json)


def tell(run_id: RunId = None, as_json: Json = False) -> None:
    """Send closes and corrections that Kafka does not have yet; `close` does it by itself."""
    sent = outbox.tell(load(run_id=run_id), lambda count: say(f"told {count:,}"))
    emit({"told": sent}, f"told {sent:,} records.", as_json=as_json)


def heartbeat(
    at: Annotated[str | None, typer.Option(help="RFC 3339 instant; now when left out.")] = None,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Send an event of heartbeat_tenant into every partition, so that idle ones let periods close."""
    sent = billing_heartbeat.beat(load(run_id=run_id), None if at is None else instant(instant_ms(at)))
    emit({"sent": sent}, f"sent {sent} heartbeats.", as_json=as_json)


def explain(
    tenant: Annotated[str, typer.Argument(help="Tenant of the customer.")],
    customer: Annotated[str, typer.Argument(help="Customer id.")],
    meter: Annotated[str, typer.Argument(help="Meter, as in the catalog.")],
    period: Annotated[str, typer.Argument(help="An RFC 3339 instant in the period, for example its start.")],
    events: Annotated[bool, typer.Option("--events", help="Read the raw records, and list those that count.")] = False,
    between: Annotated[
        tuple[str, str] | None, typer.Option(help="Two versions: 0 as closed, 1, 2 … after a correction, or current.")
    ] = None,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Show what a number is made of: its versions, and the offsets of the events in it."""
    settings = load(run_id=run_id)
    at: datetime = instant(instant_ms(period))
    found = billing_explain.explain(settings, tenant, customer, meter, at, events=events)
    document = _document(found)
    changes = None
    if between is not None:
        changes = {key.dims: change for key, change in billing_explain.between(found, *between).items()}
        document["between"] = [_changed(dims, change) for dims, change in changes.items()]
    emit(document, _drawn(found, changes), as_json=as_json)
    if not found.adds_up:
        say("the events that were read are not those that were counted: records are gone, or the catalog changed")
        raise typer.Exit(4)


def _document(found: Explained) -> dict[str, Any]:
    return {
        "tenant_id": found.key.tenant_id,
        "customer_id": found.key.customer_id,
        "meter": found.meter,
        "period_start": rfc3339(found.key.start),
        "period_end": rfc3339(found.key.end),
        "run_id": found.run_id,
        "versions": [_version(one) for one in found.versions],
        "current": _lines(found.current),
        "sources": [
            {
                "dims": one.dims,
                "topic": one.topic,
                "partition": one.partition,
                "first_offset": min(first for first, _ in one.ranges),
                "last_offset": max(last for _, last in one.ranges),
                "n": one.n,
                "samples": one.samples,
                "total": plain(one.total),
            }
            for one in found.sources
        ],
        **({} if found.events is None else {"events": _events(found), "adds_up": found.adds_up}),
    }


def _events(found: Explained) -> list[dict[str, Any]]:
    return [
        {
            "topic": one.topic,
            "partition": one.partition,
            "offset": one.offset,
            "dims": one.dims,
            "part": one.part,
            "samples": one.samples,
            "amount": plain(one.amount),
        }
        for one in found.events or ()
    ]


def _version(one: Version) -> dict[str, Any]:
    return {
        "version": one.number,
        "cause": one.cause,
        "replay_id": one.replay_id,
        "at": rfc3339(one.at),
        "by": one.by,
        "lines": _lines(one.lines),
    }


def _lines(lines: Any) -> list[dict[str, Any]]:
    return [{"dims": dims, **_line(line)} for dims, line in sorted(lines.items())]


def _line(line: Line) -> dict[str, Any]:
    return {"unit": line.unit, "n": line.n, "samples": line.samples, "value": plain(line.value)}


def _changed(dims: str, change: Change) -> dict[str, Any]:
    return {
        "dims": dims,
        "before": None if change.before is None else plain(change.before.value),
        "after": None if change.after is None else plain(change.after.value),
        "delta": plain(change.delta),
    }


def _drawn(found: Explained, changes: dict[str, Change] | None) -> Any:
    name = f"{found.key.tenant_id}/{found.key.customer_id} {found.meter}"
    title = f"{name}, {rfc3339(found.key.start)} to {rfc3339(found.key.end)}"
    told = Table("version", "cause", "at", "by", "dims", "value", title=title, title_justify="left")
    for one in found.versions:
        head = str(one.number), one.cause, rfc3339(one.at), one.by
        for dims, line in sorted(one.lines.items()):
            told.add_row(*head, dims, f"{plain(line.value)} {line.unit}")
        if not one.lines:
            told.add_row(*head, "", "none")
    for dims, line in sorted(found.current.items()):
        told.add_row("current", "rollups", "", "", dims, f"{plain(line.value)} {line.unit}")
    sources = Table("dims", "topic", "partition", "offsets", "n", "total", title="from", title_justify="left")
    for row in _document(found)["sources"]:
        offsets = f"{row['first_offset']} to {row['last_offset']}"
        sources.add_row(row["dims"], row["topic"], str(row["partition"]), offsets, f"{row['n']:,}", row["total"])
    parts: list[Any] = [told, sources]
    if found.events is not None:
        events = Table("topic", "partition", "offset", "dims", "amount", title="events", title_justify="left")
        for event in found.events:
            place = event.topic, str(event.partition), str(event.offset)
            events.add_row(*place, event.dims, plain(event.amount))
        parts.append(events)
    if changes is not None:
        table = Table("dims", "before", "after", "delta", title="between", title_justify="left")
        for row in (_changed(dims, change) for dims, change in changes.items()):
            table.add_row(row["dims"], row["before"] or "none", row["after"] or "none", row["delta"])
        parts.append(table)
    return Group(*parts)
