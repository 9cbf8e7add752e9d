"""`tidemark ledger` and `tidemark explain`: what was closed and corrected, and what is behind a number."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from tidemark.billing import explain as billing_explain
from tidemark.billing import heartbeat as billing_heartbeat
from tidemark.billing import history, outbox
from tidemark.billing import recover as billing_recover
from tidemark.billing.explain import Explained
from tidemark.billing.explained import document_of, event_document
from tidemark.billing.lines import Line
from tidemark.billing.moments import moment
from tidemark.billing.true_up import Change
from tidemark.cli.by import By
from tidemark.cli.known import known
from tidemark.cli.output import Group, Json, Table, emit, say
from tidemark.core import audit
from tidemark.core.errors import DifferenceError
from tidemark.core.settings import load
from tidemark.core.times import given_ms
from udfs.values import instant, plain, rfc3339

RunId = Annotated[str | None, typer.Option("--run-id", help="A run with topics, schemas and keys of its own.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    group = typer.Typer(help="Closed periods and corrections.", no_args_is_help=True)
    group.command("show")(show)
    group.command("publish")(publish)
    group.command("recover")(recover)
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
    audit.record_before(
        settings, "read.ledger", "/".join(filter(None, (tenant, customer))) or "all", asked={"limit": limit}
    )
    rows = history.newest(settings, tenant, customer, limit)
    if not rows and tenant is not None:
        known(settings, tenant, customer)
    table = Table("at", "what", "tenant", "customer", "period", "lines", "by")
    for row in rows:
        what = "close" if row["correction_no"] == 0 else f"correction {row['correction_no']}: {row['cause']}"
        period = f"{row['period_start']} to {row['period_end']}"
        table.add_row(row["at"], what, row["tenant_id"], row["customer_id"], period, str(row["lines"]), row["by"])
    emit({"records": rows}, table if rows else "nothing was closed yet.", as_json=as_json)


def publish(
    again: Annotated[
        bool, typer.Option("--again", help="All that the topics lack, whatever was published: they were made anew.")
    ] = False,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Publish closes and corrections that Kafka does not have yet; `close` also does it."""
    sent = outbox.publish(load(run_id=run_id), lambda count: say(f"published {count:,}"), again=again)
    emit({"published": sent}, f"published {sent:,} records.", as_json=as_json)


def recover(by: By = "", run_id: RunId = None, as_json: Json = False) -> None:
    """Read back what was published and is not in the ledger: after a restore of an older backup, or of none."""
    count = billing_recover.recover(load(run_id=run_id), by)
    emit({"recovered": count}, f"recovered {count:,} records.", as_json=as_json)


