"""The responder: alerts from the topic to one handler, one response each, undone with its condition."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg

from tidemark.alerts.active_runs import ActiveReplay, is_taken, read_active_replays
from tidemark.alerts.active_topics import ActiveTopics, Offsets, Polled
from tidemark.alerts.topic import AlertTopic, read
from tidemark.core.errors import TidemarkError
from tidemark.core.postgres import Database
from tidemark.core.service import Service, logger
from tidemark.core.settings import Settings
from tidemark.responses import store
from tidemark.responses.handler import Handler
from udfs.alerts.event import Alert, AlertError

log = logger("respond")

POLL_MS = 500
# A batch is at most 500 alerts, and a few statements for each.
BATCH_TIMEOUT_MS = 60_000


@dataclass(frozen=True, slots=True)
class PollResult:
    """What one pass did: responses started and undone, and records that are not valid alerts."""

    begun: int = 0
    undone: int = 0
    refused: int = 0


class Responder:
    """Reads alerts of a run, and those about limits of the replays that are active for it, for one handler.

    All connections are made again after each failure.

    Parameters
    ----------
    settings:
        Services, and the run.
    handler:
        Who responds.
    """

    def __init__(self, settings: Settings, handler: Handler) -> None:
        self._settings = settings
        self._handler = handler
        self._database = Database(
            settings.postgres.ops, "respond", settings.names.usage_schema, claim=f"respond {handler.name}"
        )
        self._topics = ActiveTopics(settings, self._stored_offsets)
        self._remembered: Offsets = {}
        # Only while all topics of a handler that has never read are opened: what is promoted later is read whole.
        self._is_new = False

    def run_once(self, poll_ms: int = POLL_MS) -> PollResult:
        """Respond to new alerts, waiting for `poll_ms` at most.

        Raises
        ------
        UnavailableError
            Postgres or Kafka is unreachable; the next pass starts where the last one that succeeded ended.
        TidemarkError
            The database has no tables, or another responder of this run and handler is at work.
        """
        try:
            # Step 1: go to where the last committed transaction ended.
            replays = self._database.run(lambda connection: read_active_replays(connection, self._settings.names))
            self._topics.open(replays)
            self._is_new = False
            records = self._topics.poll(poll_ms)
            ends = self._topics.ends()
            if ends == self._remembered:
                return PollResult()
            # Step 2: effects, the responses and the offsets in one transaction.
            alerts, refused = _readable(records, replays, self._settings.run_id)
            done = self._database.run(lambda connection: self._respond(connection, alerts, ends), BATCH_TIMEOUT_MS)
            self._remembered = ends
        except TidemarkError:
            self.close()
            raise
        return PollResult(*done, refused)

    def sync(self) -> int:
        """Bring what the handler keeps outside Postgres in line with the tables; raises as the handler does."""
        return self._database.run(self._handler.sync, BATCH_TIMEOUT_MS)

    def close(self) -> None:
        """Close all connections, and with them give up the claim to this handler."""
        self._topics.close()
        self._database.close()

    def _stored_offsets(self, topic: str) -> dict[int, int]:
        """Where to go on in a topic; a handler that has never read, and starts at the end, begins there."""
        name, own = self._handler.name, self._settings.names.alerts
        found = self._database.run(lambda connection: store.offsets(connection, name, topic))
        if topic == own:
            self._is_new = not found
        if found or self._handler.start != "end" or not self._is_new:
            return found
        with AlertTopic(self._settings.kafka, topic, {}) as reader:
            ends = reader.ends()
        self._database.run(lambda connection: store.remember(connection, name, topic, ends))
        return ends

    def _respond(self, connection: psycopg.Connection, alerts: Sequence[Alert], ends: Offsets) -> tuple[int, int]:
        handler, begun, undone = self._handler, 0, 0
        with connection.transaction():
            for alert in alerts:
                if alert.status == "resolved":
                    if store.end(connection, handler.name, alert):
                        handler.undo(connection, alert)
                        undone += 1
                elif handler.wants(alert) and store.begin(connection, handler.name, alert):
                    handler.begin(connection, alert)
                    begun += 1
            for topic, offsets in ends.items():
                store.remember(connection, handler.name, topic, offsets)
        return begun, undone


class Response:
    """A responder, and every `responses.check_s` or after a response a sync of what its handler keeps elsewhere.

    Parameters
    ----------
    settings:
        Services, and the run.
    handler:
        Who responds; closed with this.
    clock:
        Seconds that only grow.
    """

    def __init__(self, settings: Settings, handler: Handler, clock: Callable[[], float] = time.monotonic) -> None:
        self._check_s = settings.responses.check_s
        self._handler = handler
        self._clock = clock
        self._check_at = clock()
        self._responder = Responder(settings, handler)

    def run_once(self) -> tuple[PollResult, int]:
        """Respond to what came; that, and how much had to be changed elsewhere. Raises as `Responder.run_once` does."""
        done, synced = self._responder.run_once(), 0
        if done != PollResult() or self._clock() >= self._check_at:
            # Set before it is tried: an unreachable Redis is tried at the same pace.
            self._check_at = self._clock() + self._check_s
            synced = self._responder.sync()
        return done, synced

    def close(self) -> None:
        """Give all connections back, those of the handler too."""
        self._responder.close()
        self._handler.close()


def service(settings: Settings, name: str, make: Callable[[], Handler]) -> Service[Response, tuple[PollResult, int]]:
    """Responds with one handler without a pause: each poll waits for what comes."""

    def report(result: tuple[PollResult, int], failing: bool) -> None:
        done, synced = result
        if failing or done != PollResult() or synced:
            figures = {"begun": done.begun, "undone": done.undone, "refused": done.refused, "synced": synced}
            log("responded", handler=name, **figures)

    return Service(name, 0, lambda: Response(settings, make()), Response.run_once, log, report)


def _readable(records: Sequence[Polled], replays: Sequence[ActiveReplay], ledger_run: str) -> tuple[list[Alert], int]:
    """Alerts of active versions in the order of their time, starts before ends, and how many records are no alerts."""
    alerts: list[Alert] = []
    refused = 0
    for run_id, _, payload in records:
        try:
            alert = read(payload)
        except AlertError:
            # The intake of alerts says which, and why; the record stays in the topic.
            refused += 1
            continue
        if is_taken(replays, ledger_run, run_id, alert):
            alerts.append(alert)
    alerts.sort(key=lambda alert: (alert.at_ms, alert.status == "resolved"))
    return alerts, refused
