"""Delivery: due notifications to their receivers, each until it is taken or given up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from tidemark.catalog.policy import read_policy
from tidemark.core.postgres import Database
from tidemark.core.service import Service, logger
from tidemark.core.settings import Settings
from tidemark.delivery import store
from tidemark.delivery.document import of_body
from tidemark.delivery.http import SendError, post
from tidemark.delivery.message import Message, Receiver, ReceiverError, message_of, receiver_of
from tidemark.delivery.outcome import Attempt, Dead, Delivered, Outcome, of_failure, of_response
from tidemark.delivery.reach import reach_of
from tidemark.delivery.receiver_keys import keys_of

log = logger("deliver")

# Pause when no notification is due.
POLL_S = 1.0
# A lease outlives its attempt by what Postgres may take to record the outcome, also in a second try.
LEASE_MARGIN = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Sent:
    """An attempt that was made, and what became of it; `recorded`: unless its lease had ended, and another is made."""

    notification_id: str
    receiver: str
    attempt: int
    outcome: Outcome
    recorded: bool = True


class DeliveryWorker:
    """Sends notifications of a run one after the other; any number of workers may run at once.

    A notification is leased in one transaction, sent outside of any, and what became of it is recorded in a second one.
    A worker that dies between the two leaves it due: when the lease has ended it is sent again with the same
    `Idempotency-Key` (PagerDuty: the same dedup_key, Alertmanager: the same labels). A Slack message may then be seen
    twice.

    Parameters
    ----------
    settings:
        Postgres, the run, attempts and time-outs, the folder of secrets and where notifications may go.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reach = reach_of(settings.delivery)
        self._database = Database(settings.postgres.ops, "deliver", settings.names.usage_schema)
        # What became of an attempt and could not be recorded.
        self._unrecorded: tuple[store.Due, Outcome] | None = None

    def step(self) -> Sent | None:
        """Make one attempt; None where nothing is due.

        Raises
        ------
        UnavailableError
            Postgres cannot be reached; the outcome of what was sent is recorded by the next step, or the attempt is
            made again when its lease has ended.
        TidemarkError
            The database has no tables.
        """
        # Step 1: record what an earlier step could not.
        if self._unrecorded is not None:
            return self._record(*self._unrecorded)
        # Step 2: lease what is due, and read who gets it, as the policy describes it now.
        taken = self._database.run(self._take)
        if taken is None:
            return None
        due, policy_body = taken
        # Step 3: send it, while nothing in the database is held.
        attempt = Attempt(due.notification_id, due.attempt, self._settings.delivery.attempts)
        outcome = self._outcome(due, policy_body, attempt)
        # Step 4: record the outcome; the lease ends with it.
        self._unrecorded = due, outcome
        return self._record(due, outcome)

    def close(self) -> None:
        """Give all connections back."""
        self._database.close()

    def _take(self, connection: psycopg.Connection) -> tuple[store.Due, Mapping[str, Any] | None] | None:
        lease_for = timedelta(milliseconds=self._settings.delivery.timeout_ms) + LEASE_MARGIN
        with connection.transaction():
            due = store.take(connection, self._settings.names.usage_schema, lease_for)
            return None if due is None else (due, _policy_body(connection, due.receiver, datetime.now(UTC)))

    def _record(self, due: store.Due, outcome: Outcome) -> Sent:
        recorded = self._database.run(lambda connection: store.record_outcome(connection, due, outcome))
        self._unrecorded = None
        return Sent(due.notification_id, due.receiver, due.attempt, outcome, recorded)

    def _outcome(self, due: store.Due, policy_body: Mapping[str, Any] | None, attempt: Attempt) -> Outcome:
        if attempt.number > attempt.limit:
            # The last attempt ended with its worker, or fewer are allowed now.
            return Dead(f"given up after {attempt.number - 1} attempts: {due.last_error or 'no outcome was recorded'}")
        now = datetime.now(UTC)
        try:
            receiver = _receiver(due.receiver, policy_body)
            keys = keys_of(receiver, self._settings.delivery.secrets_dir)
        except ReceiverError as error:
            return of_failure(attempt, str(error))
        try:
            message = message_of(receiver, of_body(due.notification_id, due.body), keys, int(now.timestamp()))
        except (ValueError, TypeError, KeyError) as error:
            return Dead(f"cannot be sent as {receiver.kind}: {error}"[:300])
        return self._sent(message, keys, attempt)

    def _sent(self, message: Message, keys: tuple[str, ...], attempt: Attempt) -> Outcome:
        try:
            response = post(message, keys, self._settings.delivery.timeout_ms / 1_000, self._reach)
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
    if not sent.recorded:
        log("lease ended", level="warning", **shown)
    elif isinstance(sent.outcome, Delivered):
        log("delivered", **shown)
    elif isinstance(sent.outcome, Dead):
        log("dead", **shown, error=sent.outcome.error)
    else:
        log("later", **shown, error=sent.outcome.error, pause_s=round(sent.outcome.pause.total_seconds(), 1))


def _policy_body(connection: psycopg.Connection, name: str, now: datetime) -> Mapping[str, Any] | None:
    rows = read_policy(connection, now)
    return next((row.body for row in rows if row.kind == "receiver" and row.name == name), None)


def _receiver(name: str, body: Mapping[str, Any] | None) -> Receiver:
    if body is None:
        raise ReceiverError(f"receiver {name} is not in the alert policy; put it there: `tidemark catalog apply`.")
    return receiver_of(name, body)
