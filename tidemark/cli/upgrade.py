"""`tidemark upgrade`: what this version does to a deployment."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from tidemark.cli.output import Group, Json, Table, emit, say
from tidemark.cli.run_id import RunId
from tidemark.core.settings import load
from tidemark.upgrade import reading
from tidemark.upgrade.plan import JobPlan, Plan

# What the jobs worked off to rows on two cores (docs/scaling.md).
_EVENTS_PER_S = 9_000
_HOUR_S = 3_600

Rate = Annotated[float, typer.Option("--events-per-s", min=1, help="What this deployment works off a second.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    group = typer.Typer(help="Another version of Tidemark for a deployment that runs.", no_args_is_help=True)
    group.callback()(_group)
    group.command("plan")(plan)
    app.add_typer(group, name="upgrade")


def _group() -> None:
    """Keep `plan` a sub-command although it is the only one."""


def plan(events_per_s: Rate = _EVENTS_PER_S, run_id: RunId = None, as_json: Json = False) -> None:
    """Say for each job whether this version goes on from its state; exit code 1 when one needs a replay."""
    settings = load(run_id=run_id)
    say("comparing the newest state of each job with the plans of this version …")
    found = reading.read(settings, events_per_s)
    emit(asdict(found), _lines(found), as_json=as_json)
    if found.replays:
        raise typer.Exit(1)


def _lines(found: Plan) -> Group:
    table = Table("job", "", "about", "why")
    for job in found.jobs:
        table.add_row(job.job, job.way, _about(job), "\n".join(job.reasons))
    first = [f"migrate first (`tidemark db migrate`): {', '.join(found.migrations)}"] if found.migrations else []
    last = ["`tidemark replay start` by this version rebuilds beside the old one"] if found.replays else []
    return Group(*first, table, *last)


def _about(job: JobPlan) -> str:
    return f"{job.seconds:,.0f} s" if job.seconds < _HOUR_S else f"{job.seconds / _HOUR_S:,.1f} h"
