"""Intake of alerts: from the topic into the tables, each exactly once, with what receivers are to be told of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import psycopg

from tidemark.alerts import active_runs, store
from tidemark.alerts.active_runs import Stand, is_taken
from tidemark.alerts.alert_store import PostgresLedger
from tidemark.alerts.evidence import Researcher
from tidemark.alerts.impact import Weight, severity_by_impact
from tidemark.alerts.router import Desk
from tidemark.alerts.topic import AlertTopic, Place, read
from tidemark.core.errors import TidemarkError
from tidemark.core.postgres import translated
from tidemark.core.service import Service, logger
from tidemark.core.settings import Settings
from udfs.alerts.event import Alert, AlertError, Severity
from udfs.postgres import deadline, first_line

log = logger("alerts")

POLL_MS = 500
# For the topic of a promoted replay, beside the own one.
REPLAY_POLL_MS = 50
# A batch is at most `topic.POLL_RECORDS` alerts and some milliseconds for each.
BATCH_TIMEOUT_MS = 60_000

Answer = TypeVar("Answer")
# Next offset by topic and partition.
Offsets = dict[str, dict[int, int]]


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that is no alert, or fits no table: it stays in the topic and is passed over."""

    place: Place
    why: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What one look took.

    Parameters
    ----------
    fates:
        How many alerts were told, held, unrouted or known before, or are of a version that people do not read.
    notifications:
        How many are new or have more alerts.
    refused:
        Records that are no alerts.
    """

    fates: Counter[str] = field(default_factory=Counter)
    notifications: int = 0
    refused: tuple[Refused, ...] = ()


@dataclass(frozen=True, slots=True)
class _Weighed:
    place: Place
    alert: Alert
    severity: Severity


class Intake:
    """Takes alerts of a run, and those about limits of replays that stand for it.

    One Postgres connection, and one Kafka consumer a run, all made again after each failure.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._researcher = Researcher()
        self._postgres: psycopg.Connection | None = None
        self._topics: dict[str, AlertTopic] = {}
        self._remembered: Offsets = {}

    def look(self, poll_ms: int = POLL_MS) -> Batch:
        """Take what came, waiting for `poll_ms` at most.

        Raises
        ------
        UnavailableError
            Postgres or Kafka is away; the next look begins where the last one that succeeded ended.
        TidemarkError
            The database has no tables, or another intake of this run is at work.

        """
        try:
            # Step 1: go to where the tables end, which is where the last transaction that was committed left off.
            stands = self._ask(lambda connection: active_runs.read_stands(connection, self._settings.names))
            self._open(stands)
            records = self._poll(poll_ms)
            # Step 2: read, weigh and enrich; the stored usage is asked outside the transaction and may fail to answer.
            alerts, refused, others = _readable(records, stands, self._settings.run_id)
            weighed = self._ask(lambda connection: self._weighed(connection, alerts)) if alerts else []
            # Step 3: rows, notifications, budgets and offsets in one transaction: all of them, or none.
            ends = {topic.name: topic.offsets() for topic in self._topics.values()}
            if ends == self._remembered:
                return Batch()
            batch = self._ask(lambda connection: self._take(connection, weighed, refused, ends))
            batch.fates.update({"version": others} if others else {})
            self._remembered = ends
        except TidemarkError:
            self.close()
            raise
        return batch

    def close(self) -> None:
        """Give all connections back, and with them the right to take."""
        for topic in self._topics.values():
            topic.close()
        if self._postgres is not None:
            self._postgres.close()
        self._topics, self._remembered, self._postgres = {}, {}, None

    def _open(self, stands: Sequence[Stand]) -> None:
        """Read the topics of this run and of the replays that stand for it, and no others."""
        wanted = [self._settings.run_id, *(one.run_id for one in stands)]
        for run_id in [one for one in self._topics if one not in wanted]:
            self._topics.pop(run_id).close()
        for run_id in wanted:
            if run_id not in self._topics:
                run = self._settings.with_changes({"run_id": run_id})
                offsets = self._ask(lambda connection, name=run.names.alerts: store.offsets(connection, name))  # type: ignore[misc]
                self._topics[run_id] = AlertTopic(run.kafka, run.names.alerts, offsets)

    def _poll(self, poll_ms: int) -> list[tuple[str, Place, bytes]]:
        own = self._settings.run_id
        found = {run: topic.poll(poll_ms if run == own else REPLAY_POLL_MS) for run, topic in self._topics.items()}
        return [(run, place, payload) for run, records in found.items() for place, payload in records]

    def _weighed(self, connection: psycopg.Connection, alerts: Sequence[tuple[Place, Alert]]) -> list[_Weighed]:
        found = [alert for _, alert in alerts]
        weights = self._researcher.weights(connection, found)
        enriched = self._researcher.enriched(connection, found)
        return [
            _Weighed(place, *_judged(alert, weight))
            for (place, _), alert, weight in zip(alerts, enriched, weights, strict=True)
        ]

    def _take(
        self,
        connection: psycopg.Connection,
        weighed: Sequence[_Weighed],
        refused: Sequence[Refused],
        ends: Offsets,
    ) -> Batch:
        fates: Counter[str] = Counter()
        unfit: list[Refused] = []
        written = 0
        with connection.transaction():
            if weighed:
                ledger = PostgresLedger(connection)
                desk, now_ms = self._desk(connection, ledger, weighed), store.now_ms(connection)
                for one in weighed:
                    try:
                        fates[desk.take(one.alert, one.severity, now_ms)] += 1
                    except (psycopg.DataError, psycopg.IntegrityError) as error:
                        unfit.append(Refused(one.place, first_line(error)))
                desk.finish()
                written = ledger.write()
            for topic, offsets in ends.items():
                store.remember(connection, topic, offsets)
        return Batch(fates, written, (*refused, *unfit))

    def _desk(self, connection: psycopg.Connection, ledger: PostgresLedger, weighed: Sequence[_Weighed]) -> Desk:
        times = [one.alert.at_ms for one in weighed]
        policy_at = store.policy_between(connection, min(times), max(times))
        return Desk(ledger, policy_at, self._settings.alerts.group_wait_s * 1_000)

    def _ask(self, question: Callable[[psycopg.Connection], Answer]) -> Answer:
        try:
            if self._postgres is None:
                self._postgres = store.opened(self._settings.postgres, self._settings.names)
                store.claim(self._postgres, self._settings.names)
            with deadline(self._postgres, BATCH_TIMEOUT_MS):
                return question(self._postgres)
        except psycopg.Error as error:
            self.close()
            raise translated(self._settings.postgres, error) from error


