"""`tidemark close`: closes what is due, corrects what changed, tells Kafka; once or all the time."""

from __future__ import annotations

import getpass
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from tidemark.billing import close as billing_close
from tidemark.billing.decide import Wish
from tidemark.billing.lines import PeriodKey
from tidemark.billing.moments import moment
from tidemark.billing.preview import Preview, preview
from tidemark.billing.refusals import Refusal
from tidemark.billing.scope import Scope
from tidemark.cli.known import known
from tidemark.cli.output import Group, Json, Table, emit, say
from tidemark.cli.until_stopped import until_stopped
from tidemark.core.errors import UsageError
from tidemark.core.settings import load
from tidemark.reconcile import run
from udfs.catalog.model import Pair
from udfs.values import rfc3339

RunId = Annotated[str | None, typer.Option("--run-id", help="A run with topics, schemas and keys of its own.")]
By = Annotated[str | None, typer.Option(help="Who closes, for the record; the user of this machine when left out.")]


# Customers that a preview shows; --json has all periods.
_SHOWN = 50


def register(app: typer.Typer) -> None:
    """Add the command to the `tidemark` app."""
    app.command("close")(close)


def close(
    watch: Annotated[bool, typer.Option("--watch", help="Go on until SIGTERM or Ctrl-C; logs JSON lines.")] = False,
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
    by: By = None,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Close every period whose end + grace lies behind the arrival watermark; exit code 1 when one is refused."""
    settings = load(run_id=run_id)
    wish = _wish(tenant, customer, until, accept_dead_letters or (), yes=yes)
    if watch:
        if wish != Wish() or reconcile or dry_run:
            raise UsageError(
                "what is narrowed, accepted or shown, and reconciling, are of one close.",
                "leave out --watch, or the other options; `tidemark reconcile watch` is daily.",
            )
        billing_close.watch(settings, by or f"close --watch by {user()}", until_stopped())
        return
    if tenant is not None:
        known(settings, tenant, customer)
    if dry_run:
        if reconcile:
            raise UsageError("--reconcile stores what it finds, --dry-run changes nothing.", "leave out one of them.")
        _show(preview(settings, wish, say), as_json=as_json)
        return
    # What is found before is refused below; what is found after names a close that must not be signed.
    checked = [run.run(settings, run.Request(), say)] if reconcile else []
    found = billing_close.close(settings, by or user(), wish, progress=say)
    checked += [run.run(settings, run.Request(), say)] if reconcile else []
    emit(_document(found), _text(found), as_json=as_json)
    for report in checked[1:]:
        report.raise_if_open()
    if found.refused:
        raise typer.Exit(1)


def _wish(tenant: str | None, customer: str | None, until: str | None, accept: Iterable[str], *, yes: bool) -> Wish:
    if customer is not None and tenant is None:
        raise UsageError(f"customer {customer!r} needs its tenant.", "add --tenant TENANT.")
    scope = Scope(tenant, customer, None if until is None else moment(until))
    return Wish(scope, tuple(_pair(text) for text in accept), yes)


def user() -> str:
    """Who runs this, as the system knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _pair(text: str) -> Pair:
    tenant, slash, customer = text.partition("/")
    if not (tenant and slash and customer):
        raise UsageError(f"{text!r} names no customer.", "write TENANT/CUSTOMER.")
    return tenant, customer


def _show(found: Preview, *, as_json: bool) -> None:
    emit(_preview_document(found), _preview_text(found), as_json=as_json)
    if found.refused:
        raise typer.Exit(1)


def _preview_document(found: Preview) -> dict[str, Any]:
    return {
        "dry_run": True,
        "watermark": None if found.watermark is None else rfc3339(found.watermark),
        "last_watermark": None if found.accepted is None else rfc3339(found.accepted),
        "closes": len(found.keys),
        "with_usage": len(found.used),
        "without_usage": len(found.keys) - len(found.used),
        "corrections": found.corrections,
        "periods": [{**_period(key), "with_usage": key in found.used} for key in found.keys],
        "refused": _refused(found.refused),
        "silent_partitions": list(found.silent),
    }


def _preview_text(found: Preview) -> Any:
    at = "not known" if found.watermark is None else rfc3339(found.watermark)
    before = "none yet" if found.accepted is None else rfc3339(found.accepted)
    empty = len(found.keys) - len(found.used)
    lines = [
        f"arrival watermark {at} (of the last close: {before}); nothing was changed",
        f"would close {len(found.keys):,} periods: {len(found.used):,} with usage, {empty:,} without",
        f"would make {found.corrections:,} corrections",
    ]
    if found.silent:
        lines.append(f"a close would first send heartbeats into partitions {', '.join(map(str, found.silent))}")
    parts: list[Any] = ["\n".join(lines)]
    if found.keys:
        parts.append(_customers(found))
    if found.refused:
        parts.append(_refusals(found.refused))
    return Group(*parts)


def _customers(found: Preview) -> Table:
    """A row for each customer, the one with most periods first."""
    of_pair: dict[Pair, list[PeriodKey]] = {}
    for key in found.keys:
        of_pair.setdefault(key[:2], []).append(key)
    rest = len(of_pair) - _SHOWN
    caption = f"and {rest:,} more customers: --json has all periods" if rest > 0 else ""
    table = Table("tenant", "customer", "periods", "with usage", "from", "to", caption=caption)
    for pair, keys in sorted(of_pair.items(), key=lambda item: (-len(item[1]), item[0]))[:_SHOWN]:
        used = sum(key in found.used for key in keys)
        table.add_row(*pair, f"{len(keys):,}", f"{used:,}", rfc3339(keys[0].start), rfc3339(keys[-1].end))
    return table


def _refusals(refused: Sequence[Refusal]) -> Table:
    table = Table("refused", "periods", "why")
    for one in refused:
        table.add_row(one.cause, f"{len(one.periods):,}", one.detail)
    return table


def _refused(refused: Sequence[Refusal]) -> list[dict[str, Any]]:
    return [
        {"cause": one.cause, "detail": one.detail, "periods": [_period(key) for key in one.periods]} for one in refused
    ]


def _period(key: PeriodKey) -> dict[str, str]:
    return {
        "tenant_id": key.tenant_id,
        "customer_id": key.customer_id,
        "period_start": rfc3339(key.start),
        "period_end": rfc3339(key.end),
    }


def _document(found: billing_close.Closed) -> dict[str, Any]:
    return {
        "watermark": None if found.watermark is None else rfc3339(found.watermark),
        "closes": found.closes,
        "corrections": found.corrections,
        "told": found.told,
        "refused": _refused(found.refused),
    }


def _text(found: billing_close.Closed) -> Any:
    at = "not known" if found.watermark is None else rfc3339(found.watermark)
    line = f"arrival watermark {at}: closed {found.closes:,} periods, made {found.corrections:,} corrections"
    return Group(line, _refusals(found.refused)) if found.refused else line
