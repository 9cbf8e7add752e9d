"""`tidemark submit` and `tidemark stop`: start a job where it stopped, stop it with a savepoint."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from jobs.flink import submit as flink_submit
from jobs.flink.bounds import Bounds
from jobs.flink.damaged import await_restored
from jobs.flink.rest import FlinkRest
from jobs.flink.warm_up import warm_up as run_warm_up
from tidemark.cli.by import By
from tidemark.cli.output import Json, emit, say
from tidemark.cli.run_id import RunId
from tidemark.core.settings import load


class JobName(StrEnum):
    """Jobs that can be submitted."""

    METER = "meter"
    ROLLUP = "rollup"
    ANOMALY = "anomaly"


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    app.command("submit")(submit)
    app.command("stop")(stop)


def submit(
    job: JobName,
    run_id: RunId = None,
    start: Annotated[str, typer.Option("--from", help="Instant (RFC 3339) or partition:offset;…")] = "",
    end: Annotated[str, typer.Option("--to", help="Instant, partition:offset;… or `latest`: a bounded run.")] = "",
    from_savepoint: Annotated[str, typer.Option(help="Checkpoint or savepoint to restore; default: the newest.")] = "",
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Without state, from the first record of its topic.")
    ] = False,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            help="Setting that may differ from the one the state was made with, or `removed_records`: go on without "
            "what Kafka removed before it was read; repeatable."
        ),
    ] = None,
    warm_up: Annotated[
        bool,
        typer.Option("--warm-up", help="Have Flink compile `meter` on made-up events first; about half a minute."),
    ] = False,
    by: By = "",
    as_json: Json = False,
) -> None:
    """Submit a job to the cluster, restoring its newest state; a running job is left alone."""
    settings = load(run_id=run_id)
    if warm_up and job is JobName.METER and FlinkRest(settings.flink).active(settings.names.job(job)) is None:
        say("warming up …")
        say(f"warm after {run_warm_up(settings):.0f} s")
    say(f"submitting {job.value} …")
    done = flink_submit.submit(
        settings, job.value, Bounds(start, end), from_savepoint, accept or (), by, from_beginning=from_beginning
    )
    if not done.already_running:
        await_restored(settings, job.value, done.job_id, done.restored_from)
    if not (done.already_running or done.guarded or end):
        say(f"{job.value} runs; starting it again from its first savepoint, so that it passes over no removed record …")
        done = flink_submit.start_again(settings, job.value, by)
        await_restored(settings, job.value, done.job_id, done.restored_from)
    state = "was already running" if done.already_running else f"runs from {done.restored_from or 'the start'}"
    emit(
        {
            "job": job.value,
            "job_id": done.job_id,
            "restored_from": done.restored_from,
            "was_running": done.already_running,
        },
        f"{job.value} {state} (job {done.job_id})",
        as_json=as_json,
    )


def stop(job: JobName, by: By = "", run_id: RunId = None, as_json: Json = False) -> None:
    """Stop a job with a savepoint; `submit` continues from it."""
    settings = load(run_id=run_id)
    say(f"stopping {job.value} with a savepoint …")
    savepoint = flink_submit.stop(settings, job.value, by=by)
    text = f"{job.value} stopped; savepoint {savepoint}" if savepoint else f"{job.value} was not running"
    emit({"job": job.value, "savepoint": savepoint}, text, as_json=as_json)
