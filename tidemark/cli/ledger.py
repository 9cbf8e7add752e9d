"""`tidemark ledger` and `tidemark explain`: what was closed and corrected, and what a number is made of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from tidemark.billing import explain as billing_explain
from tidemark.billing import heartbeat as billing_heartbeat
from tidemark.billing import history, outbox
from tidemark.billing.events import Event
from tidemark.billing.explain import Explained, Version
from tidemark.billing.lines import Line
from tidemark.billing.moments import moment
from tidemark.billing.true_up import Change
from tidemark.cli.known import known
from tidemark.cli.output import Group, Json, Table, emit, say
from tidemark.core.settings import load
from tidemark.core.times import given_ms
from udfs.values import instant, plain, rfc3339

RunId = Annotated[str | None, typer.Option("--run-id", help="A run with topics, schemas and keys of its own.")]


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
    settings = load(run_id=run_id)
    rows = history.newest(settings, tenant, customer, limit)
    if not rows and tenant is not None:
        known(settings, tenant, customer)
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
    """Send an event of heartbeat.tenant into every partition, so that idle ones let periods close."""
    sent = billing_heartbeat.beat(load(run_id=run_id), None if at is None else instant(given_ms(at)))
    emit({"sent": sent}, f"sent {sent} heartbeats.", as_json=as_json)


def explain(
    tenant: Annotated[str, typer.Argument(help="Tenant of the customer.")],
    customer: Annotated[str, typer.Argument(help="Customer id.")],
    meter: Annotated[str, typer.Argument(help="Meter, as in the catalog.")],
    period: Annotated[
        str | None,
        typer.Argument(help="2026-11, 2026-11-30 (by the clock of the customer), or an RFC 3339 instant; else now."),
    ] = None,
    events: Annotated[
        bool, typer.Option("--events", help="Read the raw records, and list those that count, with their copies.")
    ] = False,
    copies: Annotated[
        bool, typer.Option("--copies", help="With --events: look for copies however many records that takes.")
    ] = False,
    between: Annotated[
        tuple[str, str] | None, typer.Option(help="Two versions: 0 as closed, 1, 2 … after a correction, or current.")
    ] = None,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Show what a number is made of: its versions, and the offsets of the events in it."""
    settings = load(run_id=run_id)
    at = None if period is None else moment(period)
    known(settings, tenant, customer, meter)
    found = billing_explain.explain(
        settings, tenant, customer, meter, at, events=events or copies, copies=copies,
        progress=lambda count: say(f"indexed {count:,} deltas"),
    )  # fmt: skip
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
        "projected": _lines(found.projected),
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
        **({} if found.events is None else _events(found)),
    }


def _events(found: Explained) -> dict[str, Any]:
    events = found.events or ()
    return {
        "events": [_event(one) for one in events],
        "adds_up": found.adds_up,
        "copies_dropped": sum(one.copies or 0 for one in events),
        "copies_complete": found.copies_complete,
    }


def _event(one: Event) -> dict[str, Any]:
    return {
        "event_id": one.event_id,
        "time": None if one.time_ms is None else rfc3339(one.time_ms),
        "arrival": rfc3339(one.arrival_ms),
        "topic": one.topic,
        "partition": one.partition,
        "offset": one.offset,
        "dims": one.dims,
        "part": one.part,
        "samples": one.samples,
        "amount": plain(one.amount),
        "properties": one.properties or {},
        **({"source": one.source} if one.source else {}),
        **({"voids": one.voids} if one.voids else {}),
        "copies_dropped": one.copies,
    }


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


def _now(found: Explained) -> Iterator[tuple[str, str, str, Line]]:
    """What the rollups say: version, cause, dimensions and line, so far and to the end of the period."""
    for dims, line in sorted(found.current.items()):
        yield "current", "rollups", dims, line
    for dims, line in sorted(found.projected.items()):
        yield "projected", "level kept to the end", dims, line


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
    for version, cause, dims, line in _now(found):
        told.add_row(version, cause, "", "", dims, f"{plain(line.value)} {line.unit}")
    sources = Table("dims", "topic", "partition", "offsets", "n", "total", title="from", title_justify="left")
    for row in _document(found)["sources"]:
        offsets = f"{row['first_offset']} to {row['last_offset']}"
        sources.add_row(row["dims"], row["topic"], str(row["partition"]), offsets, f"{row['n']:,}", row["total"])
    parts: list[Any] = [told, sources]
    if found.events is not None:
        parts.append(_events_table(found))
    if changes is not None:
        table = Table("dims", "before", "after", "delta", title="between", title_justify="left")
        for row in (_changed(dims, change) for dims, change in changes.items()):
            table.add_row(row["dims"], row["before"] or "none", row["after"] or "none", row["delta"])
        parts.append(table)
    return Group(*parts)


def _events_table(found: Explained) -> Table:
    dropped = sum(one.copies or 0 for one in found.events or ())
    looked = "" if found.copies_complete else " among the offsets that were read; --copies looks everywhere"
    events = Table(
        "event", "time", "amount", "copies", "properties", "at", title="events", title_justify="left",
        caption=f"{dropped:,} copies were dropped{looked}",
    )  # fmt: skip
    for event in found.events or ():
        row = _event(event)
        name = f"{row['event_id']} (takes back {event.voids})" if event.voids else row["event_id"]
        place = f"{event.topic} {event.partition}:{event.offset}"
        properties = json.dumps(row["properties"], ensure_ascii=False)
        events.add_row(name, row["time"] or "", row["amount"], f"{event.copies or 0:,}", properties, place)
    return events
