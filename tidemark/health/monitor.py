"""The role `health`: watches the pipeline itself, and raises an alert once when something begins to be wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg

from tidemark.core.alarms import SEND_STALL_S
from tidemark.core.errors import TidemarkError
from tidemark.core.postgres import Database
from tidemark.core.service import Service, logger
from tidemark.core.settings import Settings
from tidemark.health import alarm_store, reports
from tidemark.health.alarm_store import ALARMS
from tidemark.health.reading import Kafka, clock, disks_of, jobs_of
from tidemark.health.rules import Key, expected, findings, patient
from tidemark.health.state import RoleReport, Snapshot
from tidemark.health.transitions import Decision, decide

log = logger("health")

# Together with what Kafka may take, a step is far shorter than the time after which an alert is promised.
TIMEOUT_MS = 10_000
_ANNOUNCE_TIMEOUT_MS = int(SEND_STALL_S * 1_000) * 2 + TIMEOUT_MS


@dataclass(frozen=True, slots=True)
class Checked:
    """What one step saw and changed; `news` is whether other parts could not be read than in the step before."""

    snapshot: Snapshot
    decision: Decision
    sent: int
    news: bool


class Monitor:
    """Watches one run; one Postgres connection, which holds the right to do so, made again after each failure."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = Database(
            settings.postgres.ops, "health", settings.names.usage_schema, claim="health", timeout_ms=TIMEOUT_MS
        )
        self._kafka = Kafka(settings)
        self._since: Mapping[Key, float] = {}
        self._unknown: set[str] = set()
        self._started_at = clock()
        self._seen_running: set[str] = set()

    def check(self) -> Checked:
        """Read everything, store alarms that begin or end, and announce them.

        Raises
        ------
        UnavailableError
            Postgres cannot be reached, or Kafka takes no alerts; what was stored is announced by the next step.
        StandbyError
            Another process watches this run.
        TidemarkError
            The database has no tables.
        """
        # Step 1: with the connection comes the right to watch.
        roles = self._database.run(reports.read)
        snapshot = snapshot_of(self._settings, self._kafka, roles)
        self._seen_running |= {job.job for job in snapshot.jobs or () if job.running}
        # Step 2: an alarm that begins or ends is stored as not announced.
        decision = self._database.run(lambda connection: self._decide(connection, snapshot))
        self._since = decision.since
        # Step 3: send, and store that only after the brokers have it.
        sent = self._database.run(lambda connection: ALARMS.announce(connection, self._settings), _ANNOUNCE_TIMEOUT_MS)
        news, self._unknown = snapshot.unknown.keys() != self._unknown, set(snapshot.unknown)
        return Checked(snapshot, decision, sent, news)

    def close(self) -> None:
        """Give all connections back, and with them the right to watch."""
        self._database.close()
        self._kafka.close()

    def _decide(self, connection: psycopg.Connection, snapshot: Snapshot) -> Decision:
        health = self._settings.health
        with connection.transaction():
            running = alarm_store.keys(ALARMS.firing(connection, self._settings.names))
            now = clock()
            seen = patient(findings(snapshot, health), self._seen_running, now - self._started_at)
            decision = decide(seen, expected(snapshot, health), running, self._since, now)
            alarm_store.store(connection, self._settings.names, decision)
        return decision


def snapshot_of(settings: Settings, kafka: Kafka, roles: tuple[RoleReport, ...] | None) -> Snapshot:
    """Everything that can be read now; what cannot be is unknown, with the reason."""
    unknown: dict[str, str] = {}
    lags, counted = None, kafka.counted_before
    try:
        lags, counted = kafka.read()
    except TidemarkError as error:
        unknown["kafka"] = error.what
    jobs = jobs_of(settings)
    try:
        # Without brokers each question would take as long as the first.
        jobs = jobs if "kafka" in unknown else kafka.with_aborted(jobs)
    except TidemarkError as error:
        unknown["transactions"] = error.what
    return Snapshot(jobs, lags, roles, disks_of(settings), counted, unknown)


def service(settings: Settings) -> Service[Monitor, Checked]:
    """Checks every `health.interval_s`."""
    return Service("health", settings.health.interval_s, lambda: Monitor(settings), Monitor.check, log, _report)


def _report(checked: Checked, failing: bool) -> None:
    for finding in checked.decision.begun:
        log("firing", level="warning", trouble=finding.trouble, subject=finding.subject, detail=finding.detail)
    for trouble, subject in checked.decision.ended:
        log("resolved", trouble=trouble, subject=subject)
    unknown = dict(checked.snapshot.unknown)
    if failing or checked.sent or checked.news:
        log("checked", level="warning" if unknown else "info", sent=checked.sent, unknown=unknown)
