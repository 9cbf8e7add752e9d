"""`tidemark trace`: what became of one event, and whether it was billed twice."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Annotated, Any

import typer

from tidemark.billing.moments import moment
from tidemark.billing.trace import Fed, Hit, Traced
from tidemark.billing.trace import trace as trace_event
from tidemark.cli.close import RunId
from tidemark.cli.known import known
from tidemark.cli.output import Group, Json, Table, emit, say
from tidemark.core.settings import load
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
    """Show every record with an event id, which one was counted, and what it fed; exit code 1 when there is none."""
    settings = load(run_id=run_id)
    bounds = {name: None if text is None else _at(text) for name, text in (("since", since), ("until", until))}
    if tenant is not None:
        known(settings, tenant)
    found = trace_event(settings, event_id, tenant=tenant, **bounds, progress=say)
    answer = " ".join(one.answer for one in found) or f"no record with the id {event_id} arrived in these bounds."
    if len(found) > 1:
        answer = f"{len(found)} events have this id, each told from the others by its tenant and source. {answer}"
    document = {"event_id": event_id, "answer": answer, "events": [_document(one) for one in found]}
    emit(document, _text(found, answer), as_json=as_json)
    if not found:
        raise typer.Exit(1)


def _at(text: str) -> datetime:
    read = moment(text)
    return read.at or datetime.combine(read.day or datetime.now(UTC).date(), time(), UTC)


def _document(one: Traced) -> dict[str, Any]:
    return {
        "tenant_id": one.tenant,
        "source": one.source,
        "answer": one.answer,
        "counted": one.count("counted"),
        "copies_dropped": one.count("copy"),
        "dead_letters": one.count("rejected"),
        "waiting": one.count("waiting"),
        "taken_back": one.voided_by is not None,
        "records": [_hit(hit) for hit in one.hits],
        "voids": [_hit(hit) for hit in one.voids],
    }


def _hit(hit: Hit) -> dict[str, Any]:
    event = hit.event
    return {
        "topic": hit.topic,
        "partition": hit.partition,
        "offset": hit.offset,
        "arrival": _arrival(hit),
        "archived": hit.archived,
        "outcome": hit.outcome,
        **({} if event is None else {"event_id": event.event_id, "customer_id": event.customer_id}),
        **({"voids": event.voids} if event is not None and event.voids else {}),
        "dead_letters": [
            {"reason": one.reason, "detail": one.detail, **({"meter": one.meter} if one.meter else {})}
            for one in hit.refused
        ],
        "fed": [_fed(one) for one in hit.fed],
    }


def _arrival(hit: Hit) -> str:
    try:
        return rfc3339(hit.arrival_ms)
    except OverflowError:
        return f"{hit.arrival_ms} ms"


def _fed(one: Fed) -> dict[str, Any]:
    return {
        "customer_id": one.key.customer_id,
        "meter": one.meter,
        "dims": one.dims,
        "part": one.part,
        "samples": one.samples,
        "amount": plain(one.amount),
        "period_start": rfc3339(one.key.start),
        "period_end": rfc3339(one.key.end),
        "closed_at": None if one.closed_at is None else rfc3339(one.closed_at),
        "corrections": one.corrections,
    }


def _text(found: list[Traced], answer: str) -> Any:
    parts: list[Any] = [answer]
    for one in found:
        records = Table("record", "arrived", "event", "customer", "what became of it")
        fed = Table("meter", "customer", "dims", "amount", "period", "state")
        for hit in [*one.hits, *one.voids]:
            place = f"{hit.topic} {hit.partition}:{hit.offset}{' (archive)' if hit.archived else ''}"
            name, customer = ("", "") if hit.event is None else (hit.event.event_id, hit.event.customer_id)
            records.add_row(place, _arrival(hit), name, customer, _outcome(hit))
            for row in hit.fed:
                period = f"{rfc3339(row.key.start)} to {rfc3339(row.key.end)}"
                customer = row.key.customer_id
                fed.add_row(row.meter, customer, row.dims, plain(row.amount), period, _state(row))
        parts += [records, fed] if fed.row_count else [records]
    return Group(*parts) if found else answer


def _outcome(hit: Hit) -> str:
    why = [f"{one.meter or 'all'}: {one.reason}: {one.detail}" for one in hit.refused]
    takes_back = f" takes back {hit.event.voids}" if hit.event is not None and hit.event.voids else ""
    return "; ".join([_WORDS[hit.outcome] + takes_back, *why])


def _state(row: Fed) -> str:
    if row.closed_at is None:
        return "open: an estimate"
    more = f", {row.corrections} corrections since" if row.corrections else ""
    return f"closed {rfc3339(row.closed_at)}{more}"
