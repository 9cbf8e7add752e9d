"""`tidemark usage` and `tidemark top`: what one customer has used, live and stored; who used most in the last hour."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any

import typer

from tidemark.cli.known import known
from tidemark.cli.output import Json, Table, draw, emit, say
from tidemark.cli.run_id import RunId
from tidemark.core import audit
from tidemark.core.csv_text import csv_of
from tidemark.core.errors import UnavailableError, UsageError
from tidemark.core.settings import Settings, load
from tidemark.core.times import given_ms
from tidemark.live import leaderboard, usage_rows
from tidemark.live import usage as live_usage
from tidemark.live.usage import UsageQuery
from udfs.values import instant, plain, rfc3339

Meter = Annotated[str | None, typer.Option(help="Only this meter.")]
Period = Annotated[
    str | None,
    typer.Option(help="A day (2026-03-01, local to the customer) or instant in the period; else the latest."),
]
From = Annotated[str | None, typer.Option("--from", help="First local day: usage day by day. Not with --period.")]
To = Annotated[str | None, typer.Option(help="Last local day, included; with --from. Else to the newest.")]
ByDims = Annotated[bool, typer.Option("--by-dims", help="A row per group-by values.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV with a header on stdout.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    app.command("usage")(usage)
    app.command("top")(top)


def usage(
    tenant: str,
    customer: str,
    meter: Meter = None,
    period: Period = None,
    from_: From = None,
    to: To = None,
    by_dims: ByDims = False,
    as_csv: Csv = False,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Print live counter and stored total of each meter, side by side; or usage by dimensions, or day by day."""
    settings = load(run_id=run_id)
    days = _days(from_, to, period)
    if as_csv and as_json:
        raise UsageError("--csv and --json are two forms of one result.", "give one of them.")
    known(settings, tenant, customer, meter)
    asked = {"meter": meter, "period": period, "since": from_, "to": to}
    audit.record_before(settings, "read.usage", f"{tenant}/{customer}", asked=asked)
    query = UsageQuery(tenant, customer, meter, None if period is None else _at(settings, tenant, customer, period))
    if days is not None or by_dims:
        rows = (
            usage_rows.by_dims(settings, query)
            if days is None
            else usage_rows.by_day(settings, query, days, dims=by_dims)
        )
        document = {"tenant_id": tenant, "customer_id": customer, "rows": rows}
        _print(document, rows, as_csv=as_csv, as_json=as_json)
        return
    result = live_usage.usage(settings, query)
    for reason in result.unavailable.values():
        say(reason)
    if as_csv:
        _print_csv(_flat(result))
    else:
        emit(result.document(), _text(result), as_json=as_json)
    if result.unavailable:
        raise typer.Exit(UnavailableError.exit_code)


def top(tenant: str, meter: str, run_id: RunId = None, as_json: Json = False) -> None:
    """Print the customers with the greatest totals of a meter in the latest complete hour, from the leaderboard."""
    settings = load(run_id=run_id)
    audit.record_before(settings, "read.usage", tenant, asked={"meter": meter, "top": True})
    leaderboard_of = leaderboard.top(settings, tenant, meter)
    if leaderboard_of is None:
        known(settings, tenant, meter=meter)
        why = leaderboard.why_none(settings)
        nothing = {"tenant_id": tenant, "meter": meter, "customers": [], "why": why}
        emit(nothing, f"no leaderboard of {tenant}, {meter}: {why}", as_json=as_json)
        return
    customers = [{"customer_id": customer, "total": plain(total)} for customer, total in leaderboard_of.totals]
    start, end = rfc3339(leaderboard_of.window_start), rfc3339(leaderboard_of.window_end)
    document = {"tenant_id": tenant, "meter": meter, "window_start": start, "window_end": end, "customers": customers}
    table = Table("place", "customer", "total", title=f"{start} - {end}")
    for place, row in enumerate(customers, 1):
        table.add_row(str(place), row["customer_id"], row["total"])
    emit(document, table, as_json=as_json)


def _days(from_: str | None, to: str | None, period: str | None) -> usage_rows.Days | None:
    if from_ is None:
        if to is not None:
            raise UsageError("--to needs --from.", "name the first day too, or the period: --period 2026-03-01.")
        return None
    if period is not None:
        raise UsageError("--period is one period, --from and --to are days.", "give the one or the others.")
    days = usage_rows.Days(_day("--from", from_), date.max if to is None else _day("--to", to))
    if days.first > days.last:
        raise UsageError(f"--to {to} is before --from {from_}.", "name the later day with --to.")
    return days


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option}: {text!r} is not a day.", "write for example 2026-03-01.") from None


def _at(settings: Settings, tenant: str, customer: str, text: str) -> datetime:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return instant(given_ms(text))
    return usage_rows.instant_of(settings, tenant, customer, day)


def _print(document: dict[str, Any], rows: Sequence[dict[str, Any]], *, as_csv: bool, as_json: bool) -> None:
    if as_csv:
        _print_csv(rows)
        return
    table = Table(*(rows[0] if rows else ()))
    for row in rows:
        table.add_row(*("-" if value is None else str(value) for value in row.values()))
    emit(document, table if rows else "no usage", as_json=as_json)


def _print_csv(rows: Sequence[dict[str, Any]]) -> None:
    draw(csv_of(rows, () if rows else ("meter",), "\n").removesuffix("\n"))


def _flat(result: live_usage.Usage) -> list[dict[str, Any]]:
    """A row per meter: the stored side, or the live one where there is no other, and the live value beside it."""
    rows = []
    for meter in result.meters:
        side = meter.stored or meter.live
        if side is not None:
            rows.append(
                {
                    "meter": meter.meter, "period_start": side.period_start, "period_end": side.period_end,
                    "samples": side.samples, "value": None if meter.stored is None else meter.stored.value,
                    "projected_value": side.projected, "unit": meter.unit,
                    "live_value": None if meter.live is None else meter.live.value,
                    "equal": _answer(meter.equal),
                }
            )  # fmt: skip
    return rows


def _answer(equal: bool | None) -> str:
    return "-" if equal is None else "yes" if equal else "no"


def _text(result: live_usage.Usage) -> Any:
    if not result.meters:
        return f"no usage of {result.tenant}/{result.customer}"
    table = Table("meter", "side", "period", "samples", "value", "projected", "equal")
    for meter in result.meters:
        for side, total in (("live", meter.live), ("stored", meter.stored)):
            cells = (
                ("-", "-", "-", "-")
                if total is None
                else (
                    f"{total.period_start} - {total.period_end}", str(total.samples), total.value,
                    total.projected or "-",
                )
            )  # fmt: skip
            table.add_row(meter.meter, side, *cells, _answer(meter.equal))
    return table
