"""Intake of alerts: from the topic into the tables, each exactly once, and with the notifications that they cause."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import psycopg

from tidemark.alerts import active_runs, period_ends, store
from tidemark.alerts.active_runs import ActiveReplay, is_taken
from tidemark.alerts.active_topics import ActiveTopics, Offsets, Polled
from tidemark.alerts.alert_store import PostgresAlertStore
from tidemark.alerts.evidence import Researcher
from tidemark.alerts.impact import Weight, severity_by_impact
from tidemark.alerts.router import AlertRouter
from tidemark.alerts.topic import Position, read
from tidemark.core.errors import TidemarkError
from tidemark.core.postgres import Database
from tidemark.core.service import Service, logger
from tidemark.core.settings import Settings
from udfs.alerts.event import Alert, AlertError, Severity
from udfs.alerts.pipeline import METER_SOURCE
from udfs.postgres import first_line

log = logger("alerts")

POLL_MS = 500
# How often it is looked whether a billing period has ended.
PERIODS_S = 60.0
# A batch is at most `topic.POLL_RECORDS` alerts and some milliseconds for each.
BATCH_TIMEOUT_MS = 60_000

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that is not a valid alert, or fits no table: it stays in the topic and is skipped."""

    position: Position
    why: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What one pass took.

    Parameters
    ----------
    outcomes:
        How many alerts were notified, suppressed, unrouted, known before, or of a version that is not active; and how
        many conditions ended with their billing period.
    notifications:
        How many are new or have more alerts.
    refused:
        Records that are not valid alerts.
    latencies_s:
        Of alerts that a worker of `meter` decided: seconds from then until they were taken.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    notifications: int = 0
    refused: tuple[Refused, ...] = ()
    latencies_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class _Weighed:
    position: Position
    alert: Alert
    severity: Severity


