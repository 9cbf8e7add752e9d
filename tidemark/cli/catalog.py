"""`tidemark catalog`: tenants, customers, calendars, meters, limits and alert policy."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from tidemark.catalog import exported
from tidemark.catalog import file as catalog_file
from tidemark.catalog import tool as catalog_tool
from tidemark.catalog.confirmations import Confirmation
from tidemark.catalog.instants import instant_ms, shown
from tidemark.catalog.plan import Plan
from tidemark.catalog.timeline import Change
from tidemark.cli.by import By
from tidemark.cli.catalog_wait import await_workers
from tidemark.cli.output import Json, emit, say
from tidemark.core.errors import UsageError
from tidemark.core.settings import load
from udfs.meters.meter import BEGINNING_MS
from udfs.values import instant

File = Annotated[Path, typer.Argument(help="YAML file; see schemas/catalog/example.yaml.")]
Backdate = Annotated[
    bool, typer.Option("--backdate", help="Change what events may have been counted by already; needs a replay.")
]
Prune = Annotated[
    bool, typer.Option("--prune", help="Close what FILE does not name of the tenants it names; otherwise it stays.")
]
AllTenants = Annotated[
    bool, typer.Option("--all-tenants", help="With --prune: FILE is the whole catalog, other tenants are closed too.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask: cut periods, closed entries and new defaults are fine.")]
Wait = Annotated[bool, typer.Option("--wait", help="Return when every worker of the jobs counts by it.")]
At = Annotated[str, typer.Option("--at", help="Event time, RFC 3339; now when absent.")]
KnownAt = Annotated[
    str, typer.Option("--known-at", help="Instant as of which it was known, RFC 3339; what is known now when absent.")
]

OneTenant = Annotated[
    str | None, typer.Option("--tenant", help="Only this tenant, its calendars, and the meters of all tenants.")
]
Form = Annotated[str, typer.Option("--format", help="rows: every column; yaml: a file that `apply` takes.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    group = typer.Typer(help="Tenants, customers, calendars, meters, limits and alert policy.", no_args_is_help=True)
    group.command("plan")(plan)
    group.command("apply")(apply)
    group.command("show")(show)
    app.add_typer(group, name="catalog")


def plan(
    file: File, backdate: Backdate = False, prune: Prune = False, all_tenants: AllTenants = False, as_json: Json = False
) -> None:
    """Print what applying FILE would change, and change nothing."""
    _require_prune(prune, all_tenants)
    outcome = catalog_tool.preview(load(), file, backdate=backdate, prune=prune, all_tenants=all_tenants)
    emit(_document(outcome), _text(outcome.plan), as_json=as_json)
    catalog_file.fail(file, outcome.plan.faults)


def apply(
    file: File,
    backdate: Backdate = False,
    prune: Prune = False,
    all_tenants: AllTenants = False,
    yes: Yes = False,
    wait: Wait = False,
    by: By = "",
    as_json: Json = False,
) -> None:
    """Make the catalog equal to FILE; prints the plan first, and asks where periods are cut or entries closed."""
    _require_prune(prune, all_tenants)
    settings = load()
    say(f"applying {file} …")
    how = {"backdate": backdate, "prune": prune, "all_tenants": all_tenants}
    agreed = None if yes else _agreed(file, catalog_tool.preview(settings, file, **how).plan, as_json=as_json)

    def announce(made: Plan) -> None:
        if not agreed:
            _announce(made, as_json=as_json)

    outcome = catalog_tool.apply(settings, file, **how, announce=announce, agreed=agreed, by=by)
    done = "applied" if outcome.plan.changes else "nothing to apply"
    if wait:
        await_workers(settings)
    emit(_document(outcome), f"{done}: revision {outcome.revision}", as_json=as_json)


def _require_prune(prune: bool, all_tenants: bool) -> None:
    if all_tenants and not prune:
        raise UsageError("--all-tenants extends --prune.", "give --prune too, or leave it out.")


def _agreed(file: Path, made: Plan, *, as_json: bool) -> tuple[Confirmation, ...]:
    """What a person at a terminal confirms; the plan is shown before the prompt, outside any transaction."""
    if not made.confirmations:
        return ()
    _announce(made, as_json=as_json)
    catalog_file.fail(file, made.faults)
    if as_json or not sys.stdin.isatty():
        lines = "\n".join(f"  {confirmation.text}" for confirmation in made.confirmations)
        raise UsageError(f"{file} needs your consent:\n{lines}", "give --yes if this is intended.")
    typer.confirm("apply this?", abort=True, err=True)
    return made.confirmations


def _announce(made: Plan, *, as_json: bool) -> None:
    say(_text(made)) if as_json else emit(None, _text(made), as_json=False)


def show(
    at: At = "", known_at: KnownAt = "", tenant: OneTenant = None, form: Form = "rows", as_json: Json = False
) -> None:
    """Print the catalog at an event time, or as it was known at an earlier instant."""
    moments = _instant(at, "--at"), _instant(known_at, "--known-at")
    if form not in ("rows", "yaml"):
        raise UsageError(f"--format: {form!r} is not known.", "write rows, or yaml for a file to apply.")
    if form == "yaml":
        if as_json:
            raise UsageError("--format yaml and --json exclude each other.", "leave one of them out.")
        revision, content = catalog_tool.show_file(load(), *moments, tenant)
        emit(None, f"# Catalog at revision {revision}.\n{exported.text(content)}".rstrip(), as_json=False)
        return
    document: dict[str, Any] = catalog_tool.show(load(), *moments, tenant)
    emit(
        document,
        yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=1_000).rstrip(),
        as_json=as_json,
    )


def _instant(text: str, option: str) -> datetime | None:
    if not text:
        return None
    try:
        ms = instant_ms(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}", "write for example 2026-01-31T00:00:00Z.") from None
    if ms == BEGINNING_MS:
        raise UsageError(f"{option}: the beginning is not an instant.", "write for example 1970-01-01T00:00:00Z.")
    return instant(ms)


def _text(made: Plan) -> str:
    lines = [f"confirm: {confirmation.text}" for confirmation in made.confirmations]
    lines += [line for change in made.changes for line in _lines(change)]
    counts = [
        f"{sum(change.kind == kind for change in made.changes)} {kind}" for kind in ("added", "changed", "closed")
    ]
    return "\n".join([*lines, f"{', '.join(counts)}, {made.unchanged} unchanged", *_remarks(made)])


def _remarks(made: Plan) -> list[str]:
    return [*(f"warning: {warning}" for warning in made.warnings), *made.notes]


def _lines(change: Change) -> list[str]:
    key = "/".join(part or "*" for part in change.key)
    lines = [f"{change.kind} {change.table} {key} from {shown(change.valid_from_ms)}"]
    if change.kind == "changed":
        lines += [f"  {name}: {_value(old)} -> {_value(new)}" for name, old, new in change.fields]
    if change.replaced:
        lines.append(f"  replaces what starts at {', '.join(map(shown, change.replaced))}")
    return lines


def _value(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(value)}]"
    return "none" if value in (None, "") else str(value).lower() if isinstance(value, bool) else str(value)


def _document(outcome: catalog_tool.Outcome) -> dict[str, Any]:
    made = outcome.plan
    return {
        "revision": outcome.revision,
        "changes": [
            {
                "table": change.table,
                "key": list(change.key),
                "kind": change.kind,
                "valid_from": shown(change.valid_from_ms),
                "fields": [{"name": name, "old": old, "new": new} for name, old, new in change.fields],
                "replaces": [shown(start) for start in change.replaced],
            }
            for change in made.changes
        ],
        "unchanged": made.unchanged,
        "replay_needed": made.replay_needed,
        "confirmations": [change.text for change in made.confirmations],
        "warnings": list(made.warnings),
        "notes": list(made.notes),
        "faults": [{"path": fault.path, "line": fault.line, "message": fault.message} for fault in made.faults],
    }
