"""`tidemark trace`: what happened to one event, and whether it was billed twice."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Annotated, Any

import typer

from tidemark.billing.moments import moment
from tidemark.billing.trace import Contribution, Hit, Traced
from tidemark.billing.trace import trace as trace_event
from tidemark.cli.close import RunId
from tidemark.cli.known import known
from tidemark.cli.output import Group, Json, Table, emit, say
from tidemark.core import audit
from tidemark.core.settings import load
from tidemark.core.times import arrival_text
from udfs.values import plain, rfc3339

_WORDS = {"counted": "counted", "copy": "dropped: a copy", "rejected": "dead letter", "waiting": "not read yet"}


def register(app: typer.Typer) -> None:
    """Add the command to the `tidemark` app."""
    app.command("trace")(trace)


def trace(
    event_id: Annotated[str, typer.Argument(help="Id of the event, as its producer sent it.")],
    tenant: Annotated[str | None, typer.Option(help="Only events of this tenant.")] = None,
    since: Annotated[str | None, typer.Option(help="Arrived then or later: an instant, or a day of UTC.")] = None,
    until: Annotated[str | None, typer.Option(help="Arrived before: an instant, or a day of UTC.")] = None,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Show every record with an event id, which one was counted, and its totals; exit code 1 without a record."""
    settings = load(run_id=run_id)
    bounds = {name: None if text is None else _at(text) for name, text in (("since", since), ("until", until))}
    if tenant is not None:
        known(settings, tenant)
    audit.record_before(settings, "read.event", event_id, asked={"tenant": tenant})
    events = trace_event(settings, event_id, tenant=tenant, **bounds, progress=say)
    summary = (
        " ".join(traced.summary for traced in events) or f"no record with the id {event_id} arrived in these bounds."
    )
    if len(events) > 1:
        summary = f"{len(events)} events have this id, distinguished by tenant and source. {summary}"
    document = {"event_id": event_id, "summary": summary, "events": [_document(traced) for traced in events]}
    emit(document, _text(events, summary), as_json=as_json)
    if not events:
        raise typer.Exit(1)


def _at(text: str) -> datetime:
    read = moment(text)
    return read.at or datetime.combine(read.day or datetime.now(UTC).date(), time(), UTC)


def _document(traced: Traced) -> dict[str, Any]:
    return {
        "tenant_id": traced.tenant,
        "source": traced.source,
        "summary": traced.summary,
        "counted": traced.count("counted"),
        "copies_dropped": traced.count("copy"),
        "dead_letters": traced.count("rejected"),
        "waiting": traced.count("waiting"),
        "taken_back": traced.voided_by is not None,
        "records": [_hit(hit) for hit in traced.hits],
        "voids": [_hit(hit) for hit in traced.voids],
    }


def _hit(hit: Hit) -> dict[str, Any]:
    event = hit.event
    return {
        "topic": hit.topic,
        "partition": hit.partition,
        "offset": hit.offset,
        "arrival": arrival_text(hit.arrival_ms),
        "archived": hit.archived,
        "outcome": hit.outcome,
        **({} if event is None else {"event_id": event.event_id, "customer_id": event.customer_id}),
        **({"voids": event.voids} if event is not None and event.voids else {}),
        "dead_letters": [
            {"reason": refused.reason, "detail": refused.detail, **({"meter": refused.meter} if refused.meter else {})}
            for refused in hit.refused
        ],
        "contributions": [_contribution(added) for added in hit.contributions],
    }


def _contribution(added: Contribution) -> dict[str, Any]:
    return {
        "customer_id": added.key.customer_id,
        "meter": added.meter,
        "dims": added.dims,
        "part": added.part,
        "samples": added.samples,
        "amount": plain(added.amount),
        "period_start": rfc3339(added.key.start),
        "period_end": rfc3339(added.key.end),
        "closed_at": None if added.closed_at is None else rfc3339(added.closed_at),
        "corrections": added.corrections,
    }


def _text(events: list[Traced], summary: str) -> Any:
    parts: list[Any] = [summary]
    for traced in events:
        records = Table("record", "arrived", "event", "customer", "outcome")
        contributions = Table("meter", "customer", "dims", "amount", "period", "state")
        for hit in [*traced.hits, *traced.voids]:
            place = f"{hit.topic} {hit.partition}:{hit.offset}{' (archive)' if hit.archived else ''}"
            name, customer = ("", "") if hit.event is None else (hit.event.event_id, hit.event.customer_id)
            records.add_row(place, arrival_text(hit.arrival_ms), name, customer, _outcome(hit))
            for row in hit.contributions:
                period = f"{rfc3339(row.key.start)} to {rfc3339(row.key.end)}"
                customer = row.key.customer_id
                contributions.add_row(row.meter, customer, row.dims, plain(row.amount), period, _state(row))
        parts += [records, contributions] if contributions.row_count else [records]
    return Group(*parts) if events else summary


def _outcome(hit: Hit) -> str:
    why = [f"{refused.meter or 'all'}: {refused.reason}: {refused.detail}" for refused in hit.refused]
    takes_back = f" takes back {hit.event.voids}" if hit.event is not None and hit.event.voids else ""
    return "; ".join([_WORDS[hit.outcome] + takes_back, *why])


def _state(row: Contribution) -> str:
    if row.closed_at is None:
        return "open: an estimate"
    more = f", {row.corrections} corrections since" if row.corrections else ""
    return f"closed {rfc3339(row.closed_at)}{more}"