class Intake:
    """Takes alerts of a run, and those about limits of the replays that are active for it.

    One Postgres connection, and one Kafka consumer a run, all made again after each failure.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._periods_at = clock()
        self._researcher = Researcher(settings.names)
        self._database = Database(settings.postgres.ops, "alerts", settings.names.usage_schema, claim="alerts")
        self._topics = ActiveTopics(settings, self._stored_offsets)
        self._remembered: Offsets = {}

    def run_once(self, poll_ms: int = POLL_MS) -> Batch:
        """Take what came, waiting for `poll_ms` at most.

        Raises
        ------
        UnavailableError
            Postgres or Kafka is unreachable; the next pass starts where the last one that succeeded ended.
        TidemarkError
            The database has no tables, or another intake of this run is at work.

        """
        try:
            # Step 1: go to where the tables end, which is where the last transaction that was committed left off.
            replays = self._database.run(
                lambda connection: active_runs.read_active_replays(connection, self._settings.names)
            )
            self._topics.open(replays)
            ended = self._end_periods()
            records = self._topics.poll(poll_ms)
            # Step 2: read, weigh and enrich; the stored usage is read outside the transaction and may fail to answer.
            alerts, refused, others = _readable(records, replays, self._settings.run_id)
            weighed = self._within(lambda connection: self._weighed(connection, alerts)) if alerts else []
            # Step 3: rows, notifications, budgets and offsets in one transaction: all of them, or none.
            ends = self._topics.ends()
            if ends == self._remembered:
                return ended
            batch = self._within(lambda connection: self._take(connection, weighed, refused, ends))
            batch.outcomes.update(ended.outcomes)
            batch.outcomes.update({"other_version": others} if others else {})
            self._remembered = ends
        except TidemarkError:
            self.close()
            raise
        return batch

    def close(self) -> None:
        """Close all connections, and with them give up the claim to this run."""
        self._topics.close()
        self._database.close()
        self._remembered = {}

    def _within(self, operation: Callable[[psycopg.Connection], Result]) -> Result:
        """What takes a batch; everything else must notice sooner that Postgres does not answer."""
        return self._database.run(operation, BATCH_TIMEOUT_MS)

    def _end_periods(self) -> Batch:
        """Every PERIODS_S, end what receivers keep open and whose billing period has ended."""
        if self._clock() < self._periods_at:
            return Batch()
        batch = self._within(self._notify_period_ends)
        if batch.outcomes.total() < period_ends.MOST:
            self._periods_at = self._clock() + PERIODS_S
        return batch

    def _notify_period_ends(self, connection: psycopg.Connection) -> Batch:
        with connection.transaction():
            ends = period_ends.ended(connection)
            if not ends:
                return Batch()
            alert_store, now_ms = PostgresAlertStore(connection), store.now_ms(connection)
            times = [alert.at_ms for alert, _ in ends]
            policy_at = store.policy_between(connection, min(times), max(times))
            router = AlertRouter(alert_store, policy_at, self._settings.alerts.group_wait_s * 1_000)
            for alert, severity in ends:
                router.take(alert, severity, now_ms, period_ends.KEEP_OPEN)
            router.finish()
            return Batch(Counter(period_ended=len(ends)), alert_store.write())

    def _stored_offsets(self, topic: str) -> dict[int, int]:
        return self._database.run(lambda connection: store.offsets(connection, topic))

    def _weighed(self, connection: psycopg.Connection, alerts: Sequence[tuple[Position, Alert]]) -> list[_Weighed]:
        plain = [alert for _, alert in alerts]
        weights = self._researcher.weights(connection, plain)
        enriched = self._researcher.enriched(connection, plain)
        return [
            _Weighed(position, *_with_impact(alert, weight))
            for (position, _), alert, weight in zip(alerts, enriched, weights, strict=True)
        ]

    def _take(
        self,
        connection: psycopg.Connection,
        weighed: Sequence[_Weighed],
        refused: Sequence[Refused],
        ends: Offsets,
    ) -> Batch:
        outcomes: Counter[str] = Counter()
        unstorable: list[Refused] = []
        written = 0
        with connection.transaction():
            if weighed:
                alert_store = PostgresAlertStore(connection)
                router, now_ms = self._router(connection, alert_store, weighed), store.now_ms(connection)
                for entry in weighed:
                    try:
                        outcomes[router.take(entry.alert, entry.severity, now_ms)] += 1
                    except (psycopg.DataError, psycopg.IntegrityError) as error:
                        unstorable.append(Refused(entry.position, first_line(error)))
                router.finish()
                written = alert_store.write()
            for topic, offsets in ends.items():
                store.remember(connection, topic, offsets)
        return Batch(outcomes, written, (*refused, *unstorable), _latencies_s(weighed, time.time()))

    def _router(
        self, connection: psycopg.Connection, alert_store: PostgresAlertStore, weighed: Sequence[_Weighed]
    ) -> AlertRouter:
        times = [entry.alert.at_ms for entry in weighed]
        policy_at = store.policy_between(connection, min(times), max(times))
        return AlertRouter(alert_store, policy_at, self._settings.alerts.group_wait_s * 1_000)


def service(settings: Settings) -> Service[Intake, Batch]:
    """Takes without a pause: each poll waits for what comes."""
    return Service("intake", 0, lambda: Intake(settings), Intake.run_once, log, _report)


def _report(batch: Batch, recovered: bool) -> None:
    for record in batch.refused:
        log("refused", position=f"{record.position.partition}:{record.position.offset}", why=record.why)
    if batch.outcomes or recovered:
        log("taken", **batch.outcomes, notifications=batch.notifications)


def _readable(
    records: Sequence[Polled], replays: Sequence[ActiveReplay], ledger_run: str
) -> tuple[list[tuple[Position, Alert]], list[Refused], int]:
    """Alerts in the order of their time, starts before ends: partitions are read one after the other.

    Those of a version that is not active are only counted. They stay in their topic: stored, they would be mistaken
    for those of the other version, which have the same ids.
    """
    alerts: list[tuple[Position, Alert]] = []
    refused: list[Refused] = []
    for run_id, position, payload in records:
        try:
            alert = read(payload)
        except AlertError as error:
            refused.append(Refused(position, str(error)))
        else:
            if is_taken(replays, ledger_run, run_id, alert):
                alerts.append((position, alert))
    in_order = sorted(alerts, key=lambda entry: (entry[1].at_ms, entry[1].status == "resolved", entry[0]))
    return in_order, refused, len(records) - len(alerts) - len(refused)


def _latencies_s(weighed: Sequence[_Weighed], now: float) -> tuple[float, ...]:
    """Their time is the instant at which the worker saw the limit reached, in the step that writes the counter."""
    times = [entry.alert.at_ms / 1_000 for entry in weighed if entry.alert.source == METER_SOURCE]
    return tuple(max(now - at, 0.0) for at in times)


def _with_impact(alert: Alert, weight: Weight) -> tuple[Alert, Severity]:
    """The alert with its impact in the evidence, and its severity by it."""
    severity = severity_by_impact(alert, weight)
    known = {"usage_share": weight.usage_share, "revenue_weight": weight.revenue_weight}
    impact = {name: format(value.normalize(), "f") for name, value in known.items() if value is not None}
    if not impact:
        return alert, severity
    return replace(alert, evidence={"impact": {**impact, "severity": severity}, **alert.evidence}), severity
