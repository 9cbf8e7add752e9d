"""Handler that responds to an alert by notifying another system: dunning, a task for somebody, a hold on payments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import LiteralString

import psycopg
from psycopg.types.json import Jsonb

from tidemark.catalog.policy import read_policy
from tidemark.core.errors import UsageError
from tidemark.responses.handler import Start
from udfs.alerts.event import Alert, Severity, fingerprint, to_event

_NOTIFY: LiteralString = """
INSERT INTO notification (notification_id, receiver, kind, alert_ids, alert_sources, body, due_at)
VALUES (%s, %s, %s, %s, %s, %s, clock_timestamp())
ON CONFLICT (notification_id) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Notify:
    """Handler: an alert of some types becomes a notification to one receiver, and so does the end of its condition.

    It is delivered as every notification is: signed, retried, with an idempotency key; it takes nothing from the
    budget of the receiver, and no route, maintenance window or suppression applies to it.

    Parameters
    ----------
    name:
        Names this response.
    receiver:
        Receiver of the alert policy that is notified.
    types, severities, tenants:
        Which alerts: globs of types, and names; an empty list means any.
    """

    name: str
    receiver: str
    types: Sequence[str] = ()
    severities: Sequence[Severity] = ()
    tenants: Sequence[str] = ()

    @property
    def start(self) -> Start:
        """Nobody is notified of old alerts."""
        return "end"

    def wants(self, alert: Alert) -> bool:
        """Whether type, severity and tenant are among those named."""
        typed = not self.types or any(fnmatchcase(alert.type, glob) for glob in self.types)
        severe = not self.severities or alert.severity in self.severities
        return typed and severe and (not self.tenants or alert.tenant_id in self.tenants)

    def begin(self, connection: psycopg.Connection, alert: Alert) -> None:
        """Notify the receiver that the condition started."""
        self._notify(connection, alert)

    def undo(self, connection: psycopg.Connection, alert: Alert) -> None:
        """Notify the receiver that it ended; the receiver undoes what it did at the start."""
        self._notify(connection, alert)

    def sync(self, connection: psycopg.Connection) -> int:  # noqa: ARG002  the protocol's
        """Nothing: the role `deliver` sends what is in the table."""
        return 0

    def close(self) -> None:
        """Nothing is kept open."""

    def _notify(self, connection: psycopg.Connection, alert: Alert) -> None:
        key = fingerprint("response", self.name, self.receiver, alert.source, alert.id, alert.status)
        body = {
            "status": alert.status,
            "severity": alert.severity,
            "group_key": f"{self.name}/{alert.fingerprint}",
            "summary": alert.summary,
            # The intake of alerts may not have stored it yet.
            "alerts": [to_event(alert)],
            "digest": False,
        }
        kind = kind_of(connection, self.receiver)
        connection.execute(_NOTIFY, [key, self.receiver, kind, [alert.id], [alert.source], Jsonb(body)])


def kind_of(connection: psycopg.Connection, receiver: str) -> str:
    """Kind of a receiver, as the alert policy has it now.

    Raises
    ------
    UsageError
        There is no receiver of that name; no alert is skipped meanwhile.
    """
    rows = read_policy(connection, datetime.now(UTC))
    kinds = [str(row.body["kind"]) for row in rows if row.kind == "receiver" and row.name == receiver]
    if not kinds:
        raise UsageError(f"receiver {receiver} is not in the alert policy.", "put it there: `tidemark catalog apply`.")
    return kinds[0]
