"""`tidemark replay`: rebuild usage as a second version, compare it, switch to it, switch back, throw it away."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated, Any

import typer

from tidemark.billing.outbox import tell
from tidemark.catalog import tool as catalog_tool
from tidemark.cli.known import known
from tidemark.cli.output import Json, Table, emit, say
from tidemark.core import migrate
from tidemark.core.errors import TidemarkError
from tidemark.core.settings import Settings, load
from tidemark.core.times import given_instant
from tidemark.live import active_version
from tidemark.replay import diff as replay_diff
from tidemark.replay import discard as replay_discard
from tidemark.replay import record, reprocess, run, switch
from tidemark.replay.record import Replay
from udfs.values import plain, rfc3339

RunId = Annotated[str | None, typer.Option("--run-id", help="The run it is a replay of; the live one when absent.")]
Name = Annotated[str, typer.Argument(help="Name of the replay.")]
Id = Annotated[str, typer.Option("--id", help="Name of the replay: lower-case letters, digits and _.")]
By = Annotated[str, typer.Option("--by", help="Who decides; the user of this machine when absent.")]
Tenants = Annotated[list[str] | None, typer.Option("--tenant", help="Only this tenant; may be repeated.")]
From = Annotated[str, typer.Option("--from", help="First event time it stands for, RFC 3339: the begin of a period.")]
To = Annotated[
    str, typer.Option("--to", help="First event time after it; it runs on with the live stream when absent.")
]
CatalogAt = Annotated[str, typer.Option("--catalog-at", help="Measure by the catalog as it was known at this instant.")]
Archive = Annotated[bool, typer.Option("--from-archive", help="Read the archive, beyond what Kafka keeps.")]
Rate = Annotated[int, typer.Option("--rate", min=0, help="Most events a second, to spare the live jobs; 0: no bound.")]
Detach = Annotated[bool, typer.Option("--detach", help="Do not wait until it is level.")]
Top = Annotated[int, typer.Option("--top", min=1, help="Lines shown, the largest differences first.")]
Csv = Annotated[Path | None, typer.Option("--csv", help="Write all lines to this file.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it, instead of showing what it would do.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    group = typer.Typer(help="Rebuild usage as a second version, compare, switch, switch back.", no_args_is_help=True)
    for command in (start, resume, status, diff, promote, revert, discard):
        group.command(command.__name__)(command)
    group.command("list")(list_all)
    group.command("reprocess")(reprocess_catalog)
    app.add_typer(group, name="replay")


def start(
    replay_id: Id,
    begin: From,
    end: To = "",
    tenant: Tenants = None,
    catalog_at: CatalogAt = "",
    from_archive: Archive = False,
    rate: Rate = 0,
    by: By = "",
    detach: Detach = False,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Start a replay, and wait with progress until it is level; what is interrupted is continued by `resume`."""
    settings = load(run_id=run_id)
    request = run.Request(
        replay_id, by or getpass.getuser(), given_instant(begin, "--from"), given_instant(end, "--to") if end else None,
        tenant or (), given_instant(catalog_at, "--catalog-at") if catalog_at else None, from_archive, rate,
    )  # fmt: skip
    for one in tenant or ():
        known(settings, one)
    say(f"starting replay {replay_id} …")
    replay = run.start(settings, request)
    _wait(settings, replay, detach=detach, as_json=as_json)


def resume(replay_id: Name, detach: Detach = False, run_id: RunId = None, as_json: Json = False) -> None:
    """Go on with a replay that was interrupted, from its newest state."""
    settings = load(run_id=run_id)
    _wait(settings, run.resume(settings, _find(settings, replay_id)), detach=detach, as_json=as_json)


def status(replay_id: Name, run_id: RunId = None, as_json: Json = False) -> None:
    """Print how far a replay is, and its scope."""
    settings = load(run_id=run_id)
    replay = _find(settings, replay_id)
    now = run.look(record.run_settings(settings, replay), replay) if replay.state != "discarded" else None
    far = {"read": now.done, "of": now.total} if now else {}
    emit(
        {**_document(replay), **far},
        _line(replay) + (f"; read {now.done:,} of {now.total:,}" if now else ""),
        as_json=as_json,
    )


def list_all(run_id: RunId = None, as_json: Json = False) -> None:
    """Print all replays, the newest first."""
    settings = load(run_id=run_id)
    with migrate.connect(settings.postgres) as connection:
        found = record.every(connection, settings.names)
    emit([_document(one) for one in found], [*map(_line, found)] or "no replay", as_json=as_json)


def diff(replay_id: Name, top: Top = 20, csv: Csv = None, run_id: RunId = None, as_json: Json = False) -> None:
    """Print what promoting a replay would change."""
    lines = replay_diff.diff(load(run_id=run_id), replay_id)
    if csv is not None:
        replay_diff.write_csv(lines, csv)
    emit(
        {"lines": [line.document() for line in lines[: None if csv is None else top]], "count": len(lines)},
        _lines(lines, top),
        as_json=as_json,
    )


def promote(replay_id: Name, by: By = "", run_id: RunId = None, as_json: Json = False) -> None:
    """Let people read the replay: closed periods get corrections, open ones follow it from now on."""
    settings = load(run_id=run_id)
    _warn(settings, replay_id)
    done = switch.promote(settings, replay_id, by or getpass.getuser())
    _let_follow(settings)
    _tell(settings)
    _switched(replay_id, "promoted", done, as_json=as_json)


