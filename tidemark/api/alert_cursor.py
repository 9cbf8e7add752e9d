"""Which alerts of a stream were sent: pure.

An alert that is committed later may have been received earlier, so the last OVERLAP_S are read again each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

OVERLAP_S = 10


class Received(NamedTuple):
    """An alert of the table: when it was received, what identifies it, and the CloudEvent."""

    at: datetime
    alert_id: str
    source: str
    event: dict[str, Any]


class AlertCursor:
    """How far a stream has come; alerts that were received up to `after` were sent before it began.

    Parameters
    ----------
    after:
        By the clock of the database.
    """

    def __init__(self, after: datetime) -> None:
        self._after = after
        self._seen: set[tuple[str, str]] | None = None

    @property
    def since(self) -> datetime:
        """Alerts that were received later are to be read."""
        return self._after - timedelta(seconds=OVERLAP_S)

    def new(self, rows: Sequence[Received]) -> list[Received]:
        """Of alerts that were read, those that were not sent; they count as sent from now on."""
        keys = {(row.alert_id, row.source) for row in rows}
        if self._seen is None:
            self._seen = {(row.alert_id, row.source) for row in rows if row.at <= self._after}
        new = [row for row in rows if (row.alert_id, row.source) not in self._seen]
        self._seen = keys
        self._after = max([self._after, *(row.at for row in new)])
        return new
