"""Alarms in Postgres: stored first, announced to the topic of alerts then, so that none is lost or sent twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from tidemark.core.kafka import Sender
from tidemark.core.names import Names
from tidemark.core.settings import Settings
from udfs.alerts.event import Alert, Status, to_json

# A broker restart takes about 10 s; what could not be sent by then is sent by the next call.
SEND_STALL_S = 20.0

_FIRING = "SELECT {keys} since, evidence, announced_at IS NOT NULL, resolved_at FROM {table} WHERE resolved_at IS NULL"
_BEGIN = "INSERT INTO {table} ({keys} since, evidence) VALUES ({values} clock_timestamp(), %s) ON CONFLICT DO NOTHING"
_END = "UPDATE {table} SET resolved_at = clock_timestamp() WHERE resolved_at IS NULL {of_key}"
_UNANNOUNCED = """
SELECT {keys} since, evidence, announced_at IS NOT NULL, resolved_at FROM {table}
WHERE announced_at IS NULL OR (resolved_at IS NOT NULL AND resolved_announced_at IS NULL)
ORDER BY {keys_last}
"""
_ANNOUNCED = """
UPDATE {table} SET announced_at = coalesce(announced_at, clock_timestamp()),
    resolved_announced_at = CASE WHEN resolved_at IS NOT NULL
        THEN coalesce(resolved_announced_at, clock_timestamp()) END
WHERE since = %s AND resolved_at IS NOT DISTINCT FROM %s {of_key}
"""

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """An alarm.

    Parameters
    ----------
    key:
        What it is about; empty where its table has one at a time.
    since, evidence:
        When it began, by the clock of the database, and figures of that moment.
    announced:
        Whether the brokers have the alert of its begin.
    resolved_at:
        When it ended; None while it runs.
    """

    key: Key
    since: datetime
    evidence: Mapping[str, Any]
    announced: bool = False
    resolved_at: datetime | None = None


class Make(Protocol):
    """Makes the alert of the begin (`firing`) or the end (`resolved`) of an alarm; of the same one the same alert."""

    def __call__(self, topic: str, stored: Stored, status: Status) -> Alert:
        """The alert, as it is sent to `topic`."""
        ...


@dataclass(frozen=True, slots=True)
class Alarms:
    """The alarms of a table, of which one of each key runs at a time.

    Parameters
    ----------
    table:
        Table with the columns since, evidence, announced_at, resolved_at and resolved_announced_at.
    schema:
        Which schema of a run has it.
    make:
        Makes the alerts.
    keys:
        Its columns that say what an alarm is about.
    """

    table: str
    schema: Callable[[Names], str]
    make: Make
    keys: tuple[str, ...] = ()

    def begin(self, connection: psycopg.Connection, names: Names, evidence: Mapping[str, Any], key: Key = ()) -> None:
        """Store that one begins, if none of its key runs; not announced yet."""
        connection.execute(self._sql(_BEGIN, names), [*key, Jsonb(evidence)])

    def end(self, connection: psycopg.Connection, names: Names, key: Key = ()) -> None:
        """Store that the one of a key ends; not announced yet."""
        connection.execute(self._sql(_END, names), key)

    def firing(self, connection: psycopg.Connection, names: Names) -> list[Stored]:
        """Those that run, the oldest first."""
        found = [self._stored(row) for row in connection.execute(self._sql(_FIRING, names))]
        return sorted(found, key=lambda stored: stored.since)

    def announce(self, connection: psycopg.Connection, settings: Settings) -> int:
        """Send what is stored and not announced, from before a crash too: the same row makes the same alert. How many.

        Raises
        ------
        UnavailableError
            Kafka is down; the next call sends it.
        """
        names = settings.names
        waiting = [self._stored(row) for row in connection.execute(self._sql(_UNANNOUNCED, names))]
        made = [alert for stored in waiting for alert in self.alerts_of(names.alerts, stored)]
        if made:
            with Sender(settings.kafka, SEND_STALL_S) as sender:
                for alert in made:
                    sender.send(names.alerts, to_json(alert).encode(), key=alert.type.encode())
        for stored in waiting:
            connection.execute(self._sql(_ANNOUNCED, names), [stored.since, stored.resolved_at, *stored.key])
        return len(made)

    def alerts_of(self, topic: str, stored: Stored) -> list[Alert]:
        """Alerts of an alarm that are still to be sent, in their order."""
        made = [] if stored.announced else [self.make(topic, stored, "firing")]
        return made if stored.resolved_at is None else [*made, self.make(topic, stored, "resolved")]

    def _stored(self, row: Sequence[Any]) -> Stored:
        return Stored(tuple(row[: len(self.keys)]), *row[len(self.keys) :])

    def _sql(self, statement: str, names: Names) -> sql.Composed:
        keys = [sql.Identifier(key) for key in self.keys]
        return sql.SQL(statement).format(
            table=sql.Identifier(self.schema(names), self.table),
            keys=sql.SQL("").join(sql.SQL("{}, ").format(key) for key in keys),
            values=sql.SQL("%s, ") * len(keys),
            keys_last=sql.SQL(", ").join([sql.Identifier("since"), *keys]),
            of_key=sql.SQL("").join(sql.SQL(" AND {} = %s").format(key) for key in keys),
        )
