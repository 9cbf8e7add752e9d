"""`tidemark reconcile`: every number against where it came from; what differs, and what explains it."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from tidemark.billing.drift import Drift, open_drift
from tidemark.cli.by import By
from tidemark.cli.known import known
from tidemark.cli.output import Json, Table, emit, say
from tidemark.cli.run_id import RunId
from tidemark.core import postgres
from tidemark.core.errors import DifferenceError, UsageError
from tidemark.core.settings import load
from tidemark.reconcile import invoices, manifests, run, shadow
from tidemark.reconcile.findings import CHECKS, Check, Outcome
from tidemark.reconcile.parity import LINE, Parity
from tidemark.reconcile.sample import Wanted
from udfs.values import plain

_ALL = ",".join(CHECKS)
Checks = Annotated[str, typer.Option("--check", help=f"Checks, with commas: {', '.join(CHECKS)}.")]
Tenant = Annotated[str | None, typer.Option(help="Only this tenant.")]
Share = Annotated[str, typer.Option(help="Share of the customers, by hash: 0.1 for a tenth.")]
Metrics = Annotated[Path | None, typer.Option(help="File for Prometheus' textfile collector, replaced atomically.")]
Still = Annotated[bool, typer.Option("--no-wait", help="No events arrive: wait for nothing, compare everything.")]
Imported = Annotated[Path, typer.Argument(help="A .csv with a header, or .ndjson.")]


def register(app: typer.Typer) -> None:
    """Add the command group to the `tidemark` app."""
    group = typer.Typer(help="Compare numbers with their sources.", no_args_is_help=True)
    group.command("run")(run_)
    group.command("drift")(drift)
    group.command("explain-drift")(explain_drift)
    group.command("shadow")(shadow_)
    for name, command in (("manifest", import_manifests), ("invoices", import_invoices)):
        files = typer.Typer(help=f"Figures of other systems: {name}.", no_args_is_help=True)
        files.callback()(lambda: None)
        files.command("import")(command)
        group.add_typer(files, name=name)
    app.add_typer(group, name="reconcile")


def run_(
    check: Checks = _ALL,
    tenant: Tenant = None,
    share: Share = "1",
    metrics: Metrics = None,
    no_wait: Still = False,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Run the checks once; exit code 4 while there is unexplained drift."""
    request = _request(check, tenant, share, metrics, idle=no_wait)
    settings = load(run_id=run_id)
    if tenant is not None:
        known(settings, tenant)
    report = run.run(settings, request, say)
    document = {
        "number": report.number,
        "finished_at": report.finished_at,
        "checks": {name: outcome.document() for name, outcome in report.outcomes.items()},
        "open": [_drift_document(drift) for drift in report.open],
    }
    emit(document, _outcomes(report.outcomes), as_json=as_json)
    report.raise_if_open()


def drift(tenant: Tenant = None, run_id: RunId = None, as_json: Json = False) -> None:
    """List open differences: unexplained, and not checked again by a later run; exit code 0 in any case."""
    settings = load(run_id=run_id)
    if tenant is not None:
        known(settings, tenant)
    with postgres.connect(settings.postgres.ops) as connection:
        found = open_drift(connection, settings.names, tenant)
    emit({"open": [_drift_document(one) for one in found]}, _drifts(found), as_json=as_json)


def explain_drift(
    number: Annotated[int, typer.Argument(help="Number of the difference, as `drift` shows it.")],
    because: Annotated[str, typer.Option(help="Why it is so.")],
    by: Annotated[str, typer.Option(help="Who explains it.")],
    run_id: RunId = None,
) -> None:
    """Mark a difference as explained: it no longer blocks a close, as long as it stays the same."""
    run.explain(load(run_id=run_id), number, because, by)
    say(f"drift {number} is explained")


def shadow_(
    theirs: Annotated[str, typer.Argument(metavar="FILE_OR_TABLE", help="A .csv or .ndjson, or SCHEMA.TABLE.")],
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Compare with another system's numbers and print the parity per customer; exit code 4 when one is below 99.9 %."""
    settings = load(run_id=run_id)
    with postgres.connect(settings.postgres.ops) as connection:
        parities = shadow.compare(connection, settings.names, theirs)
    below = [parity for parity in parities if not parity.reached]
    document = {
        "line": plain(LINE),
        "below": len(below),
        "customers": [{**asdict(parity), "reached": parity.reached} for parity in parities],
    }
    emit(document, _parities(parities), as_json=as_json)
    if below:
        raise DifferenceError(
            f"{len(below)} of {len(parities)} customers are below {_percent(LINE)}.",
            "start with the first of the list.",
        )


def import_manifests(file: Imported, by: By = "", run_id: RunId = None) -> None:
    """Import producers' manifests, a line per tenant, source and hour (docs/reconcile.md)."""
    settings = load(run_id=run_id)
    with postgres.connect(settings.postgres.ops) as connection:
        say(f"{manifests.load(connection, settings.names, file, by)} manifests imported")


def import_invoices(file: Imported, by: By = "", run_id: RunId = None) -> None:
    """Import invoiced quantities, a line per invoice, customer, meter and period (docs/reconcile.md)."""
    settings = load(run_id=run_id)
    with postgres.connect(settings.postgres.ops) as connection:
        say(f"{invoices.load(connection, settings.names, file, by)} lines imported")


def _request(check: str, tenant: str | None, share: str, metrics: Path | None, *, idle: bool = False) -> run.Request:
    try:
        part = Decimal(share)
    except InvalidOperation:
        raise UsageError(f"{share!r} is not a share.", "give a number such as 0.1.") from None
    checks = [cast("Check", name.strip()) for name in check.split(",") if name.strip()]
    return run.Request([*dict.fromkeys(checks)], Wanted(tenant, part), idle, metrics)


def _drift_document(drift: Drift) -> dict[str, Any]:
    return {**asdict(drift), "delta": None if drift.delta is None else plain(drift.delta)}


def _outcomes(outcomes: Any) -> Table:
    table = Table("check", "compared", "differ", "moving", "")
    for name, outcome in outcomes.items():
        table.add_row(name, f"{outcome.compared:,}", f"{outcome.differing:,}", f"{outcome.moving:,}", _remark(outcome))
    return table


def _remark(outcome: Outcome) -> str:
    if outcome.not_checked:
        return f"not checked: {outcome.not_checked}"
    return "; ".join([("differs" if outcome.differing else "equal"), *outcome.notes])


def _drifts(differences: list[Drift]) -> Any:
    if not differences:
        return "no open differences"
    table = Table("drift", "check", "what", "expected", "actual", "delta")
    for row in differences:
        delta = "" if row.delta is None else plain(row.delta)
        table.add_row(str(row.id), row.check_name, row.subject, row.expected or "-", row.actual or "-", delta)
    return table


def _parities(parities: list[Parity]) -> Table:
    table = Table("tenant", "customer", "parity", "worst meter", "ours", "theirs", "equal lines")
    for place, row in enumerate(parities):
        table.add_row(
            row.tenant_id, row.customer_id, _percent(row.parity), row.meter, plain(row.ours), plain(row.theirs),
            f"{row.equal}/{row.lines}",
            # The line: worse customers are above it.
            end_section=not row.reached and (place + 1 == len(parities) or parities[place + 1].reached),
        )  # fmt: skip
    table.caption = f"{sum(not parity.reached for parity in parities)} below the line of {_percent(LINE)}"
    return table


def _percent(share: Decimal) -> str:
    """Rounded down: unequal values never show as 100 %."""
    return f"{(share * 100).quantize(Decimal('0.0001'), 'ROUND_FLOOR').normalize():f} %"
