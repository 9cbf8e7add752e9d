"""The few calls of Flink's REST API that the tools need."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests

from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.flink_tls import request_options
from tidemark.core.settings import FlinkSettings

ENDED = frozenset({"FINISHED", "FAILED", "CANCELED"})
# Flink answers from memory; a longer wait means that it is not there.
_TIMEOUT_S = 10
# What a trace has, and what it comes to.
_KNOWN = {
    "Cannot map checkpoint/savepoint state": "the state is of a job with other operators: another version of the "
    "package made it, or other settings; `tidemark upgrade plan` names the operators.",
    "OffsetOutOfRangeException": "Kafka removed records that the job has not read, or its topic was made anew: "
    "`tidemark submit` names them once the job is stopped or cancelled.",
}
# Where Flink reads metadata, and where a task reads its state.
_READS_STATE = re.compile(
    r"loadCheckpointMetadata|loadAndValidateCheckpoint|BackendBuildingException|CheckpointStateOutputStream"
    r"|Exception while creating StreamOperatorStateContext|Could not restore keyed state backend"
)
_CAUSE = re.compile(r"^(?:Caused by: )?(\S*(?:Exception|Error)\b[^\n]*)", re.MULTILINE)
STATE_UNREAD = "its state cannot be read"


@dataclass(frozen=True, slots=True)
class Job:
    """One row of Flink's job list; `now_ms`, by the clock of the JobManager, is of a job that has not ended."""

    id: str
    name: str
    state: str
    start_ms: int
    now_ms: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """The latest completed checkpoint of a job, its last restore, and whether a later checkpoint failed; epoch ms.

    `failed_since` counts the checkpoints that failed after it, of the latest ten; `completed` is its number.
    """

    triggered_ms: int | None
    ended_ms: int | None
    restored_ms: int | None
    last_failed: bool
    failed_since: int = 0
    completed: int | None = None


