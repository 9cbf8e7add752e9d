"""`tidemark scale`: another parallelism for a running job, and what it should be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from jobs.flink.submit import ALL_JOBS
from tidemark.cli.by import By
from tidemark.cli.output import Json, emit, say
from tidemark.cli.run_id import RunId
from tidemark.core.errors import UsageError
from tidemark.core.settings import load
from tidemark.scale import rescale
from tidemark.scale.reading import Advised, advised

Parallelism = Annotated[int, typer.Argument(min=1, help="Subtasks of each operator.")]
Over = Annotated[float, typer.Option("--over-s", min=1, help="Seconds to measure for.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    group = typer.Typer(help="Parallelism of running jobs.", no_args_is_help=True)
    for job in ALL_JOBS:
        group.command(job, help=f"Give `{job}` another parallelism: a savepoint, a stop, a start from it.")(_scale(job))
    group.command("advise")(advise)
    app.add_typer(group, name="scale")


def _scale(job: str) -> Callable[..., None]:
    def scale(parallelism: Parallelism, by: By = "", run_id: RunId = None, as_json: Json = False) -> None:
        settings = load(run_id=run_id)
        say(f"giving {job} parallelism {parallelism} …")
        done = rescale.scale(settings, job, parallelism, by)
        text = f"{job} has parallelism {done.after}, before {done.before} (job {done.job_id})"
        emit({"job": job, **asdict(done)}, text, as_json=as_json)
        if getattr(settings, job).parallelism != parallelism:
            say(f"set {job}.parallelism: {parallelism} in the settings, or the next submit starts it as before")

    return scale


def advise(over_s: Over = 30, run_id: RunId = None, as_json: Json = False) -> None:
    """Say what parallelism and how many partitions the running jobs need, from what they do for some seconds."""
    settings = load(run_id=run_id)
    say(f"measuring each job for {over_s:g} s …")
    found = [one for job in ALL_JOBS if (one := advised(settings, job, over_s))]
    if not found:
        raise UsageError("none of the jobs runs.", "`tidemark submit JOB`.")
    emit([asdict(one) for one in found], _lines(found), as_json=as_json)


def _lines(found: Sequence[Advised]) -> list[str]:
    return [line for one in found for line in (_line(one), *(f"  {why}" for why in one.advice.reasons))]


def _line(one: Advised) -> str:
    now, then = one.parallelism, one.advice.parallelism
    parallelism = f"parallelism {now} is right" if now == then else f"parallelism {now} → {then}"
    more = one.advice.partitions > one.load.partitions
    partitions = f", partitions {one.load.partitions} → {one.advice.partitions}" if more else ""
    return f"{one.job}: {parallelism}{partitions}"
