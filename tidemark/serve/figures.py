"""Figures of `tidemark serve` for Prometheus: the table of all, the latest values, and the collector over them."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from tidemark.core.service import Health
from tidemark.serve.readiness import READY, RoleHealth, RoleState, roles_of, state_of

# Values of a figure by the values of its labels.
Values = Mapping[tuple[str, ...], float]
# Upper bounds of the buckets of latencies, seconds: from a tick of `meter` to the lag that is an alert.
BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0)


@dataclass(frozen=True, slots=True)
class Family:
    """A figure as Prometheus names it.

    Parameters
    ----------
    name:
        With its unit; a counter without `_total`, which Prometheus' format adds.
    labels:
        Names of its labels. Their values are bounded: roles, jobs, topics, checks; never a customer, and a tenant where
        `serve.tenants` names it, else empty.
    role:
        Role whose process has it; empty: every process of `tidemark serve`.
    meaning:
        In words.
    kind:
        A counter only grows while the process lives; a histogram is of latencies in seconds (BUCKETS_S).
    counted:
        Whether the steps of the role itself give it: it is current only while they succeed.
    """

    name: str
    labels: tuple[str, ...]
    role: str
    meaning: str
    kind: Literal["gauge", "counter", "histogram"] = "gauge"
    counted: bool = False

    @property
    def shown(self) -> str:
        """The name that queries use; of a histogram that of its buckets, beside which are `_sum` and `_count`."""
        return self.name + {"counter": "_total", "histogram": "_bucket", "gauge": ""}[self.kind]


_SERVICE = ("role", "service")
_OF_HEALTH: tuple[Family, ...] = (
    Family("tidemark_job_running", ("job_name",), "", "1 while Flink says that the job is RUNNING."),
    Family("tidemark_job_restarts", ("job_name",), "", "Restarts by Flink since the job was submitted."),
    Family("tidemark_checkpoint_age_seconds", ("job_name",), "", "Age of the last checkpoint of a job."),
    Family("tidemark_checkpoint_duration_seconds", ("job_name",), "", "How long that checkpoint took."),
    Family("tidemark_checkpoints_failed", ("job_name",), "", "Checkpoints that failed after it."),
    Family("tidemark_lag_records", ("job_name", "topic"), "", "Records that a job has not committed."),
    Family("tidemark_lag_seconds", ("job_name", "topic"), "", "Age of the oldest of them, where the broker sets"
           " the arrival."),
    Family("tidemark_lag_event_seconds", ("job_name", "topic"), "", "Age of the event time of the oldest of them."),
    Family("tidemark_role_running", ("role",), "", "1 while some process runs the role well."),
    Family("tidemark_disk_free_bytes", ("path",), "", "Free space of a disk of this machine."),
    Family("tidemark_disk_size_bytes", ("path",), "", "Size of that disk."),
)  # fmt: skip
FAMILIES: tuple[Family, ...] = (
    Family("tidemark_info", ("version", "run_id"), "", "1, with the version of Tidemark and the run."),
    Family("tidemark_role_ready", ("role",), "", "1 while the role runs or is a standby, as /readyz says."),
    Family("tidemark_service_state", (*_SERVICE, "state"), "", "1 for the state that the service is in."),
    Family("tidemark_service_last_success_timestamp_seconds", _SERVICE, "", "End of the last step that succeeded."),
    Family("tidemark_service_last_duration_seconds", _SERVICE, "", "How long that step took."),
    Family("tidemark_service_runs", _SERVICE, "", "Steps that succeeded.", "counter"),
    Family("tidemark_service_failures", _SERVICE, "", "Steps that failed.", "counter"),
    Family("tidemark_live_heartbeat_age_seconds", (), "live", "Age of the heartbeat in Redis; readers take 60 s."),
    Family("tidemark_quota_alarms", ("rule",), "quotas", "Alarms about tenants over a bound that fire."),
    Family("tidemark_alerts_waiting", (), "alerts", "Alerts in the topic that the tables do not have yet."),
    Family("tidemark_notifications_due", (), "deliver", "Notifications that are due and not delivered."),
    Family("tidemark_notifications_oldest_due_seconds", (), "deliver", "How long the oldest of them has been due."),
    Family("tidemark_notifications_dead", (), "deliver", "Notifications that were given up."),
    Family("tidemark_responses_waiting", ("handler",), "respond", "Alerts in the topic that a handler has not read."),
    Family("tidemark_suspensions", (), "respond", "Suspensions that are in force."),
    Family("tidemark_periods_refused", ("cause",), "close", "Periods that were due and refused by the last close.",
           counted=True),
    Family("tidemark_outbox_pending", ("topic",), "close", "Closes and corrections that are not published yet."),
    Family("tidemark_reconcile_drift", ("check",), "reconcile", "Open differences: unexplained, in the last run of the"
           " check."),
    Family("tidemark_reconcile_last_run_timestamp_seconds", ("check",), "reconcile", "End of the last run of a check"
           " that had a result."),
    Family("tidemark_archive_behind_records", ("topic",), "archive", "Records that are in no file of the archive yet."),
    Family("tidemark_alert_latency_seconds", (), "alerts", "Time from when the worker saw a limit reached (and wrote"
           " the counter) until its alert is in the tables.", "histogram"),
    Family("tidemark_live_latency_seconds", ("since", "tenant"), "health", "Time to the counter in Redis, since the"
           " arrival or event time of sampled events.", "histogram"),
    Family("tidemark_stored_latency_seconds", ("since", "tenant"), "health", "Time of the same events to their row of"
           " `usage_minute`.", "histogram"),
    Family("tidemark_api_events", ("outcome",), "api", "Events sent to the API: accepted, rejected, refused for want of"
           " room, or not acknowledged.", "counter", counted=True),
    Family("tidemark_api_requests", ("route", "status"), "api", "Answers of the API.", "counter", counted=True),
    Family("tidemark_api_answers", ("outcome",), "api", "Reads of one customer and meter: hit or miss of the cache,"
           " unkept where it was not exact, and unversioned for want of a counter.", "counter", counted=True),
    Family("tidemark_api_pending_events", (), "api", "Events that wait for the brokers.", counted=True),
    *(replace(family, role="health", counted=True) for family in _OF_HEALTH),
)  # fmt: skip
_STATES: tuple[RoleState, ...] = ("starting", "running", "standby", "stalled", "failing", "stopped")


@dataclass(slots=True)
class Histogram:
    """Latencies since the process began; `counts` are those of each bucket alone, the last of what is above all."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.total_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bounds, and how many are not above them."""
        bounds = [*(str(bound) for bound in BUCKETS_S), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self.counts)), strict=True))