class FlinkRest:
    """Client of one JobManager.

    Parameters
    ----------
    server:
        Settings of Flink, or the base URL of one without TLS, for example ``http://127.0.0.1:8081``.
    """

    def __init__(self, server: FlinkSettings | str) -> None:
        settings = FlinkSettings(rest_url=server) if isinstance(server, str) else server
        self._url = settings.rest_url.rstrip("/")
        self._tls = request_options(settings)

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            answer = requests.request(method, self._url + path, timeout=_TIMEOUT_S, **self._tls, **arguments)
        except requests.RequestException as error:
            raise UnavailableError(
                f"Flink does not answer at {self._url} ({type(error).__name__}).", "start it: `tidemark up`."
            ) from error
        if not answer.ok:
            raise TidemarkError(f"Flink refused {method} {path} with {answer.status_code}: {answer.text[:300]}")
        return answer.json() if answer.content else None

    def overview(self) -> dict[str, Any]:
        """Slots, TaskManagers and the Flink version."""
        answer: dict[str, Any] = self._call("GET", "/overview")
        return answer

    def jobs(self) -> list[Job]:
        """All jobs this JobManager knows, ended ones too, newest first."""
        rows = self._call("GET", "/jobs/overview")["jobs"]
        found = [
            Job(row["jid"], row["name"], row["state"], row["start-time"], row["start-time"] + row["duration"])
            for row in rows
        ]
        return sorted(found, key=lambda job: -job.start_ms)

    def active(self, name: str) -> Job | None:
        """The job of that name that has not ended."""
        return next((job for job in self.jobs() if job.name == name and job.state not in ENDED), None)

    def details(self, job_id: str) -> dict[str, Any]:
        """State, vertices and their task counts."""
        answer: dict[str, Any] = self._call("GET", f"/jobs/{job_id}")
        return answer

    def root_cause(self, job_id: str) -> str:
        """Why the job last failed, or an empty text."""
        entries = self._call("GET", f"/jobs/{job_id}/exceptions")["exceptionHistory"]["entries"]
        return str(entries[0]["stacktrace"]) if entries else ""

    def checkpoints(self, job_id: str) -> dict[str, int]:
        """Counts of checkpoints by outcome."""
        counts: dict[str, int] = self._call("GET", f"/jobs/{job_id}/checkpoints")["counts"]
        return counts

    def progress(self, job_id: str) -> Progress:
        """What the job's checkpoints say of its progress; all instants by the clock of the JobManager."""
        answer = self._call("GET", f"/jobs/{job_id}/checkpoints")
        latest = answer["latest"]
        completed, failed, restored = (latest[kind] or {} for kind in ("completed", "failed", "restored"))
        triggered = completed.get("trigger_timestamp")
        return Progress(
            triggered_ms=triggered,
            ended_ms=None if triggered is None else triggered + completed["end_to_end_duration"],
            restored_ms=restored.get("restore_timestamp"),
            last_failed=failed.get("id", 0) > completed.get("id", 0),
            failed_since=sum(
                row["status"] == "FAILED" and row["id"] > completed.get("id", 0) for row in answer.get("history", ())
            ),
            completed=completed.get("id"),
        )

    def restarts(self, job_id: str) -> int | None:
        """How often Flink has restarted the job since it was submitted; None while it does not say."""
        rows = self._call("GET", f"/jobs/{job_id}/metrics", params={"get": "numRestarts"})
        return int(float(rows[0]["value"])) if rows else None

    def metric(self, job_id: str, name: str) -> float:
        """Sum of an operator metric over all subtasks of the job; `name` is the end of the metric's id."""
        return sum(self.metrics(job_id, re.compile(re.escape(name) + "$")).values())

    def metrics(self, job_id: str, pattern: re.Pattern[str]) -> dict[str, float]:
        """Each metric whose id the pattern is found in: its sum over all subtasks of all vertices that have it."""
        totals: dict[str, float] = {}
        for vertex in self.details(job_id)["vertices"]:
            path = f"/jobs/{job_id}/vertices/{vertex['id']}/subtasks/metrics"
            ids = [row["id"] for row in self._call("GET", path) if pattern.search(row["id"])]
            # Metric ids hold operator names with commas, which the list parameter cannot carry: ask one by one.
            for metric_id in ids:
                rows = self._call("GET", path, params={"get": metric_id, "agg": "sum"})
                totals[metric_id] = totals.get(metric_id, 0.0) + sum(row["sum"] for row in rows)
        return totals

    def busy(self, job_id: str, vertex: str) -> tuple[float, float]:
        """Part of the time that the subtasks of a vertex work, 0 to 1: on average, and the busiest; 0 while unknown."""
        path = f"/jobs/{job_id}/vertices/{vertex}/subtasks/metrics"
        rows = self._call("GET", path, params={"get": "busyTimeMsPerSecond", "agg": "avg,max"})
        found = rows[0] if rows else {}
        average, greatest = (_part(found.get(name)) for name in ("avg", "max"))
        return average, greatest

    def cancel(self, job_id: str) -> None:
        """Ask the job to end without a savepoint."""
        self._call("PATCH", f"/jobs/{job_id}", params={"mode": "cancel"})

    def end(self, job_id: str, timeout_s: float = 60) -> None:
        """Cancel the job unless it has ended, and wait for its end.

        Raises
        ------
        UnavailableError
            It did not end in time.
        """
        if self._has_ended(job_id):
            return
        self.cancel(job_id)
        wait_until(lambda: self._has_ended(job_id), timeout_s, f"job {job_id} to end")

    def _has_ended(self, job_id: str) -> bool:
        return self.details(job_id)["state"] in ENDED

    def stop_with_savepoint(self, job_id: str, directory: str, timeout_s: float = 120) -> str:
        """End the job behind a savepoint and return the savepoint's path.

        Raises
        ------
        TidemarkError
            The savepoint failed, or took longer than `timeout_s`; the job may still be running.
        """
        body = {"targetDirectory": directory, "drain": False}
        return self._saved(job_id, f"/jobs/{job_id}/stop", body, timeout_s)

    def savepoint(self, job_id: str, directory: str, timeout_s: float = 120) -> str:
        """Take a savepoint of a job that goes on, and return its path; raises as `stop_with_savepoint`."""
        body = {"target-directory": directory, "cancel-job": False}
        return self._saved(job_id, f"/jobs/{job_id}/savepoints", body, timeout_s)

    def _saved(self, job_id: str, path: str, body: dict[str, Any], timeout_s: float) -> str:
        request = self._call("POST", path, json=body)["request-id"]
        answer: dict[str, Any] = {}

        def ended() -> bool:
            answer.update(self._call("GET", f"/jobs/{job_id}/savepoints/{request}"))
            return bool(answer["status"]["id"] == "COMPLETED")

        wait_until(ended, timeout_s, f"the savepoint of job {job_id}")
        operation = answer["operation"]
        if "location" not in operation:
            raise TidemarkError(f"the savepoint of job {job_id} failed: {str(operation)[:300]}")
        return str(operation["location"])

    def wait_running(self, job_id: str, timeout_s: float = 120) -> None:
        """Wait until every task runs and a checkpoint has completed: RUNNING alone says nothing of progress.

        Raises
        ------
        TidemarkError
            The job ended, or made no progress in time; carries the root cause Flink knows.
        """

        def progressing() -> bool:
            details = self.details(job_id)
            if details["state"] in {"FAILED", "CANCELED"}:
                raise TidemarkError(
                    f"job {details['name']} is {details['state']}: {short_cause(self.root_cause(job_id))}"
                )
            if details["state"] == "INITIALIZING":
                return False  # it has no tasks yet, and nobody who could be asked for its checkpoints
            tasks = [count for vertex in details["vertices"] for count in vertex["tasks"].items()]
            busy = all(state in {"RUNNING", "FINISHED"} for state, count in tasks if count)
            return bool(details["state"] == "FINISHED" or (busy and self.checkpoints(job_id)["completed"] > 0))

        try:
            wait_until(progressing, timeout_s, f"job {job_id} to run and to complete a checkpoint")
        except UnavailableError as error:
            raise TidemarkError(
                f"{error.what} Last failure: {short_cause(self.root_cause(job_id)) or 'none'}"
            ) from error


def _part(ms_per_s: Any) -> float:
    """Milliseconds of a second as a part of it; 0 for none and for NaN, which a task that only begins has."""
    value = float(ms_per_s or 0)
    return min(value / 1_000, 1.0) if math.isfinite(value) else 0.0


def short_cause(trace: str) -> str:
    """What a stack trace of Flink comes to where a person can act on it; otherwise its first 2,000 characters."""
    return known_cause(trace) or trace[:2_000]


def known_cause(trace: str) -> str:
    """What a stack trace of Flink comes to where a person can act on it; otherwise an empty text."""
    for known, text in _KNOWN.items():
        if known in trace:
            return text
    if _READS_STATE.search(trace):
        causes = _CAUSE.findall(trace)
        return f"{STATE_UNREAD}: {causes[-1][:300] if causes else 'see the log of Flink'}"
    return ""


def wait_until(done: Callable[[], bool], timeout_s: float, what: str, every_s: float = 0.25) -> None:
    """Ask `done` until it says yes.

    Raises
    ------
    UnavailableError
        Not within `timeout_s` seconds.
    """
    deadline = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline:
            raise UnavailableError(f"waited {timeout_s:.0f} s for {what}, in vain.", "see the service's log.")
        time.sleep(every_s)
