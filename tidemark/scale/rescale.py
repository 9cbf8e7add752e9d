"""Another parallelism for a job that runs: stopped behind a savepoint, started again from it."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.flink.damaged import await_restored
from jobs.flink.rest import FlinkRest, Job
from jobs.flink.submit import check_restorable, stop, submit
from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.settings import Settings
from tidemark.scale.room import refuse, room_of


@dataclass(frozen=True, slots=True)
class Scaled:
    """What `scale` did; `savepoint` is empty where the job had that parallelism."""

    before: int
    after: int
    job_id: str
    savepoint: str = ""


def scale(settings: Settings, job: str, parallelism: int, by: str = "") -> Scaled:
    """Give a running job another parallelism; safe to repeat. Nothing is counted twice or left out.

    1. What cannot be is refused while the job still runs.
    2. It stops behind a savepoint; events wait in Kafka.
    3. It starts from it with the other parallelism.

    Raises
    ------
    UsageError
        It does not run; or its state or the slots do not allow it, or a setting that shapes its state has changed.
    TidemarkError
        It was stopped and did not start again, with how it does.
    """
    rest = FlinkRest(settings.flink)
    changed = settings.with_changes({f"{job}.parallelism": parallelism})
    # Step 1
    running = _running(rest, settings, job)
    room = room_of(rest.details(running.id), rest.overview())
    if room.parallelism == parallelism:
        return Scaled(parallelism, parallelism, running.id)
    refuse(job, room, parallelism)
    check_restorable(changed, job, running.id)
    # Step 2
    savepoint = stop(settings, job, by=by) or ""
    # Step 3
    job_id = _start(changed, job, by, room.parallelism)
    return Scaled(room.parallelism, parallelism, job_id, savepoint)


def _running(rest: FlinkRest, settings: Settings, job: str) -> Job:
    running = rest.active(settings.names.job(job))
    if running is None:
        raise UsageError(
            f"{settings.names.job(job)} does not run.",
            f"set {job}.parallelism and `tidemark submit {job}`: it goes on from its newest state with it.",
        )
    return running


def _start(changed: Settings, job: str, by: str, before: int) -> str:
    try:
        started = submit(changed, job, by=by)
        await_restored(changed, job, started.job_id, started.restored_from)
    except TidemarkError as error:
        raise type(error)(
            f"{job} was stopped behind a savepoint and did not start: {error.what}",
            f"{error.fix} `tidemark submit {job}` starts it with parallelism {before}.".strip(),
        ) from error
    return started.job_id
