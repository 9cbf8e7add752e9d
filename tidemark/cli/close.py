"""`tidemark close`: closes what is due, corrects what changed, tells Kafka."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from tidemark.billing import close as billing_close
from tidemark.billing import due_index
from tidemark.billing.decide import CloseRequest
from tidemark.billing.lines import PeriodKey
from tidemark.billing.moments import moment
from tidemark.billing.preview import Preview, preview
from tidemark.billing.refusals import Refusal
from tidemark.billing.scope import Scope
from tidemark.cli.by import By
from tidemark.cli.known import known
from tidemark.cli.output import Group, Json, Table, emit, say
from tidemark.core.errors import UsageError
from tidemark.core.postgres import run_once
from tidemark.core.settings import load
from tidemark.core.user import stated
from tidemark.reconcile import run
from udfs.catalog.model import Pair
from udfs.values import rfc3339

RunId = Annotated[str | None, typer.Option("--run-id", help="A run with topics, schemas and keys of its own.")]


# Customers that a preview shows; --json has all periods.
_SHOWN = 50


def register(app: typer.Typer) -> None:
    """Add the command to the `tidemark` app."""
    app.command("close")(close)


def close(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be closed, and why the rest would not; change nothing.")
    ] = False,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    customer: Annotated[str | None, typer.Option(help="Only this customer id of the tenant.")] = None,
    until: Annotated[
        str | None, typer.Option(help="Only periods that end by then: 2026-11-01 (local midnight) or an instant.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Close in spite of close.max_periods and close.max_jump_days.")
    ] = False,
    accept_dead_letters: Annotated[
        list[str] | None, typer.Option(help="TENANT/CUSTOMER: close in spite of its dead letters; repeatable.")
    ] = None,
    reconcile: Annotated[
        bool, typer.Option("--reconcile", help="Reconcile before and after; exit code 4 when a difference is open.")
    ] = False,
    by: By = "",
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Close every period whose end + grace lies behind the arrival watermark; exit code 1 when one is refused."""
    settings = load(run_id=run_id)
    request = _request(tenant, customer, until, accept_dead_letters or (), yes=yes)
    if tenant is not None:
        known(settings, tenant, customer)
    if dry_run:
        if reconcile:
            raise UsageError("--reconcile stores what it finds, --dry-run changes nothing.", "leave out one of them.")
        _show(preview(settings, request, say), as_json=as_json)
        return
    # Drift found before the close refuses periods below; drift found after it means that the close is not safe.
    checked = [run.run(settings, run.Request(), say)] if reconcile else []
    if request.scope.everybody:
        # The role goes by the index; whoever asks has every customer looked at.
        run_once(settings.postgres.ledger, "close", lambda connection: due_index.start_anew(connection, settings.names))
    closed = billing_close.close(settings, stated(by), request, progress=say)
    checked += [run.run(settings, run.Request(), say)] if reconcile else []
    emit(_document(closed), _text(closed), as_json=as_json)
    for report in checked[1:]:
        report.raise_if_open()
    if closed.refused:
        raise typer.Exit(1)


def _request(
    tenant: str | None, customer: str | None, until: str | None, accept: Iterable[str], *, yes: bool
) -> CloseRequest:
    if customer is not None and tenant is None:
        raise UsageError(f"customer {customer!r} needs its tenant.", "add --tenant TENANT.")
    scope = Scope(tenant, customer, None if until is None else moment(until))
    return CloseRequest(scope, tuple(_pair(text) for text in accept), yes)


def _pair(text: str) -> Pair:
    tenant, slash, customer = text.partition("/")
    if not (tenant and slash and customer):
        raise UsageError(f"{text!r} names no customer.", "write TENANT/CUSTOMER.")
    return tenant, customer


def _show(shown: Preview, *, as_json: bool) -> None:
    emit(_preview_document(shown), _preview_text(shown), as_json=as_json)
    if shown.refused:
        raise typer.Exit(1)


def _preview_document(shown: Preview) -> dict[str, Any]:
    return {
        "dry_run": True,
        "watermark": None if shown.watermark is None else rfc3339(shown.watermark),
        "last_watermark": None if shown.accepted is None else rfc3339(shown.accepted),
        "closes": len(shown.keys),
        "with_usage": len(shown.used),
        "without_usage": len(shown.keys) - len(shown.used),
        "corrections": shown.corrections,
        "periods": [{**_period(key), "with_usage": key in shown.used} for key in shown.keys],
        "refused": _refused(shown.refused),
        "silent_partitions": list(shown.silent),
    }


def _preview_text(shown: Preview) -> Any:
    at = "not known" if shown.watermark is None else rfc3339(shown.watermark)
    before = "none yet" if shown.accepted is None else rfc3339(shown.accepted)
    empty = len(shown.keys) - len(shown.used)
    lines = [
        f"arrival watermark {at} (of the last close: {before}); nothing was changed",
        f"would close {len(shown.keys):,} periods: {len(shown.used):,} with usage, {empty:,} without",
        f"would make {shown.corrections:,} corrections",
    ]
    if shown.silent:
        lines.append(f"a close would first send heartbeats into partitions {', '.join(map(str, shown.silent))}")
    parts: list[Any] = ["\n".join(lines)]
    if shown.keys:
        parts.append(_customers(shown))
    if shown.refused:
        parts.append(_refusals(shown.refused))
    return Group(*parts)


def _customers(shown: Preview) -> Table:
    """A row for each customer, the one with most periods first."""
    of_pair: dict[Pair, list[PeriodKey]] = {}
    for key in shown.keys:
        of_pair.setdefault(key[:2], []).append(key)
    rest = len(of_pair) - _SHOWN
    caption = f"and {rest:,} more customers: --json has all periods" if rest > 0 else ""
    table = Table("tenant", "customer", "periods", "with usage", "from", "to", caption=caption)
    for pair, keys in sorted(of_pair.items(), key=lambda item: (-len(item[1]), item[0]))[:_SHOWN]:
        used = sum(key in shown.used for key in keys)
        table.add_row(*pair, f"{len(keys):,}", f"{used:,}", rfc3339(keys[0].start), rfc3339(keys[-1].end))
    return table


def _refusals(refused: Sequence[Refusal]) -> Table:
    table = Table("refused", "periods", "why")
    for refusal in refused:
        table.add_row(refusal.cause, f"{len(refusal.periods):,}", refusal.detail)
    return table


def _refused(refused: Sequence[Refusal]) -> list[dict[str, Any]]:
    return [
        {"cause": refusal.cause, "detail": refusal.detail, "periods": [_period(key) for key in refusal.periods]}
        for refusal in refused
    ]


def _period(key: PeriodKey) -> dict[str, str]:
    return {
        "tenant_id": key.tenant_id,
        "customer_id": key.customer_id,
        "period_start": rfc3339(key.start),
        "period_end": rfc3339(key.end),
    }


def _document(closed: billing_close.Closed) -> dict[str, Any]:
    return {
        "watermark": None if closed.watermark is None else rfc3339(closed.watermark),
        "closes": closed.closes,
        "corrections": closed.corrections,
        "published": closed.published,
        "refused": _refused(closed.refused),
    }


def _text(closed: billing_close.Closed) -> Any:
    at = "not known" if closed.watermark is None else rfc3339(closed.watermark)
    line = f"arrival watermark {at}: closed {closed.closes:,} periods, made {closed.corrections:,} corrections"
    return Group(line, _refusals(closed.refused)) if closed.refused else line
