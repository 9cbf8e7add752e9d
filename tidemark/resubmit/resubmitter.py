"""Submits jobs again that Flink has forgotten, from their newest state, and never without one."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psycopg

from jobs.flink.rest import FlinkRest
from jobs.flink.restore import latest
from jobs.flink.submit import Submission, submit
from tidemark.core import audit
from tidemark.core.errors import TidemarkError
from tidemark.core.postgres import Database
from tidemark.core.service import Service, logger
from tidemark.core.settings import Settings
from tidemark.core.user import user
from tidemark.resubmit.rules import Left, Outcome, known, outcome

log = logger("resubmit")

# Of one submission, which takes minutes on a busy machine: meanwhile the claim says nothing.
CLAIM_IDLE_S = 900.0


@dataclass(frozen=True, slots=True)
class Looked:
    """What one step found and did; `news` are those of `left` that were not so before."""

    submitted: Mapping[str, Submission]
    news: Mapping[str, str]


class Resubmitter:
    """Looks after the jobs of one run; one Postgres connection, which holds the right to do so."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = Database(
            settings.postgres.ops, "resubmit", settings.names.usage_schema, claim="resubmit", claim_idle_s=CLAIM_IDLE_S
        )
        self._left: dict[str, str] = {}
        self._missing: set[str] = set()

    def look(self) -> Looked:
        """Submit what is lost, and was so a step before.

        A JobManager that has just lost its place, or is about to lead, may answer once without its jobs.

        Raises
        ------
        UnavailableError
            Flink, Postgres or the state cannot be asked now.
        StandbyError
            Another process looks after this run.
        TidemarkError
            A job is lost and cannot be submitted; the others are.
        """
        settings = self._settings
        found = self._database.run(lambda connection: outcomes(connection, settings))
        left = {job: one.why for job, one in found.items() if isinstance(one, Left)}
        news = {job: why for job, why in left.items() if self._left.get(job) != why}
        self._left = left
        missing = [job for job in found if job not in left]
        due = [job for job in missing if job in self._missing]
        self._missing = set(missing)
        return Looked(submit_lost(settings, due), news)

    def close(self) -> None:
        """Give the connection back, and with it the right to submit."""
        self._database.close()


def outcomes(connection: psycopg.Connection, settings: Settings) -> dict[str, Outcome]:
    """What becomes of each job that must run; raises UnavailableError where Flink does not answer."""
    listed = FlinkRest(settings.flink).jobs()
    result: dict[str, Outcome] = {}
    for job in settings.resubmit.jobs:
        name = settings.names.job(job)
        found = known([one.state for one in listed if one.name == name])
        result[job] = found or _of_unknown(connection, settings, job)
    return result


def _of_unknown(connection: psycopg.Connection, settings: Settings, job: str) -> Outcome:
    newest = _newest(connection, settings, job)
    was_submitted = newest is not None and newest.action == "job.submit"
    return outcome(newest, _stopped_at(settings, job) if was_submitted else None)


def _newest(connection: psycopg.Connection, settings: Settings, job: str) -> audit.Entry | None:
    wanted = audit.Filter(action="job", subject=job, run_id=settings.run_id)
    return next(iter(audit.newest(connection, wanted, 1)), None)


def _stopped_at(settings: Settings, job: str) -> float | None:
    point = latest(settings, settings.names.job(job))
    return point.taken_at if point is not None and not point.of_running else None


def submit_lost(settings: Settings, jobs: list[str]) -> dict[str, Submission]:
    """Submit jobs at the same time; raises the first failure when all others have been submitted."""
    if not jobs:
        return {}
    by, failures, done = f"serve by {user()}", [], {}
    with ThreadPoolExecutor(len(jobs)) as pool:
        asked = {job: pool.submit(submit, settings, job, by=by, needs_state=True) for job in jobs}
    for job, future in asked.items():
        try:
            done[job] = future.result()
        except TidemarkError as error:
            failures.append(error)
            log("not submitted", level="error", job=job, error=str(error))
    _log_submitted(done)
    if failures:
        raise failures[0]
    return done


def _log_submitted(done: Mapping[str, Submission]) -> None:
    for job, one in done.items():
        if not one.already_running:
            log("submitted", level="warning", job=job, job_id=one.job_id, restored_from=one.restored_from)


def service(settings: Settings) -> Service[Resubmitter, Looked]:
    """Looks every `resubmit.interval_s`."""
    return Service(
        "resubmit", settings.resubmit.interval_s, lambda: Resubmitter(settings), Resubmitter.look, log, _report
    )


def _report(looked: Looked, _: bool) -> None:
    for job, why in looked.news.items():
        log("left alone", job=job, why=why)
