"""A condition of the whole pipeline: reported to `usage.alerts` once when it begins, and once when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from tidemark.core.kafka import Sender
from tidemark.core.names import Names
from tidemark.core.settings import Settings
from udfs.alerts.event import Alert, Status, id_of, to_json
from udfs.values import epoch_ms, rfc3339

# A broker restart takes about 10 s; what could not be sent by then is sent by the next run.
SEND_STALL_S = 20.0
_BEGIN = """
INSERT INTO {table} (since, evidence) VALUES (clock_timestamp(), %s) ON CONFLICT DO NOTHING
"""
_END = "UPDATE {table} SET resolved_at = clock_timestamp() WHERE resolved_at IS NULL"
_UNANNOUNCED = """
SELECT since, evidence, announced_at IS NOT NULL, resolved_at FROM {table}
WHERE announced_at IS NULL OR (resolved_at IS NOT NULL AND resolved_announced_at IS NULL)
ORDER BY since
"""
_ANNOUNCED = """
UPDATE {table} SET announced_at = coalesce(announced_at, clock_timestamp()),
    resolved_announced_at = CASE WHEN resolved_at IS NOT NULL
        THEN coalesce(resolved_announced_at, clock_timestamp()) END
WHERE since = %s AND resolved_at IS NOT DISTINCT FROM %s
"""


class Made(Protocol):
    """Makes the alert of a condition."""

    def __call__(self, status: Status, *, evidence: Mapping[str, Any], at_ms: int, event_id: str) -> Alert:
        """The alert of its begin (`firing`) or end (`resolved`)."""
        ...


@dataclass(frozen=True, slots=True)
class Alarm:
    """One condition, of which at most one runs at a time.

    Parameters
    ----------
    table:
        Of the schema of the ledger, with the columns of `reconcile_alarm`.
    type:
        Type of the alert, which is its Kafka key too.
    make:
        Makes the alert.
    ended:
        Evidence of its end, beside `since`.
    """

    table: str
    type: str
    make: Made
    ended: Mapping[str, Any]

    def follow(self, connection: psycopg.Connection, names: Names, evidence: Mapping[str, Any] | None) -> None:
        """Begin with this evidence, or end (None); what runs goes on. Nothing is sent yet."""
        if evidence is None:
            connection.execute(self._sql(_END, names))
        else:
            connection.execute(self._sql(_BEGIN, names), [Jsonb(evidence)])

    def announce(self, connection: psycopg.Connection, settings: Settings) -> int:
        """Send what is stored and not reported, from before a crash too: the same row makes the same alert. How many.

        Raises
        ------
        UnavailableError
            Kafka is away; it is reported by the next run.
        """
        rows = connection.execute(self._sql(_UNANNOUNCED, settings.names)).fetchall()
        texts = [text for row in rows for text in self._texts(settings, *row)]
        if texts:
            with Sender(settings.kafka, SEND_STALL_S) as sender:
                for text in texts:
                    sender.send(settings.names.alerts, text.encode(), key=self.type.encode())
        for since, _, _, resolved_at in rows:
            connection.execute(self._sql(_ANNOUNCED, settings.names), [since, resolved_at])
        return len(texts)

    def _texts(
        self, settings: Settings, since: datetime, evidence: Mapping[str, Any], announced: bool,
        resolved_at: datetime | None,
    ) -> list[str]:  # fmt: skip
        found = [] if announced else [self._alert(settings, since, "firing", since, evidence)]
        if resolved_at is not None:
            shown = {**self.ended, "since": rfc3339(since)}
            found.append(self._alert(settings, since, "resolved", resolved_at, shown))
        return found

    def _alert(
        self, settings: Settings, since: datetime, status: Status, at: datetime, evidence: Mapping[str, Any]
    ) -> str:
        event_id = id_of(settings.names.alerts, self.type, since.astimezone(UTC).isoformat(), status)
        return to_json(self.make(status, evidence=evidence, at_ms=epoch_ms(at), event_id=event_id))

    def _sql(self, statement: str, names: Names) -> sql.Composed:
        return sql.SQL(statement).format(table=sql.Identifier(names.billing_schema, self.table))