def service(settings: Settings) -> Service[Intake, Batch]:
    """Takes without a pause: each look waits for what comes."""
    return Service("intake", 0, lambda: Intake(settings), Intake.look, log, _report)


def _report(batch: Batch, recovered: bool) -> None:
    for one in batch.refused:
        log("refused", position=f"{one.place.partition}:{one.place.offset}", why=one.why)
    if batch.fates or recovered:
        log("taken", **batch.fates, notifications=batch.notifications)


def _readable(
    records: Sequence[tuple[str, Place, bytes]], stands: Sequence[Stand], own: str
) -> tuple[list[tuple[Place, Alert]], list[Refused], int]:
    """Alerts in the order of their time, beginnings before ends: partitions are read one after the other.

    Those of a version that people do not read are only counted. They stay in their topic: stored, they would be taken
    for the same ones of the other version, which have the same ids.
    """
    alerts: list[tuple[Place, Alert]] = []
    refused: list[Refused] = []
    for run_id, place, payload in records:
        try:
            alert = read(payload)
        except AlertError as error:
            refused.append(Refused(place, str(error)))
        else:
            if is_taken(stands, own, run_id, alert):
                alerts.append((place, alert))
    in_order = sorted(alerts, key=lambda one: (one[1].at_ms, one[1].status == "resolved", one[0]))
    return in_order, refused, len(records) - len(alerts) - len(refused)


def _judged(alert: Alert, weight: Weight) -> tuple[Alert, Severity]:
    """The alert with its impact in the evidence, and its severity by it."""
    severity = severity_by_impact(alert, weight)
    known = {"usage_share": weight.usage_share, "revenue_weight": weight.revenue_weight}
    impact = {name: format(value.normalize(), "f") for name, value in known.items() if value is not None}
    if not impact:
        return alert, severity
    return replace(alert, evidence={"impact": {**impact, "severity": severity}, **alert.evidence}), severity
