"""`tidemark replay`: rebuild usage as a second version, compare it, promote it, revert it, discard it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tidemark.cli.by import By
from tidemark.cli.known import known
from tidemark.cli.output import Json, Table, emit, say
from tidemark.core import postgres
from tidemark.core.settings import Settings, load
from tidemark.core.times import given_instant
from tidemark.core.user import stated
from tidemark.live import active_version
from tidemark.replay import diff as replay_diff
from tidemark.replay import discard as replay_discard
from tidemark.replay import promotion, record, reprocess, run
from tidemark.replay.announce import announce
from tidemark.replay.record import Replay
from udfs.values import plain, rfc3339

RunId = Annotated[str | None, typer.Option("--run-id", help="The run that is replayed; the live run when absent.")]
Name = Annotated[str, typer.Argument(help="Name of the replay.")]
Id = Annotated[str, typer.Option("--id", help="Name of the replay: lower-case letters, digits and _.")]
Tenants = Annotated[list[str] | None, typer.Option("--tenant", help="Only this tenant; may be repeated.")]
From = Annotated[str, typer.Option("--from", help="First event time it covers, RFC 3339: the start of a period.")]
To = Annotated[str, typer.Option("--to", help="First event time after it; when absent, it follows the live stream.")]
CatalogAt = Annotated[str, typer.Option("--catalog-at", help="Measure by the catalog as it was known at this instant.")]
Archive = Annotated[
    bool, typer.Option("--from-archive", help="Read the archive, which reaches further back than Kafka.")
]
Rate = Annotated[int, typer.Option("--rate", min=0, help="Most events a second, to spare the live jobs; 0: no bound.")]
Detach = Annotated[bool, typer.Option("--detach", help="Do not wait until it is caught up.")]
Top = Annotated[int, typer.Option("--top", min=1, help="Lines shown, the largest differences first.")]
Csv = Annotated[Path | None, typer.Option("--csv", help="Write all lines to this file.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it, instead of showing what it would do.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    group = typer.Typer(help="Rebuild usage as a second version, compare, promote, revert.", no_args_is_help=True)
    for command in (start, resume, status, diff, promote, revert, discard):
        group.command(command.__name__)(command)
    group.command("list")(list_all)
    group.command("reprocess")(reprocess_catalog)
    app.add_typer(group, name="replay")


def start(
    replay_id: Id,
    start_at: From,
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
    """Start a replay, and wait with progress until it is caught up; `resume` continues it after an interruption."""
    settings = load(run_id=run_id)
    request = run.Request(
        replay_id, stated(by), given_instant(start_at, "--from"),
        given_instant(end, "--to") if end else None, tenant or (),
        given_instant(catalog_at, "--catalog-at") if catalog_at else None, from_archive, rate,
    )  # fmt: skip
    for name in tenant or ():
        known(settings, name)
    say(f"starting replay {replay_id} …")
    replay = run.start(settings, request)
    _wait(settings, replay, detach=detach, as_json=as_json)


def resume(replay_id: Name, detach: Detach = False, run_id: RunId = None, as_json: Json = False) -> None:
    """Continue a replay that was interrupted, from its newest state."""
    settings = load(run_id=run_id)
    _wait(settings, run.resume(settings, _find(settings, replay_id)), detach=detach, as_json=as_json)


def status(replay_id: Name, run_id: RunId = None, as_json: Json = False) -> None:
    """Print how far a replay is, and its scope."""
    settings = load(run_id=run_id)
    replay = _find(settings, replay_id)
    now = run.poll(record.run_settings(settings, replay), replay) if replay.state != "discarded" else None
    far = {"read": now.done, "of": now.total} if now else {}
    emit(
        {**document_of(replay), **far},
        _line(replay) + (f"; read {now.done:,} of {now.total:,}" if now else ""),
        as_json=as_json,
    )


def list_all(run_id: RunId = None, as_json: Json = False) -> None:
    """Print all replays, the newest first."""
    settings = load(run_id=run_id)
    with postgres.connect(settings.postgres.ops) as connection:
        found = record.every(connection, settings.names)
    emit([document_of(one) for one in found], [*map(_line, found)] or "no replay", as_json=as_json)


def diff(replay_id: Name, top: Top = 20, csv: Csv = None, run_id: RunId = None, as_json: Json = False) -> None:
    """Print what promoting a replay would change."""
    lines = replay_diff.diff(load(run_id=run_id), replay_id)
    emit(
        {"lines": [line.document() for line in lines[: None if csv is None else top]], "count": len(lines)},
        lines_table(lines, top),
        as_json=as_json,
    )
    # Last: a comparison takes long, and is not lost to a wrong path.
    if csv is not None:
        replay_diff.write_csv(lines, csv)


def promote(replay_id: Name, by: By = "", run_id: RunId = None, as_json: Json = False) -> None:
    """Make the replay the active version: closed periods get corrections, open periods use it from now on."""
    settings = load(run_id=run_id)
    _warn(settings, replay_id)
    done = promotion.promote(settings, replay_id, stated(by))
    announce(settings)
    _emit_result(replay_id, "promoted", done, as_json=as_json)


def revert(replay_id: Name, by: By = "", run_id: RunId = None, as_json: Json = False) -> None:
    """Revert a promotion: corrections restore closed periods, open periods use the version below again."""
    settings = load(run_id=run_id)
    done = promotion.revert(settings, replay_id, stated(by))
    announce(settings)
    _emit_result(replay_id, "reverted", done, as_json=as_json)


def discard(replay_id: Name, by: By = "", run_id: RunId = None, as_json: Json = False) -> None:
    """End a replay and remove its jobs, topics, tables and counters; its decisions and corrections stay."""
    done = replay_discard.discard(load(run_id=run_id), replay_id, stated(by))
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
    """Show what a changed catalog affects; with --yes apply it backdated, replay it, and print the differences."""
    settings = load(run_id=run_id)
    concern = reprocess.concern(settings, file)
    say(
        f"{len(concern.plan.changes)} changes of the catalog; counted differently from {rfc3339(concern.since)}: "
        f"{concern.periods:,} periods, {concern.closed:,} of them closed; "
        f"tenants: {', '.join(concern.tenants) or 'all'}; the replay starts at {rfc3339(concern.start)}"
    )
    if not yes:
        document = {
            "since": rfc3339(concern.since),
            "from": rfc3339(concern.start),
            "tenants": list(concern.tenants),
            "periods": concern.periods,
            "closed": concern.closed,
        }
        emit(document, "nothing was changed; add --yes to do it", as_json=as_json)
        return
    request = run.Request(replay_id, stated(by), concern.start, None, concern.tenants, events_per_s=rate)
    run.finish(settings, reprocess.start(settings, file, request), say_progress)
    lines = replay_diff.diff(settings, replay_id)
    say(f"`tidemark replay promote {replay_id}` makes it the active version; `discard` removes it")
    emit({"lines": [line.document() for line in lines], "count": len(lines)}, lines_table(lines, 20), as_json=as_json)


def _wait(settings: Settings, replay: Replay, *, detach: bool, as_json: bool) -> None:
    if not detach:
        replay = run.finish(settings, replay, say_progress)
    emit(document_of(replay), _line(replay), as_json=as_json)


def say_progress(now: run.Progress) -> None:
    """Say how far a replay is."""
    rate = f", {now.per_s:,.0f}/s" if now.per_s else ""
    left = f", {now.left_s:,.0f} s left" if now.left_s else ""
    say(f"read {now.done:,} of {now.total:,}{rate}{left}")


def _warn(settings: Settings, replay_id: str) -> None:
    """Readers use the counters of a replay without an end: warn if those counters are not usable."""
    replay = _find(settings, replay_id)
    why = "" if replay.bounded or replay.state == "promoted" else active_version.unready(settings, replay_id)
    if why:
        say(f"warning: {why}")


def _emit_result(replay_id: str, verb: str, done: promotion.PromotionResult, *, as_json: bool) -> None:
    document = {"replay_id": replay_id, "changed": done.changed, "closes": done.closes, "corrections": done.corrections}
    text = f"replay {replay_id} {verb}: {done.closes:,} closes, {done.corrections:,} corrections"
    emit(document, text if done.changed else f"replay {replay_id}: nothing to change", as_json=as_json)


def _find(settings: Settings, replay_id: str) -> Replay:
    with postgres.connect(settings.postgres.ops) as connection:
        return record.find(connection, settings.names, replay_id)


def document_of(replay: Replay) -> dict[str, Any]:
    """A replay as JSON values."""
    return {
        "replay_id": replay.replay_id, "state": replay.state, "from": rfc3339(replay.scope_start),
        "to": rfc3339(replay.scope_end) if replay.scope_end else None, "tenants": list(replay.tenants),
        "from_archive": replay.from_archive, "started_at": rfc3339(replay.started_at), "started_by": replay.started_by,
    }  # fmt: skip


def _line(replay: Replay) -> str:
    end = rfc3339(replay.scope_end) if replay.scope_end else "on"
    tenants = ", ".join(replay.tenants) or "all tenants"
    return f"{replay.replay_id}: {replay.state}, {rfc3339(replay.scope_start)} to {end}, {tenants}"


def lines_table(lines: list[replay_diff.Line], top: int) -> Any:
    """What promoting changes: the first `top` lines, and the sums of meters."""
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
