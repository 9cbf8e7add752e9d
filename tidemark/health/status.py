"""What `tidemark status` says: one document of how a deployment does, and what of it is wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from tidemark.core import redis
from tidemark.core.alarms import Stored
from tidemark.core.errors import TidemarkError
from tidemark.core.postgres import run_once
from tidemark.core.settings import Settings
from tidemark.health import reports
from tidemark.health.alarm_store import ALARMS
from tidemark.health.reading import UNREACHABLE, Kafka, disks_of, jobs_of
from tidemark.health.rules import expected_roles, findings, role_trouble
from tidemark.health.state import RoleReport, Snapshot
from tidemark.reconcile.drift_store import open_counts
from tidemark_client.keys import heartbeat_key
from udfs.values import rfc3339

# Readers take an older heartbeat for a pipeline that has stopped, unless set otherwise.
MAX_HEARTBEAT_AGE_S = 60.0
TIMEOUT_MS = 10_000
_REFUSED = "tidemark_periods_refused{"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Status:
    """A deployment at an instant.

    Parameters
    ----------
    snapshot:
        Jobs, lags, roles and disks.
    heartbeat_age_s:
        Seconds since the heartbeat in Redis was sent; None without one.
    drift:
        Open differences by check; None where it could not be read.
    firing:
        Alarms about the pipeline that run; None where they could not be read.
    unreachable:
        Services that do not answer, each with why.
    """

    snapshot: Snapshot
    heartbeat_age_s: float | None = None
    drift: Mapping[str, int] | None = None
    firing: Sequence[Stored] | None = None
    unreachable: Mapping[str, str] = field(default_factory=dict)

    @property
    def periods_refused(self) -> dict[str, int] | None:
        """Periods that were due and refused by the last close, by cause; None where no process reported of one."""
        reports_of_close = [one for one in self.snapshot.roles or () if one.role == "close" and one.figures]
        if not reports_of_close:
            return None
        shown = min(reports_of_close, key=lambda one: one.age_s).figures
        return {name.split('"')[1]: int(count) for name, count in shown.items() if name.startswith(_REFUSED) and count}


def read(settings: Settings) -> Status:
    """Read everything; a service that does not answer is part of the status."""
    unreachable: dict[str, str] = {}

    def attempt(service: str, operation: Callable[[], T]) -> T | None:
        try:
            return operation()
        except TidemarkError as error:
            unreachable[service] = error.what
            return None

    names = settings.names
    lags = attempt("Kafka", lambda: _lags(settings))
    roles = attempt("Postgres", lambda: _query(settings, reports.read))
    alive = "Postgres" not in unreachable
    firing = attempt("Postgres", lambda: _query(settings, partial(ALARMS.firing, names=names))) if alive else None
    drift = (
        attempt("Postgres", lambda: _query(settings, partial(open_counts, names=names)))
        if alive and not names.run_id
        else None
    )
    heartbeat = attempt("Redis", lambda: _heartbeat_age_s(settings))
    jobs = jobs_of(settings)
    if any(job.state == UNREACHABLE for job in jobs):
        unreachable["Flink"] = f"Flink does not answer at {settings.flink.rest_url}."
    counted = None if lags is None else lags[1]
    snapshot = Snapshot(jobs, None if lags is None else lags[0], roles, disks_of(settings), counted)
    return Status(snapshot, heartbeat, drift, firing, unreachable)


def problems(status: Status, settings: Settings) -> list[str]:
    """What is wrong, a line each; empty for a deployment that is healthy."""
    snapshot = status.snapshot
    found = [f"{service}: {why}" for service, why in status.unreachable.items()]
    down = [job for job in snapshot.jobs or () if not job.running and job.state != UNREACHABLE]
    found += [f"{job.job} is {job.state}, not RUNNING: `tidemark submit {job.job}`" for job in down]
    # Jobs that are down are above, also before anything was counted.
    found += [one.detail for one in findings(snapshot, settings.health) if one.bad and one.trouble != "job_down"]
    if snapshot.roles is not None and not snapshot.roles:
        found.append("no process of `tidemark serve` has ever reported: start it")
    age_s = status.heartbeat_age_s
    if "Redis" not in status.unreachable and any(one.role == "live" for one in snapshot.roles or ()):
        if age_s is None:
            found.append("there is no heartbeat in Redis: readers of limits answer by their policy")
        elif age_s > MAX_HEARTBEAT_AGE_S:
            found.append(f"the heartbeat in Redis is {age_s:.0f} s old, readers take {MAX_HEARTBEAT_AGE_S:.0f} s")
    if status.drift:
        found.append(f"{sum(status.drift.values())} unexplained differences: `tidemark reconcile drift`")
    if status.periods_refused:
        causes = ", ".join(f"{count} by {cause}" for cause, count in status.periods_refused.items())
        found.append(f"periods are due and refused: {causes}; `tidemark close --dry-run` says why")
    return found


def document(status: Status, settings: Settings) -> dict[str, Any]:
    """The status as JSON has it."""
    snapshot, wrong = status.snapshot, problems(status, settings)
    return {
        "healthy": not wrong,
        "problems": wrong,
        "jobs": [asdict(job) for job in snapshot.jobs or ()],
        "lag": None if snapshot.lags is None else [asdict(lag) for lag in snapshot.lags],
        "roles": None if snapshot.roles is None else [_role(one, snapshot.roles) for one in _roles(snapshot, settings)],
        "heartbeat_age_s": status.heartbeat_age_s,
        "drift_open": None if status.drift is None else dict(status.drift),
        "periods_refused": status.periods_refused,
        "disks": [{**asdict(disk), "free_percent": round(disk.free_percent, 1)} for disk in snapshot.disks or ()],
        "alarms": None if status.firing is None else [
            {"type": f"pipeline.{one.key[0]}", "subject": one.key[1], "since": rfc3339(one.since)}
            for one in status.firing
        ],
    }  # fmt: skip


def _role(role: str, reports: Sequence[RoleReport]) -> dict[str, Any]:
    reported = [one for one in reports if one.role == role]
    bad, why = role_trouble(reported)
    best = min(reported, key=lambda one: (not one.ready, one.state == "standby", one.age_s), default=None)
    at = best.succeeded_at if best else None
    return {
        "role": role,
        "ok": not bad,
        "state": best.state if best else "never run",
        "reason": why or (best.reason if best else ""),
        "last_success": None if at is None else rfc3339(datetime.fromtimestamp(round(at), UTC)),
        "instances": [
            {"instance": one.instance, "state": one.state, "reported_s_ago": round(one.age_s)} for one in reported
        ],
        "figures": dict(best.figures) if best else {},
    }


def _roles(snapshot: Snapshot, settings: Settings) -> list[str]:
    known = dict.fromkeys(one.role for one in snapshot.roles or ())
    return list(dict.fromkeys([*expected_roles(snapshot.roles or (), settings.health), *known]))


def _lags(settings: Settings) -> Any:
    with closing(Kafka(settings)) as kafka:
        return kafka.read()


def _query(settings: Settings, operation: Callable[[Any], T]) -> T:
    return run_once(settings.postgres.ops, "status", operation, settings.names.usage_schema, timeout_ms=TIMEOUT_MS)


def _heartbeat_age_s(settings: Settings) -> float | None:
    with redis.translated(settings.redis), closing(redis.client(settings.redis)) as connected:
        beat: Any = connected.get(heartbeat_key(settings.names.redis_prefix))
    return None if beat is None else max(time.time() - int(beat) / 1_000, 0.0)