class Figures:
    """The latest values of figures that are read beside scrapes; safe between threads."""

    def __init__(self) -> None:
        self._values: dict[str, Values] = {}
        self._histograms: dict[str, dict[tuple[str, ...], Histogram]] = {}
        self._lock = threading.Lock()

    def observe(self, name: str, labels: tuple[str, ...], seconds: float) -> None:
        """Count one latency of a histogram."""
        with self._lock:
            self._histograms.setdefault(name, {}).setdefault(labels, Histogram()).add(seconds)

    def histograms(self) -> dict[str, dict[tuple[str, ...], Histogram]]:
        """Histograms by figure and labels, as they are now."""
        with self._lock:
            return deepcopy(self._histograms)

    def put(self, name: str, values: Values) -> None:
        """Replace all values of a figure; labels that are gone are gone."""
        with self._lock:
            self._values[name] = dict(values)

    def drop(self, name: str) -> None:
        """Forget a figure that cannot be read at present: an old value would pass for a new one."""
        with self._lock:
            self._values.pop(name, None)

    def all(self) -> dict[str, Values]:
        """Values by figure."""
        with self._lock:
            return dict(self._values)


class ServeCollector(Collector):
    """Everything that /metrics shows; a scrape reads memory alone, so it waits for no service.

    Parameters
    ----------
    health:
        How the services do now.
    figures:
        What else was read last.
    info:
        Version and run id.
    clock:
        Epoch seconds.
    """

    def __init__(
        self, health: Callable[[], Iterable[Health]], figures: Figures, info: tuple[str, str],
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._health = health
        self._figures = figures
        self._info = info
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """Each figure that has values, in the order of the table."""
        services, now = list(self._health()), self._clock()
        values = {**current(self._figures.all(), roles_of(services, now)), **of_services(services, now)}
        values["tidemark_info"] = {self._info: 1}
        histograms = self._figures.histograms()
        for family in FAMILIES:
            if family.name in values:
                yield _metric(family, values[family.name])
            if family.name in histograms:
                yield _histogram(family, histograms[family.name])


def current(figures: Mapping[str, Values], roles: Iterable[RoleHealth]) -> dict[str, Values]:
    """The figures without those that a role counts itself and does not at present, because it fails or is a standby."""
    running = {role.role for role in roles if role.state == "running"}
    stale = {family.name for family in FAMILIES if family.counted and family.role not in running}
    return {name: values for name, values in figures.items() if name not in stale}


def of_services(services: Iterable[Health], now: float) -> dict[str, Values]:
    """The figures of every service and role."""
    every = list(services)
    keys = {(one.role, one.service): one for one in every}
    states = {key: state_of(one, now)[0] for key, one in keys.items()}
    return {
        "tidemark_role_ready": {(role.role,): float(role.state in READY) for role in roles_of(every, now)},
        "tidemark_service_state": {
            (*key, state): float(state == current) for key, current in states.items() for state in _STATES
        },
        "tidemark_service_last_success_timestamp_seconds": {
            key: one.succeeded_at for key, one in keys.items() if one.succeeded_at is not None
        },
        "tidemark_service_last_duration_seconds": {
            key: one.duration_s for key, one in keys.items() if one.succeeded_at is not None
        },
        "tidemark_service_runs": {key: one.runs for key, one in keys.items()},
        "tidemark_service_failures": {key: one.failures for key, one in keys.items()},
    }


def table() -> Iterator[str]:
    """The figures as rows of a page."""
    yield "| metric | labels | process with the role | meaning |"
    yield "|---|---|---|---|"
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        yield f"| `{family.shown}` | {labels} | {f'`{family.role}`' if family.role else 'every'} | {family.meaning} |"


def _metric(family: Family, values: Values) -> Metric:
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.meaning, labels=family.labels)
    for labels, value in sorted(values.items()):
        metric.add_metric(list(labels), value)
    return metric


def _histogram(family: Family, histograms: Mapping[tuple[str, ...], Histogram]) -> Metric:
    metric = HistogramMetricFamily(family.name, family.meaning, labels=family.labels)
    for labels, histogram in sorted(histograms.items()):
        metric.add_metric(list(labels), histogram.buckets(), histogram.total_s)
    return metric
