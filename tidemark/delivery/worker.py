"""Delivery: due notifications to their receivers, each until it is taken or given up."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
import requests

from tidemark.catalog.policy import read_policy
from tidemark.core.postgres import STATEMENT_TIMEOUT_MS, Database
from tidemark.core.service import Service, logger
from tidemark.core.settings import Settings
from tidemark.delivery import store
from tidemark.delivery.document import of_body
from tidemark.delivery.http import SendError, post
from tidemark.delivery.message import Message, Receiver, ReceiverError, message_of, receiver_of, secret_of
from tidemark.delivery.outcome import Attempt, Dead, Delivered, Outcome, of_failure, of_response

log = logger("deliver")

# Pause when no notification is due.
POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Sent:
    """An attempt that was made, and what became of it."""

    notification_id: str
    receiver: str
    attempt: int
    outcome: Outcome


class DeliveryWorker:
    """Sends notifications of a run one after the other; any number of workers may run at once.

    A notification is locked while it is sent, and what became of it is stored in the same transaction. A worker that
    dies between the two leaves it due: it is sent again with the same `Idempotency-Key` (PagerDuty: the same dedup_key,
    Alertmanager: the same labels). A Slack message may then be seen twice.

    Parameters
    ----------
    settings:
        Postgres, the run, attempts and time-outs.
    environment:
        Where secrets are looked up.
    """

    def __init__(self, settings: Settings, environment: Mapping[str, str] | None = None) -> None:
        self._settings = settings
        self._environment = os.environ if environment is None else environment
        self._database = Database(settings.postgres, "deliver", settings.names.usage_schema)
        self._session = requests.Session()

    def step(self) -> Sent | None:
        """Make one attempt; None where nothing is due.

        Raises
        ------
        UnavailableError
            Postgres cannot be reached; what was sent meanwhile is sent again.
        TidemarkError
            The database has no tables.
        """
        # A connection and a response may each take the time-out, beside what Postgres takes.
        return self._database.run(self._attempt, 2 * self._settings.delivery.timeout_ms + STATEMENT_TIMEOUT_MS)

    def close(self) -> None:
        """Give all connections back."""
        self._session.close()
        self._database.close()

    def _attempt(self, connection: psycopg.Connection) -> Sent | None:
        with connection.transaction():
            # Step 1: lock what is due.
            due = store.take(connection, self._settings.names.usage_schema)
            if due is None:
                return None
            attempt = Attempt(due.notification_id, due.attempts + 1, self._settings.delivery.attempts)
            # Step 2: send it to the receiver, as the policy describes it now.
            outcome = self._outcome(connection, due, attempt)
            # Step 3: store the outcome; the lock ends with the transaction.
            store.record_outcome(connection, due, outcome)
        return Sent(due.notification_id, due.receiver, attempt.number, outcome)

    def _outcome(self, connection: psycopg.Connection, due: store.Due, attempt: Attempt) -> Outcome:
        now = datetime.now(UTC)
        try:
            receiver = _receiver(connection, due.receiver, now)
            secret = secret_of(receiver, self._environment)
        except ReceiverError as error:
            return of_failure(attempt, str(error))
        try:
            message = message_of(receiver, of_body(due.notification_id, due.body), secret, int(now.timestamp()))
        except (ValueError, TypeError, KeyError) as error:
            return Dead(f"cannot be sent as {receiver.kind}: {error}"[:300])
        return self._sent(message, secret, attempt)

    def _sent(self, message: Message, secret: str, attempt: Attempt) -> Outcome:
        try:
            response = post(self._session, message, secret, self._settings.delivery.timeout_ms / 1_000)
        except SendError as error:
            return of_failure(attempt, str(error))
        return of_response(attempt, response.status, response.retry_after, response.excerpt, datetime.now(UTC))


def services(settings: Settings) -> list[Service[DeliveryWorker, Sent | None]]:
    """Workers that deliver side by side, `delivery.threads` of them; each sends until nothing is due."""
    return [
        Service(
            f"delivery-{number}", POLL_S, lambda: DeliveryWorker(settings), DeliveryWorker.step, log, _report,
            again=lambda sent: sent is not None,
        )
        for number in range(1, settings.delivery.threads + 1)
    ]  # fmt: skip


def _report(sent: Sent | None, failing: bool) -> None:
    if sent is None:
        if failing:
            log("recovered")
        return
    shown = {"notification": sent.notification_id, "receiver": sent.receiver, "attempt": sent.attempt}
    if isinstance(sent.outcome, Delivered):
        log("delivered", **shown)
    elif isinstance(sent.outcome, Dead):
        log("dead", **shown, error=sent.outcome.error)
    else:
        log("later", **shown, error=sent.outcome.error, pause_s=round(sent.outcome.pause.total_seconds(), 1))


def _receiver(connection: psycopg.Connection, name: str, now: datetime) -> Receiver:
    rows = read_policy(connection, now)
    body = next((row.body for row in rows if row.kind == "receiver" and row.name == name), None)
    if body is None:
        raise ReceiverError(f"receiver {name} is not in the alert policy; put it there: `tidemark catalog apply`.")
    return receiver_of(name, body)
