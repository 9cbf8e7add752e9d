"""What an automated response is: a handler says which alerts it responds to, what it does, and how that is undone."""

from __future__ import annotations

from typing import Literal, Protocol

import psycopg

from udfs.alerts.event import Alert

# Where a handler starts that has never read: at alerts of the past, or at new ones.
Start = Literal["beginning", "end"]


class Handler(Protocol):
    """An automated response; the responder calls it once per alert, and stores that it did.

    `begin` and `undo` write to Postgres alone, in the transaction that also stores the offset: all of it happens, or
    nothing. `sync` brings what is elsewhere in line with the tables; it is repeated and may fail.
    """

    @property
    def name(self) -> str:
        """Name among all handlers; its offsets and responses are stored under it."""

    @property
    def start(self) -> Start:
        """Where it starts to read when it has never read."""

    def wants(self, alert: Alert) -> bool:
        """Whether it responds to this firing alert; pure, and always the same for an alert."""

    def begin(self, connection: psycopg.Connection, alert: Alert) -> None:
        """Respond to a firing alert; called once per alert id, and not while a response to its condition is active."""

    def undo(self, connection: psycopg.Connection, alert: Alert) -> None:
        """Undo the response: `alert` is the end of a condition that was responded to."""

    def sync(self, connection: psycopg.Connection) -> int:
        """Bring what is outside Postgres in line with the tables; returns how much had to be changed.

        Raises
        ------
        UnavailableError
            It cannot be reached; called again in a few seconds.
        """

    def close(self) -> None:
        """Give back what it keeps open."""