def heartbeat(
    at: Annotated[str | None, typer.Option(help="RFC 3339 instant; now when left out.")] = None,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Send an event of heartbeat.tenant into every partition, so that idle partitions do not block closes."""
    sent = billing_heartbeat.beat(load(run_id=run_id), None if at is None else instant(given_ms(at)))
    emit({"sent": sent}, f"sent {sent} heartbeats.", as_json=as_json)


def explain(
    tenant: Annotated[str, typer.Argument(help="Tenant of the customer.")],
    customer: Annotated[str, typer.Argument(help="Customer id.")],
    meter: Annotated[str, typer.Argument(help="Meter, as in the catalog.")],
    period: Annotated[
        str | None,
        typer.Argument(
            help="2026-11, 2026-11-30 (in the time zone of the customer), or an RFC 3339 instant; else now."
        ),
    ] = None,
    events: Annotated[
        bool, typer.Option("--events", help="Read the raw records, and list the events that count, with their copies.")
    ] = False,
    copies: Annotated[
        bool, typer.Option("--copies", help="With --events: search all records for copies, however many there are.")
    ] = False,
    between: Annotated[
        tuple[str, str] | None, typer.Option(help="Two versions: 0 as closed, 1, 2 … after a correction, or current.")
    ] = None,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Show what is behind a number: its versions, and the offsets of its events."""
    settings = load(run_id=run_id)
    at = None if period is None else moment(period)
    known(settings, tenant, customer, meter)
    asked = {"meter": meter, "period": period, "events": events or copies}
    audit.record_before(settings, "read.explain", f"{tenant}/{customer}", asked=asked)
    explained = billing_explain.explain(
        settings, tenant, customer, meter, at, events=events or copies, copies=copies,
        progress=lambda count: say(f"indexed {count:,} deltas"),
    )  # fmt: skip
    document = document_of(explained)
    changes = None
    if between is not None:
        changes = {key.dims: change for key, change in billing_explain.between(explained, *between).items()}
        document["between"] = [_changed(dims, change) for dims, change in changes.items()]
    emit(document, _drawn(explained, changes), as_json=as_json)
    if not explained.adds_up:
        say("the events that were read do not match those that were counted: records expired, or the catalog changed")
        raise typer.Exit(DifferenceError.exit_code)


def _changed(dims: str, change: Change) -> dict[str, Any]:
    return {
        "dims": dims,
        "before": None if change.before is None else plain(change.before.value),
        "after": None if change.after is None else plain(change.after.value),
        "delta": plain(change.delta),
    }


def _now(explained: Explained) -> Iterator[tuple[str, str, str, Line]]:
    """Values from the rollups: version, cause, dimensions and line, so far and to the end of the period."""
    for dims, line in sorted(explained.current.items()):
        yield "current", "rollups", dims, line
    for dims, line in sorted(explained.projected.items()):
        yield "projected", "level kept to the end", dims, line


def _drawn(explained: Explained, changes: dict[str, Change] | None) -> Any:
    name = f"{explained.key.tenant_id}/{explained.key.customer_id} {explained.meter}"
    title = f"{name}, {rfc3339(explained.key.start)} to {rfc3339(explained.key.end)}"
    history = Table("version", "cause", "at", "by", "dims", "value", title=title, title_justify="left")
    for entry in explained.versions:
        head = str(entry.number), entry.cause, rfc3339(entry.at), entry.by
        for dims, line in sorted(entry.lines.items()):
            history.add_row(*head, dims, f"{plain(line.value)} {line.unit}")
        if not entry.lines:
            history.add_row(*head, "", "none")
    for version, cause, dims, line in _now(explained):
        history.add_row(version, cause, "", "", dims, f"{plain(line.value)} {line.unit}")
    sources = Table("dims", "topic", "partition", "offsets", "n", "total", title="from", title_justify="left")
    for row in document_of(explained)["sources"]:
        offsets = f"{row['first_offset']} to {row['last_offset']}"
        sources.add_row(row["dims"], row["topic"], str(row["partition"]), offsets, f"{row['n']:,}", row["total"])
    parts: list[Any] = [history, sources]
    if explained.events is not None:
        parts.append(_events_table(explained))
    if changes is not None:
        table = Table("dims", "before", "after", "delta", title="between", title_justify="left")
        for row in (_changed(dims, change) for dims, change in changes.items()):
            table.add_row(row["dims"], row["before"] or "none", row["after"] or "none", row["delta"])
        parts.append(table)
    return Group(*parts)


def _events_table(explained: Explained) -> Table:
    dropped = sum(event.copies or 0 for event in explained.events or ())
    searched = "" if explained.copies_complete else " among the offsets that were read; --copies searches everywhere"
    events = Table(
        "event", "time", "amount", "copies", "properties", "at", title="events", title_justify="left",
        caption=f"{dropped:,} copies were dropped{searched}",
    )  # fmt: skip
    for event in explained.events or ():
        row = event_document(event)
        name = f"{row['event_id']} (takes back {event.voids})" if event.voids else row["event_id"]
        place = f"{event.topic} {event.partition}:{event.offset}"
        properties = json.dumps(row["properties"], ensure_ascii=False)
        events.add_row(name, row["time"] or "", row["amount"], f"{event.copies or 0:,}", properties, place)
    return events
