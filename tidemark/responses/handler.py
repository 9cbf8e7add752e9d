"""What an automated response is: a handler says which alerts it answers, what it does, and how that is undone."""

from __future__ import annotations

from typing import Literal, Protocol

import psycopg

from udfs.alerts.event import Alert

# Where a handler that has never read begins: where conditions of the past still hold, or where only news counts.
Start = Literal["beginning", "end"]


class Handler(Protocol):
    """An automated response; the responder calls it once per alert, and remembers that it did.

    `begin` and `undo` write to Postgres alone, inside the transaction that also keeps the offset: all of it happens, or
    none. What is done elsewhere is made level with the tables by `settle`, which is repeated and may fail.
    """

    @property
    def name(self) -> str:
        """Names it among all handlers; its offsets and responses are kept under it."""

    @property
    def start(self) -> Start:
        """Where it begins to read when it has never read."""

    def wants(self, alert: Alert) -> bool:
        """Whether it answers this beginning of a condition; pure, and the same whenever it is asked."""

    def begin(self, connection: psycopg.Connection, alert: Alert) -> None:
        """Answer a condition that began; called once per alert id, and not while an answer to the condition stands."""

    def undo(self, connection: psycopg.Connection, alert: Alert) -> None:
        """Take the answer back: `alert` is the end of a condition whose beginning was answered."""

    def settle(self, connection: psycopg.Connection) -> int:
        """Make what is outside Postgres level with the tables; returns how much had to be changed.

        Raises
        ------
        UnavailableError
            It cannot be reached; asked again in a few seconds.
        """

    def close(self) -> None:
        """Give back what it keeps open."""
