"""What is known of the pipeline at an instant: jobs, lag, roles, disks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class JobHealth:
    """A job as Flink sees it.

    Parameters
    ----------
    job:
        `meter`, `rollup` or `anomaly`.
    state:
        Flink's state, or `not submitted`.
    started_at:
        Epoch seconds of its start; None where it is not there.
    checkpoint_age_s:
        Seconds since its last checkpoint, or since its start without one; None where it is not there.
    checkpoint_duration_s:
        How long that checkpoint took; None without one.
    failed_checkpoints:
        Checkpoints that failed since the last that completed.
    restarts:
        How often Flink has restarted it since it was submitted; None where Flink does not say.
    checkpoint:
        Number of its last checkpoint; None without one.
    aborted:
        Transactions that its checkpoints count as written, and that Kafka has aborted.
    """

    job: str
    state: str
    started_at: float | None = None
    checkpoint_age_s: float | None = None
    checkpoint_duration_s: float | None = None
    failed_checkpoints: int = 0
    restarts: int | None = None
    checkpoint: int | None = None
    aborted: tuple[str, ...] = ()

    @property
    def running(self) -> bool:
        """Whether Flink says so."""
        return self.state == "RUNNING"


@dataclass(frozen=True, slots=True)
class Lag:
    """What a job has not committed of a topic that it reads.

    Parameters
    ----------
    job, topic:
        Which reads which.
    records:
        Offsets from the committed one to the end, of the partitions that have a record there.
    seconds:
        Age of the oldest such record, by its arrival; None where producers set the arrival, which may be years ago.
    event_seconds:
        Greatest age of the event time of the oldest such record of a partition; None where none of them says one.
    """

    job: str
    topic: str
    records: int
    seconds: float | None
    event_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class RoleReport:
    """A role in one process of `tidemark serve`, as that process reported it.

    Parameters
    ----------
    role, instance:
        Which role, and which process.
    state, ready, reason:
        As /readyz of the process says.
    age_s:
        Seconds since the report.
    succeeded_at:
        Epoch seconds of its last success.
    figures:
        What waits for it, by figure; with labels in braces.
    """

    role: str
    instance: str
    state: str
    ready: bool
    reason: str
    age_s: float
    succeeded_at: float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk of a folder: its size and what is free, in bytes."""

    path: str
    total: int
    free: int

    @property
    def free_percent(self) -> float:
        """Free share, in percent."""
        return 100 * self.free / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The pipeline at an instant; what is None could not be read, for the reason in `unknown`.

    Parameters
    ----------
    jobs, lags, roles, disks:
        What was read.
    counted_before:
        Whether `meter` has ever written a delta: before that no job is missed.
    unknown:
        Why a part could not be read, by part.
    """

    jobs: tuple[JobHealth, ...] | None = None
    lags: tuple[Lag, ...] | None = None
    roles: tuple[RoleReport, ...] | None = None
    disks: tuple[Disk, ...] | None = None
    counted_before: bool | None = None
    unknown: Mapping[str, str] = field(default_factory=dict)
