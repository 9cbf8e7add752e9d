"""A notification: a group of alerts for one receiver, open for more of them until it is due."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tidemark.alerts.grouping import DAY_MS, summary, worst
from tidemark.alerts.policy import ReceiverKind
from udfs.alerts.event import Severity, Status
from udfs.values import rfc3339

# Alerts that a notification shows whole, about 1.5 KiB each; it counts and names the ids of all.
LISTED = 500


@dataclass(slots=True)
class Notification:
    """One message to one receiver.

    Parameters
    ----------
    notification_id:
        Idempotency key; see `tidemark.alerts.grouping`.
    receiver, kind:
        To whom, and by which protocol.
    status:
        Whether its alerts fire or are resolved; a digest has both kinds and is `firing`.
    group_key:
        The same for a notification and for those that resolve it.
    due_ms:
        When it is to be sent, UTC epoch ms; no alert joins it from then on.
    severity:
        The worst of its alerts.
    alert_ids, sources, events:
        Ids and sources of all alerts, which are the key of a stored one; the first LISTED alerts as CloudEvents.
    digest:
        Whether it is what was beyond the budget of a day.
    closed, dead:
        Whether sending has started; whether it was given up.
    resolves:
        Id of the notification that announced what ends here.
    remaining:
        How many alerts of that notification fire still.
    """

    notification_id: str
    receiver: str
    kind: ReceiverKind
    status: Status
    group_key: str
    due_ms: int
    severity: Severity = "info"
    alert_ids: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    digest: bool = False
    closed: bool = False
    dead: bool = False
    resolves: str | None = None
    remaining: int = 0

    def is_open(self, now_ms: int) -> bool:
        """Whether alerts may still join."""
        return not self.closed and not self.dead and self.due_ms > now_ms

    def add(self, event: dict[str, Any], severity: Severity) -> None:
        """Add an alert, as a CloudEvent."""
        self.alert_ids.append(event["id"])
        self.sources.append(event["source"])
        if len(self.events) < LISTED:
            self.events.append(event)
        self.severity = worst((self.severity, severity))

    def body(self) -> dict[str, Any]:
        """The neutral document that the mappings to receivers read, without its alerts: those are stored once.

        Ends of a part of a group have a key of their own: the condition that a receiver keeps under the key of the
        group is over only when nothing of the group fires any more.
        """
        return {
            "status": self.status,
            "severity": self.severity,
            "group_key": f"{self.group_key}|partly" if self.remaining else self.group_key,
            "summary": self._summary(),
            "digest": self.digest,
        }

    def _summary(self) -> str:
        count = len(self.alert_ids)
        if self.digest:
            return f"{count} alerts beyond the budget of {rfc3339(self.due_ms - DAY_MS)[:10]}"
        text = summary(self.events, count, self.status)
        return f"{text} ({self.remaining} of the group still firing)" if self.remaining else text