def revert(replay_id: Name, by: By = "", run_id: RunId = None, as_json: Json = False) -> None:
    """Take a promotion back: corrections to what was, and open periods as the version below has them now."""
    settings = load(run_id=run_id)
    done = switch.revert(settings, replay_id, by or getpass.getuser())
    _let_follow(settings)
    _tell(settings)
    _switched(replay_id, "reverted", done, as_json=as_json)


def discard(replay_id: Name, by: By = "", run_id: RunId = None, as_json: Json = False) -> None:
    """End a replay and remove its jobs, topics, tables and counters; its decisions and corrections stay."""
    done = replay_discard.discard(load(run_id=run_id), replay_id, by or getpass.getuser())
    text = f"replay {replay_id} {'is gone' if done else 'was gone already'}"
    emit({"replay_id": replay_id, "discarded": done}, text, as_json=as_json)


def reprocess_catalog(
    file: Annotated[Path, typer.Argument(help="Catalog file with the changed meters or calendars.")],
    replay_id: Id,
    rate: Rate = 0,
    by: By = "",
    yes: Yes = False,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Show what a changed catalog concerns; with --yes apply it backdated, replay it, and print the differences."""
    settings = load(run_id=run_id)
    found = reprocess.concern(settings, file)
    say(
        f"{len(found.plan.changes)} changes of the catalog; counted otherwise from {rfc3339(found.since)}: "
        f"{found.periods:,} periods, {found.closed:,} of them closed; tenants: {', '.join(found.tenants) or 'all'}; "
        f"the replay begins at {rfc3339(found.start)}"
    )
    if not yes:
        document = {
            "since": rfc3339(found.since),
            "from": rfc3339(found.start),
            "tenants": list(found.tenants),
            "periods": found.periods,
            "closed": found.closed,
        }
        emit(document, "nothing was done; the same with --yes does it", as_json=as_json)
        return
    catalog_tool.apply(settings, file, backdate=True)
    request = run.Request(replay_id, by or getpass.getuser(), found.start, None, found.tenants, events_per_s=rate)
    run.finish(settings, run.start(settings, request), _say_progress)
    lines = replay_diff.diff(settings, replay_id)
    say(f"`tidemark replay promote {replay_id}` lets people read it; `discard` throws it away")
    emit({"lines": [line.document() for line in lines], "count": len(lines)}, _lines(lines, 20), as_json=as_json)


def _wait(settings: Settings, replay: Replay, *, detach: bool, as_json: bool) -> None:
    if not detach:
        replay = run.finish(settings, replay, _say_progress)
    emit(_document(replay), _line(replay), as_json=as_json)


def _say_progress(now: run.Progress) -> None:
    rate = f", {now.per_s:,.0f}/s" if now.per_s else ""
    left = f", {now.left_s:,.0f} s left" if now.left_s else ""
    say(f"read {now.done:,} of {now.total:,}{rate}{left}")


def _warn(settings: Settings, replay_id: str) -> None:
    """Readers follow a replay that runs on to its counters: say so when they would not be believed."""
    replay = _find(settings, replay_id)
    why = "" if replay.bounded or replay.state == "promoted" else active_version.unready(settings, replay_id)
    if why:
        say(f"warning: {why}")


def _let_follow(settings: Settings) -> None:
    try:
        active_version.publish(settings)
    except TidemarkError as error:
        # The switch is made; readers follow with the next refresh of the keeper.
        say(f"warning: {error}")


def _tell(settings: Settings) -> None:
    say("telling closes and corrections …")
    tell(settings)


def _switched(replay_id: str, verb: str, done: switch.Switched, *, as_json: bool) -> None:
    document = {"replay_id": replay_id, "changed": done.changed, "closes": done.closes, "corrections": done.corrections}
    text = f"replay {replay_id} {verb}: {done.closes:,} closes, {done.corrections:,} corrections"
    emit(document, text if done.changed else f"replay {replay_id}: nothing to change", as_json=as_json)


def _find(settings: Settings, replay_id: str) -> Replay:
    with migrate.connect(settings.postgres) as connection:
        return record.find(connection, settings.names, replay_id)


def _document(replay: Replay) -> dict[str, Any]:
    return {
        "replay_id": replay.replay_id, "state": replay.state, "from": rfc3339(replay.scope_start),
        "to": rfc3339(replay.scope_end) if replay.scope_end else None, "tenants": list(replay.tenants),
        "from_archive": replay.from_archive, "started_at": rfc3339(replay.started_at), "started_by": replay.started_by,
    }  # fmt: skip


def _line(replay: Replay) -> str:
    end = rfc3339(replay.scope_end) if replay.scope_end else "on"
    tenants = ", ".join(replay.tenants) or "all tenants"
    return f"{replay.replay_id}: {replay.state}, {rfc3339(replay.scope_start)} to {end}, {tenants}"


def _lines(lines: list[replay_diff.Line], top: int) -> Any:
    if not lines:
        return "no line differs"
    table = Table("tenant", "customer", "meter", "dims", "period from", "now", "replay", "delta", "")
    for line in lines[:top]:
        figures = ("" if value is None else plain(value) for value in (line.before, line.after))
        table.add_row(
            line.tenant_id, line.customer_id, line.meter, line.dims, rfc3339(line.period_start), *figures,
            plain(line.delta), "closed" if line.final else "open",
        )  # fmt: skip
    for tenant, meter, count, delta in replay_diff.by_meter(lines):
        table.add_row(tenant, "", meter, "", "", "", f"{count:,} lines", plain(delta), "")
    return table
