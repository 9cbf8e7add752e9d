"""State that cannot be restored: it is named, with what the job may go on from instead."""

from __future__ import annotations

from jobs.flink.output import REPLAY, TRANSACTIONAL, refuse_later, written_later
from jobs.flink.rest import STATE_UNREAD, FlinkRest
from jobs.flink.restore import RestorePoint, is_readable, local_path, restore_points
from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.settings import Settings


def refuse_damaged(settings: Settings, job: str, point: RestorePoint) -> None:
    """Refuse a restore point whose metadata do not begin as Flink's do; raises TidemarkError."""
    if not is_readable(settings, point):
        raise TidemarkError(
            f"{point.path} is damaged: its metadata do not begin as Flink's do.", instead(settings, job, point.path)
        )


def explained(settings: Settings, job: str, path: str, error: TidemarkError) -> TidemarkError:
    """The error of a job that was to go on from `path`; if its state is the cause, with what to do instead."""
    if not path or STATE_UNREAD not in error.what:
        return error
    return TidemarkError(f"{path} cannot be restored: {error.what}", instead(settings, job, path))


def await_restored(settings: Settings, job: str, job_id: str, path: str, timeout_s: float = 120) -> None:
    """Wait until a job makes progress; one that cannot read its state is ended: Flink would try it for ever.

    Raises
    ------
    TidemarkError
        It ended, or made no progress in time; with the cause, and what to do where that is its state.
    """
    rest = FlinkRest(settings.flink)
    try:
        rest.wait_running(job_id, timeout_s)
    except TidemarkError as error:
        better = explained(settings, job, path, error)
        if better is error:
            raise
        rest.end(job_id)
        raise better from error


def instead(settings: Settings, job: str, path: str) -> str:
    """What to do about state that cannot be read: go back to the one before it, where that is exact, or a replay."""
    before = _before(settings, job, path)
    if before is None:
        return f"{_rebuilt(job)} No state older than it is there."
    try:
        if job in TRANSACTIONAL:
            refuse_later(settings.names.job(job), before, written_later(settings, job, before))
    except UsageError:
        return f"{REPLAY} The state before it is no way back: {job} has written more since."
    return (
        f"go back to the state before it, which is exact for {job}: `tidemark submit {job} --from-savepoint "
        f"{before.path}`."
    )


def _before(settings: Settings, job: str, path: str) -> RestorePoint | None:
    points = restore_points(settings, settings.names.job(job))
    named = local_path(path)
    place = next((place for place, one in enumerate(points) if one.path == named), -1)
    return next(iter(points[place + 1 :]), None)


def _rebuilt(job: str) -> str:
    if job in TRANSACTIONAL:
        return REPLAY
    return (
        f"remove the folder of its checkpoints and savepoints, and `tidemark submit {job}`: it reads all deltas again."
    )
