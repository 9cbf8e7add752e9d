"""`tidemark upgrade`: what this version does to a deployment, and both versions beside each other."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from tidemark.cli.by import By
from tidemark.cli.output import Group, Json, Table, emit, say
from tidemark.cli.replay import document_of, lines_table, say_progress
from tidemark.cli.run_id import RunId
from tidemark.core.errors import DifferenceError
from tidemark.core.settings import load
from tidemark.core.times import given_instant
from tidemark.core.user import stated
from tidemark.upgrade import blue_green, reading
from tidemark.upgrade.blue_green import Outcome, Wanted
from tidemark.upgrade.plan import JobPlan, Plan

# What the jobs worked off to rows on two cores (docs/scaling.md).
_EVENTS_PER_S = 9_000
_HOUR_S = 3_600

Rate = Annotated[float, typer.Option("--events-per-s", min=1, help="What this deployment works off a second.")]
Id = Annotated[str, typer.Option("--id", help="Name of the new version: of a replay that no other has had.")]
From = Annotated[
    str, typer.Option("--from", help="First event time it counts; when absent, the earliest that may still change.")
]
Accept = Annotated[bool, typer.Option("--accept-differences", help="Switch although lines come out otherwise.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    group = typer.Typer(help="Another version of Tidemark for a deployment that runs.", no_args_is_help=True)
    for command in (plan, run):
        group.command(command.__name__)(command)
    app.add_typer(group, name="upgrade")


def plan(events_per_s: Rate = _EVENTS_PER_S, run_id: RunId = None, as_json: Json = False) -> None:
    """Say for each job whether this version goes on from its state; exit code 1 when one needs a replay."""
    settings = load(run_id=run_id)
    say("comparing the newest state of each job with the plans of this version …")
    found = reading.read(settings, events_per_s)
    emit(asdict(found), _lines(found), as_json=as_json)
    if found.replays:
        raise typer.Exit(1)


def run(
    replay_id: Id,
    start_at: From = "",
    accept: Accept = False,
    by: By = "",
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Run this version beside the old one, compare, switch; repeated, it goes on. Exit code 4: lines differ."""
    settings = load(run_id=run_id)
    start = given_instant(start_at, "--from") if start_at else None
    done = blue_green.upgrade(settings, Wanted(replay_id, stated(by), start, accept), say_progress)
    if done.compared.moving:
        say(f"{len(done.compared.moving):,} lines got events in every comparison: they are equal but for those")
    if done.switched is None:
        emit(_document(done), lines_table([*done.compared.differing], 20), as_json=as_json)
        say("nothing was switched: see docs/upgrades.md#lines-that-differ, or --accept-differences")
        raise typer.Exit(DifferenceError.exit_code)
    text = f"{replay_id} is what people read; `tidemark replay revert {replay_id}` goes back while the old jobs run"
    emit(_document(done), text, as_json=as_json)


def _document(done: Outcome) -> dict[str, Any]:
    return {
        **document_of(done.replay), "switched": done.switched is not None,
        "differing": [line.document() for line in done.compared.differing], "moving": len(done.compared.moving),
    }  # fmt: skip


def _lines(found: Plan) -> Group:
    table = Table("job", "", "about", "why", title=f"jobs of run {found.run_id}" if found.run_id else "")
    for job in found.jobs:
        table.add_row(job.job, job.way, _about(job), "\n".join(job.reasons))
    first = [f"migrate first (`tidemark db migrate`): {', '.join(found.migrations)}"] if found.migrations else []
    last = ["`tidemark upgrade run --id ID` rebuilds by this version, beside the old one"] if found.replays else []
    return Group(*first, table, *last)


def _about(job: JobPlan) -> str:
    return f"{job.seconds:,.0f} s" if job.seconds < _HOUR_S else f"{job.seconds / _HOUR_S:,.1f} h"
