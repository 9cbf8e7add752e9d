"""What is wrong with the pipeline, given what is known of it: pure, one finding for each thing that is watched."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidemark.core.settings import HealthSettings
from tidemark.health.state import Disk, JobHealth, Lag, RoleReport, Snapshot
from udfs.alerts.pipeline import Trouble

# A process reports every 5 s; one that has not for so long is gone.
GONE_S = 30.0
# Failures of checkpoints in a row: one alone is a slow moment.
MAX_FAILED_CHECKPOINTS = 3

# A deployment starts the jobs at about the same time as this role: one that it has not seen running may still come.
START_S = 120.0

Key = tuple[Trouble, str]


@dataclass(frozen=True, slots=True)
class Finding:
    """How one thing does.

    Parameters
    ----------
    trouble, subject:
        What would be wrong, and with which job, role or disk.
    bad:
        Whether it is wrong.
    detail:
        In words, with the value against the bound.
    value, threshold:
        The figure it is decided by, and what it is compared with.
    hold_s:
        How long it must be wrong before an alert begins, and right before it ends.
    evidence:
        Other figures.
    """

    trouble: Trouble
    subject: str
    bad: bool
    detail: str
    value: float
    threshold: float
    hold_s: float
    evidence: Mapping[str, Any]

    @property
    def key(self) -> Key:
        """What it is about."""
        return self.trouble, self.subject


def findings(snapshot: Snapshot, settings: HealthSettings) -> list[Finding]:
    """A finding for each thing that is expected and could be read; what is unknown has none."""
    return [
        *_jobs(snapshot, settings),
        *_lags(snapshot.lags or (), settings),
        *_roles(snapshot.roles or (), settings),
        *_disks(snapshot.disks or (), settings),
    ]


def expected(snapshot: Snapshot, settings: HealthSettings) -> set[Key]:
    """What is watched at all, also where it could not be read: an alert about anything else ends."""
    jobs = list(settings.jobs)
    keys: set[Key] = {(trouble, job) for job in jobs for trouble in _OF_JOB}
    if snapshot.roles is not None:
        keys |= {("role_failing", role) for role in expected_roles(snapshot.roles, settings)}
    if snapshot.disks is not None:
        keys |= {("disk", disk.path) for disk in snapshot.disks}
    return keys


def expected_roles(reports: Iterable[RoleReport], settings: HealthSettings) -> list[str]:
    """Roles that must run: those of the settings, or all that have ever been reported."""
    return list(settings.roles) or list(dict.fromkeys(report.role for report in reports))


def patient(found: Iterable[Finding], seen_running: Collection[str], uptime_s: float) -> list[Finding]:
    """The findings without jobs that are down, but may still be starting with everything else."""
    early = uptime_s < START_S
    return [
        one for one in found
        if not (early and one.trouble == "job_down" and one.bad and one.subject not in seen_running)
    ]  # fmt: skip


_OF_JOB: tuple[Trouble, ...] = ("job_down", "lag", "checkpoints")


def _jobs(snapshot: Snapshot, settings: HealthSettings) -> Iterator[Finding]:
    for job in snapshot.jobs or ():
        if job.job not in settings.jobs:
            continue
        # Before anything was counted nobody has submitted it, and nobody misses it.
        missed = bool(snapshot.counted_before) or job.started_at is not None
        yield Finding(
            "job_down", job.job, not job.running and missed, f"{job.job} is {job.state}, not RUNNING",
            value=float(job.running), threshold=1, hold_s=settings.job_down_s, evidence={"state": job.state},
        )  # fmt: skip
        if job.running and job.checkpoint_age_s is not None:
            yield _checkpoints(job, job.checkpoint_age_s, settings)


def _checkpoints(job: JobHealth, age_s: float, settings: HealthSettings) -> Finding:
    bound_s, failed = settings.max_checkpoint_age_s, job.failed_checkpoints
    what = f"the last checkpoint of {job.job} is {age_s:.0f} s old (bound {bound_s} s), {failed} failed since it"
    bad = age_s > bound_s or failed >= MAX_FAILED_CHECKPOINTS or bool(job.aborted)
    if job.aborted:
        what = (
            f"{job.job} goes on, but Kafka has aborted {len(job.aborted)} transaction(s) that its checkpoints count as "
            f"written, the first {job.aborted[0]}: what was in them is missing"
        )
    shown = {"age_s": round(age_s), "failed": failed, "restarts": job.restarts, "aborted": len(job.aborted)}
    return Finding("checkpoints", job.job, bad, what, age_s, bound_s, hold_s=0, evidence=shown)


def _lags(lags: Sequence[Lag], settings: HealthSettings) -> Iterator[Finding]:
    of_job: dict[str, list[Lag]] = {}
    for lag in lags:
        if lag.job in settings.jobs:
            of_job.setdefault(lag.job, []).append(lag)
    for job, many in of_job.items():
        records = sum(lag.records for lag in many)
        seconds = max((lag.seconds for lag in many if lag.seconds is not None), default=0.0)
        too_many = 0 < settings.max_lag_records < records
        by_records = too_many and seconds <= settings.max_lag_s
        value, threshold = (records, settings.max_lag_records) if by_records else (seconds, settings.max_lag_s)
        yield Finding(
            "lag", job, too_many or seconds > settings.max_lag_s,
            f"{job} is {seconds:.0f} s (bound {settings.max_lag_s} s) and {records:,} records behind",
            value=value, threshold=threshold, hold_s=0,
            evidence={
                "records": records, "seconds": round(seconds),
                "by_topic": {lag.topic: {"records": lag.records, "seconds": _whole(lag.seconds)} for lag in many},
            },
        )  # fmt: skip


def _roles(reports: Sequence[RoleReport], settings: HealthSettings) -> Iterator[Finding]:
    for role in expected_roles(reports, settings):
        bad, why = role_trouble([report for report in reports if report.role == role])
        yield Finding(
            "role_failing", role, bad, f"role {role}: {why}" if why else f"role {role} runs",
            value=float(not bad), threshold=1, hold_s=settings.role_failing_s,
            evidence={"reason": why},
        )  # fmt: skip


def role_trouble(reports: Sequence[RoleReport]) -> tuple[bool, str]:
    """Whether no process runs a role well, and why, given what its processes reported."""
    fresh = [report for report in reports if report.age_s <= GONE_S and report.state != "stopped"]
    if not fresh:
        if not reports:
            return True, "no process has ever run it"
        last = min(reports, key=lambda report: report.age_s)
        return True, f"no process runs it; {last.instance} reported last, {last.age_s:.0f} s ago ({last.state})"
    # A standby waits for one that acts, here or in a process that does not report.
    if any(report.ready or report.state == "starting" for report in fresh):
        return False, ""
    return True, "; ".join(f"{report.instance}: {report.state}, {report.reason}" for report in fresh)


def _disks(disks: Sequence[Disk], settings: HealthSettings) -> Iterator[Finding]:
    bound = settings.min_disk_free_percent
    for disk in disks:
        yield Finding(
            "disk", disk.path, disk.free_percent < bound,
            f"{disk.free_percent:.0f} % of the disk of {disk.path} is free ({disk.free / 1e9:.1f} GB), bound {bound} %",
            value=disk.free_percent, threshold=bound, hold_s=0, evidence={"free_bytes": disk.free, "bytes": disk.total},
        )  # fmt: skip


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds)
