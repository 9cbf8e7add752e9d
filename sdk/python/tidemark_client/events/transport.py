"""What carries events to Tidemark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tidemark_client.events.outcome import Outcome
from tidemark_client.events.spool import Pending


class Transport(Protocol):
    """Sends batches, from one thread; the same events again and again until their outcome is known."""

    def send(self, batch: Sequence[Pending]) -> Outcome:
        """Send 1 to 1,000 events; never raises for what a network or a server does."""

    def forget(self) -> None:
        """Leave open connections to the parent, in a process that was forked, and make new ones at the next send."""

    def close(self) -> None:
        """Give connections back."""
