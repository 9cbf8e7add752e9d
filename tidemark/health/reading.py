"""Reads how the pipeline does: Flink's REST interface, Kafka, disks of this machine."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from jobs.flink.output import TRANSACTIONAL
from jobs.flink.rest import ENDED, FlinkRest, Job
from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.kafka.transactions import ABORTED, transactions
from tidemark.core.settings import Settings
from tidemark.health.lag import LagReader
from tidemark.health.state import Disk, JobHealth, Lag

RETRY_S = 15.0
# How often Kafka is asked for transactions: over a connection of its own.
ABORTED_EVERY_S = 30.0
NOT_SUBMITTED = "not submitted"
UNREACHABLE = "unreachable: Flink does not answer"


def jobs_of(settings: Settings) -> tuple[JobHealth, ...]:
    """The jobs that must run, as Flink sees them; when it does not answer, none of them is known to run."""
    rest = FlinkRest(settings.flink)
    try:
        known = rest.jobs()
    except TidemarkError:
        return tuple(JobHealth(job, UNREACHABLE) for job in settings.health.jobs)
    return tuple(_job(rest, job, known, settings) for job in settings.health.jobs)


def _job(rest: FlinkRest, job: str, known: list[Job], settings: Settings) -> JobHealth:
    # The newest first; one that has not ended counts before those that have.
    named = sorted((one for one in known if one.name == settings.names.job(job)), key=lambda one: one.state in ENDED)
    if not named:
        return JobHealth(job, NOT_SUBMITTED)
    latest, started_at = named[0], named[0].start_ms / 1_000
    if latest.state in ENDED:
        return JobHealth(job, latest.state, started_at)
    try:
        progress, restarts = rest.progress(latest.id), rest.restarts(latest.id)
    except UnavailableError:
        return JobHealth(job, UNREACHABLE)
    except TidemarkError:
        # One that initialises has nobody yet who could be asked.
        return JobHealth(job, latest.state, started_at)
    since_ms = [ms for ms in (latest.start_ms, progress.ended_ms, progress.restored_ms) if ms is not None]
    took_s = None
    if progress.ended_ms is not None and progress.triggered_ms is not None:
        took_s = (progress.ended_ms - progress.triggered_ms) / 1_000
    # All by one clock, that of the JobManager: this machine's may differ.
    age_s = max(latest.now_ms - max(since_ms), 0) / 1_000
    return JobHealth(
        job, latest.state, started_at, age_s, took_s, failed_checkpoints=progress.failed_since,
        restarts=restarts, checkpoint=progress.completed,
    )  # fmt: skip


def _aborted(settings: Settings, job: JobHealth) -> tuple[str, ...]:
    if job.checkpoint is None or job.job not in TRANSACTIONAL:
        return ()
    found = transactions(settings.kafka, settings.names.job(job.job), ABORTED)
    return tuple(one.id for one in found if one.number <= job.checkpoint)


def disks_of(settings: Settings) -> tuple[Disk, ...]:
    """The disks of the folders of the settings, or of state and archive where they are on this machine."""
    folders = list(settings.health.disk_paths) or [
        path for uri in (settings.flink.state_dir, settings.archive.dir) if (path := _local(uri))
    ]
    return tuple(_disk(folder) for folder in dict.fromkeys(folders))


def _local(uri: str) -> str:
    split = urlsplit(uri)
    return str(Path(split.path).absolute()) if split.scheme in {"", "file"} and split.path else ""


def _disk(folder: str) -> Disk:
    # A folder that nobody has written to yet will be on the disk of the one above it.
    path = Path(folder)
    existing = next(one for one in (path, *path.parents) if one.exists())
    usage = shutil.disk_usage(existing)
    return Disk(folder, usage.total, usage.free)


class Kafka:
    """Lags over a kept reader, made anew some time after a failure: it costs many calls of a broker that may be down.

    Parameters
    ----------
    settings:
        Kafka and the run.
    now:
        Seconds that only grow.
    """

    def __init__(self, settings: Settings, now: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._now = now
        self._failed: tuple[float, TidemarkError] | None = None
        self._reader: LagReader | None = None
        self._counted_before: bool | None = None
        self._aborted: tuple[float, Mapping[str, tuple[str, ...]]] | None = None

    def read(self) -> tuple[tuple[Lag, ...], bool]:
        """Lags, and whether `meter` has ever written a delta; raises UnavailableError, again until it is time."""
        if self._failed is not None and self._now() < self._failed[0] + RETRY_S:
            raise self._failed[1]
        try:
            if self._reader is None:
                self._reader = LagReader(self._settings)
            lags, counted = self._reader.read()
        except BaseException as error:
            self.close()
            self._failed = (self._now(), error) if isinstance(error, TidemarkError) else None
            raise
        self._failed = None
        self._counted_before = counted or bool(self._counted_before)
        return lags, self._counted_before

    def with_aborted(self, jobs: tuple[JobHealth, ...]) -> tuple[JobHealth, ...]:
        """The jobs with what Kafka has aborted of their output, which Flink itself only logs; raises UnavailableError.

        They are read before Kafka is asked: a transaction that a restart has aborted is begun again under its id, and
        only then ended by a later checkpoint.
        """
        if self._aborted is None or self._now() >= self._aborted[0] + ABORTED_EVERY_S:
            self._aborted = self._now(), {one.job: _aborted(self._settings, one) for one in jobs}
        known = self._aborted[1]
        return tuple(replace(one, aborted=known.get(one.job, ())) for one in jobs)

    @property
    def counted_before(self) -> bool | None:
        """What is known of it from earlier reads; None before the first."""
        return self._counted_before

    def close(self) -> None:
        """Leave the brokers."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()


def clock() -> float:
    """Epoch seconds."""
    return time.time()
