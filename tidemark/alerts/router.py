"""The desk: takes alerts in their order, holds back what the policy says, and puts the rest into notifications."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal, Protocol

from tidemark.alerts.grouping import DAY_MS, day_of, digest_id, due_ms, firing_id, group_key, resolved_id, window_ms
from tidemark.alerts.notification import Notification
from tidemark.alerts.policy import Policy, Receiver
from udfs.alerts.event import Alert, Severity, Status, to_json
from udfs.values import rfc3339

# What became of an alert: told, or in a digest; held back by a rule; without receivers; taken before.
Fate = Literal["told", "held", "unrouted", "known"]

OVER_ALREADY = "its end, which was read before it"
# Part 0 of a group is the alert that does not wait.
FIRST_PART = 1


@dataclass(frozen=True, slots=True)
class Earlier:
    """An alert that was taken before."""

    alert_id: str
    status: Status
    at_ms: int
    group_key: str
    suppressed_by: str | None


@dataclass(slots=True)
class Budget:
    """What a receiver got on a UTC day: notifications, and alerts in the digest."""

    sent: int = 0
    digested: int = 0


class Ledger(Protocol):
    """What is remembered between alerts; written in one transaction with how far the topic was read."""

    def record(self, alert: Alert, severity: Severity, key: str, held: str | None) -> bool:
        """Keep an alert; False where it was kept before."""

    def suppress(self, alert: Alert, held: str) -> None:
        """Say of a kept alert what held it back."""

    def earlier(self, fingerprint: str) -> Sequence[Earlier]:
        """Alerts kept with this fingerprint."""

    def still_firing(self, alert_ids: Sequence[str], at_ms: int) -> int:
        """How many of these have no end yet, and a period that has not ended at an instant."""

    def find(self, notification_id: str) -> Notification | None:
        """The notification of this id, not to be sent by anybody before the transaction ends if it is open."""

    def telling(self, alert_id: str) -> Sequence[Notification]:
        """All notifications that tell of an alert, by id."""

    def put(self, notification: Notification) -> None:
        """Keep a notification that is new or has changed."""

    def changed(self) -> Iterable[Notification]:
        """Notifications that were put and are not written yet."""

    def budget(self, receiver: str, day_ms: int) -> Budget:
        """The budget of a receiver and day, to be changed in place."""


class Desk:
    """Decides about one alert after the other; all it remembers is in the ledger.

    Parameters
    ----------
    ledger:
        What was decided so far.
    policy_at:
        The policy that holds at an instant, UTC epoch ms.
    wait_ms:
        Length of the windows in which related alerts are one notification.
    """

    def __init__(self, ledger: Ledger, policy_at: Callable[[int], Policy], wait_ms: int) -> None:
        self._ledger = ledger
        self._policy_at = policy_at
        self._wait_ms = wait_ms

    def take(self, alert: Alert, severity: Severity, now_ms: int) -> Fate:
        """Decide about an alert, given its severity by impact and the clock that notifications become due by."""
        before = self._ledger.earlier(alert.fingerprint)
        if alert.status == "firing":
            return self._begin(alert, severity, before, now_ms)
        return self._end(alert, severity, before, now_ms)

    def finish(self) -> None:
        """Say of every end how much of its group fires still: once, when all that was read is taken."""
        for notification in [one for one in self._ledger.changed() if one.answers]:
            told = self._ledger.find(notification.answers or "")
            if told is not None:
                notification.remaining = self._ledger.still_firing(told.alert_ids, notification.due_ms)

    def _begin(self, alert: Alert, severity: Severity, before: Sequence[Earlier], now_ms: int) -> Fate:
        policy = self._policy_at(alert.at_ms)
        over = any(one.status == "resolved" and one.at_ms >= alert.at_ms for one in before)
        held = OVER_ALREADY if over else policy.held_by(alert, severity)
        if not self._ledger.record(alert, severity, group_key(alert, self._wait_ms), held):
            return "known"
        if held is not None:
            return "held"
        receivers = policy.receivers_of(alert, severity)
        beyond = [one.name for one in receivers if not self._tell(alert, severity, one, now_ms)]
        if beyond:
            self._ledger.suppress(alert, f"budget of {', '.join(beyond)}")
        return "told" if receivers else "unrouted"

    def _tell(self, alert: Alert, severity: Severity, receiver: Receiver, now_ms: int) -> bool:
        """Join the group, or begin it; False where the budget is spent and the digest has it."""
        key = group_key(alert, self._wait_ms)
        due = due_ms(alert, self._wait_ms, now_ms)
        part = self._part(lambda part: firing_id(receiver.name, key, part), now_ms)
        # Step 1: the first of a group that is critical does not wait for the others.
        if severity == "critical" and self._ledger.find(firing_id(receiver.name, key, 0)) is None:
            part, due = 0, now_ms
        # Step 2: a group that is open costs nothing more.
        name = firing_id(receiver.name, key, part)
        notification = self._ledger.find(name)
        if notification is None:
            budget = self._ledger.budget(receiver.name, day_of(due))
            if budget.sent >= receiver.daily_budget:
                self._digest(alert, severity, receiver, day_of(due))
                return False
            budget.sent += 1
            notification = Notification(name, receiver.name, receiver.kind, "firing", f"{key}|{part}", due)
        self._add(notification, alert, severity)
        return True

    def _digest(self, alert: Alert, severity: Severity, receiver: Receiver, day_ms: int) -> None:
        """Put an alert into the one digest of the day, which is due when the day is over."""
        name = digest_id(receiver.name, day_ms)
        key = f"digest|{rfc3339(day_ms)}"
        digest = self._ledger.find(name) or Notification(
            name, receiver.name, receiver.kind, "firing", key, day_ms + DAY_MS, digest=True
        )
        self._ledger.budget(receiver.name, day_ms).digested += 1
        self._add(digest, alert, severity)

    def _end(self, alert: Alert, severity: Severity, before: Sequence[Earlier], now_ms: int) -> Fate:
        beginning = max((one for one in before if one.status == "firing"), key=lambda one: one.at_ms, default=None)
        key = beginning.group_key if beginning else group_key(alert, self._wait_ms)
        held = beginning.suppressed_by if beginning else None
        if not self._ledger.record(alert, severity, key, held):
            return "known"
        # Who was told of the beginning is told of the end, whatever window or budget there is now; nobody else is.
        telling = self._ledger.telling(beginning.alert_id) if beginning else []
        told = [one for one in telling if not one.dead and _from_desk(one)]
        for notification in told:
            self._answer(notification, alert, severity, now_ms)
        return "told" if told else "held" if held else "unrouted"

    def _answer(self, told: Notification, alert: Alert, severity: Severity, now_ms: int) -> None:
        if told.digest:
            # A digest opens nothing that an end would close: it lists the end while it is not sent.
            if told.is_open(now_ms):
                self._ledger.budget(told.receiver, told.due_ms - DAY_MS).digested += 1
                self._add(told, alert, severity)
            return
        start, _ = window_ms(alert.at_ms, self._wait_ms)
        part = self._part(lambda part: resolved_id(told.notification_id, start, part), now_ms)
        name = resolved_id(told.notification_id, start, part)
        answer = self._ledger.find(name)
        if answer is None:
            due = max(due_ms(alert, self._wait_ms, now_ms), told.due_ms)
            self._ledger.budget(told.receiver, day_of(due)).sent += 1
            answer = Notification(name, told.receiver, told.kind, "resolved", told.group_key, due)
        answer.group_key, answer.answers = told.group_key, told.notification_id
        self._add(answer, alert, severity)

    def _part(self, name: Callable[[int], str], now_ms: int) -> int:
        """The first part of a group that is open, or does not exist yet."""
        for part in count(FIRST_PART):
            found = self._ledger.find(name(part))
            if found is None or found.is_open(now_ms):
                return part
        raise AssertionError

    def _add(self, notification: Notification, alert: Alert, severity: Severity) -> None:
        event: dict[str, Any] = json.loads(to_json(alert))
        notification.add(alert.id, event, severity)
        self._ledger.put(notification)


def _from_desk(notification: Notification) -> bool:
    """Whether the desk made it: automated responses write notifications too, and tell of the end themselves."""
    key, _, part = notification.group_key.rpartition("|")
    named = part.isdigit() and notification.notification_id == firing_id(notification.receiver, key, int(part))
    return notification.digest or named
