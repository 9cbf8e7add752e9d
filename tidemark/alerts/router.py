"""The alert router: takes alerts in order, suppresses what the policy says, puts the rest into notifications."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal, Protocol

from tidemark.alerts.grouping import DAY_MS, day_of, digest_id, due_ms, firing_id, group_key, resolved_id, window_ms
from tidemark.alerts.notification import Notification
from tidemark.alerts.policy import Policy, Receiver, ReceiverKind
from udfs.alerts.event import Alert, Severity, Status, to_event
from udfs.values import rfc3339

# Of an alert: in a notification or digest; suppressed by a rule; without receivers; taken before.
Outcome = Literal["notified", "suppressed", "unrouted", "known"]

ENDED_BEFORE = "its end, which was read before it"
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


class AlertStore(Protocol):
    """State between alerts; written in one transaction with how far the topic was read."""

    def record(self, alert: Alert, severity: Severity, key: str, suppressed_by: str | None) -> bool:
        """Store an alert; False where it was stored before."""

    def suppress(self, alert: Alert, suppressed_by: str) -> None:
        """Record what suppressed a stored alert."""

    def earlier(self, fingerprint: str) -> Sequence[Earlier]:
        """Stored alerts with this fingerprint."""

    def still_firing(self, alert_ids: Sequence[str], at_ms: int) -> int:
        """How many of these have no end yet, and a period that has not ended at an instant."""

    def find(self, notification_id: str) -> Notification | None:
        """The notification of this id, not to be sent by anybody before the transaction ends if it is open."""

    def containing(self, alert_id: str) -> Sequence[Notification]:
        """All notifications that contain an alert, by id."""

    def put(self, notification: Notification) -> None:
        """Note a notification that is new or has changed."""

    def changed(self) -> Iterable[Notification]:
        """Notifications that were put and are not written yet."""

    def budget(self, receiver: str, day_ms: int) -> Budget:
        """The budget of a receiver and day, to be changed in place."""


class AlertRouter:
    """Decides about one alert after the other; all of its state is in the store.

    Parameters
    ----------
    alert_store:
        What was decided so far.
    policy_at:
        The policy that holds at an instant, UTC epoch ms.
    wait_ms:
        Length of the windows in which related alerts are one notification.
    """

    def __init__(self, alert_store: AlertStore, policy_at: Callable[[int], Policy], wait_ms: int) -> None:
        self._store = alert_store
        self._policy_at = policy_at
        self._wait_ms = wait_ms

    def take(
        self, alert: Alert, severity: Severity, now_ms: int, kinds: Collection[ReceiverKind] | None = None
    ) -> Outcome:
        """Decide about an alert, given its severity by impact and the clock that notifications become due by.

        `kinds`: of an end, who is notified of it; None: whoever was notified of the start.
        """
        before = self._store.earlier(alert.fingerprint)
        if alert.status == "firing":
            return self._begin(alert, severity, before, now_ms)
        return self._end(alert, severity, before, now_ms, kinds)

    def finish(self) -> None:
        """Count for every end how much of its group still fires: once, when all that was read is taken."""
        for notification in [changed for changed in self._store.changed() if changed.resolves]:
            resolved = self._store.find(notification.resolves or "")
            if resolved is not None:
                notification.remaining = self._store.still_firing(resolved.alert_ids, notification.due_ms)

    def _begin(self, alert: Alert, severity: Severity, before: Sequence[Earlier], now_ms: int) -> Outcome:
        policy = self._policy_at(alert.at_ms)
        over = any(one.status == "resolved" and one.at_ms >= alert.at_ms for one in before)
        suppressed_by = ENDED_BEFORE if over else policy.suppressed_by(alert, severity)
        if not self._store.record(alert, severity, group_key(alert, self._wait_ms), suppressed_by):
            return "known"
        if suppressed_by is not None:
            return "suppressed"
        receivers = policy.receivers_of(alert, severity)
        over_budget = [one.name for one in receivers if not self._notify(alert, severity, one, now_ms)]
        if over_budget:
            self._store.suppress(alert, f"budget of {', '.join(over_budget)}")
        return "notified" if receivers else "unrouted"

    def _notify(self, alert: Alert, severity: Severity, receiver: Receiver, now_ms: int) -> bool:
        """Join the group, or start it; False where the budget is spent and the digest has it."""
        key = group_key(alert, self._wait_ms)
        due = due_ms(alert, self._wait_ms, now_ms)
        part = self._part(lambda part: firing_id(receiver.name, key, part), now_ms)
        # Step 1: the first of a group that is critical does not wait for the others.
        if severity == "critical" and self._store.find(firing_id(receiver.name, key, 0)) is None:
            part, due = 0, now_ms
        # Step 2: a group that is open costs nothing more.
        name = firing_id(receiver.name, key, part)
        notification = self._store.find(name)
        if notification is None:
            budget = self._store.budget(receiver.name, day_of(due))
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
        digest = self._store.find(name) or Notification(
            name, receiver.name, receiver.kind, "firing", key, day_ms + DAY_MS, digest=True
        )
        self._store.budget(receiver.name, day_ms).digested += 1
        self._add(digest, alert, severity)

    def _end(
        self, alert: Alert, severity: Severity, before: Sequence[Earlier], now_ms: int,
        kinds: Collection[ReceiverKind] | None,
    ) -> Outcome:  # fmt: skip
        start = max((one for one in before if one.status == "firing"), key=lambda one: one.at_ms, default=None)
        key = start.group_key if start else group_key(alert, self._wait_ms)
        suppressed_by = start.suppressed_by if start else None
        if not self._store.record(alert, severity, key, suppressed_by):
            return "known"
        # Who was notified of the start is notified of the end, whatever window or budget there is now; nobody else is.
        containing = self._store.containing(start.alert_id) if start else []
        notified = [
            one for one in containing if not one.dead and _from_router(one) and (kinds is None or one.kind in kinds)
        ]
        for notification in notified:
            self._notify_end(notification, alert, severity, now_ms)
        return "notified" if notified else "suppressed" if suppressed_by else "unrouted"

    def _notify_end(self, notification: Notification, alert: Alert, severity: Severity, now_ms: int) -> None:
        if notification.digest:
            # A digest opens no incident that an end would close: it lists the end while it is not sent.
            if notification.is_open(now_ms):
                self._store.budget(notification.receiver, notification.due_ms - DAY_MS).digested += 1
                self._add(notification, alert, severity)
            return
        start, _ = window_ms(alert.at_ms, self._wait_ms)
        part = self._part(lambda part: resolved_id(notification.notification_id, start, part), now_ms)
        name = resolved_id(notification.notification_id, start, part)
        end = self._store.find(name)
        if end is None:
            due = max(due_ms(alert, self._wait_ms, now_ms), notification.due_ms)
            self._store.budget(notification.receiver, day_of(due)).sent += 1
            end = Notification(name, notification.receiver, notification.kind, "resolved", notification.group_key, due)
        end.group_key, end.resolves = notification.group_key, notification.notification_id
        self._add(end, alert, severity)

    def _part(self, name: Callable[[int], str], now_ms: int) -> int:
        """The first part of a group that is open, or does not exist yet."""
        for part in count(FIRST_PART):
            notification = self._store.find(name(part))
            if notification is None or notification.is_open(now_ms):
                return part
        raise AssertionError

    def _add(self, notification: Notification, alert: Alert, severity: Severity) -> None:
        notification.add(to_event(alert), severity)
        self._store.put(notification)


def _from_router(notification: Notification) -> bool:
    """Whether the router made it: automated responses write notifications too, and those of the end themselves."""
    key, _, part = notification.group_key.rpartition("|")
    named = part.isdigit() and notification.notification_id == firing_id(notification.receiver, key, int(part))
    return notification.digest or named
