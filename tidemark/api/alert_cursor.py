"""Which alerts of a stream were sent: pure.

An alert that is committed later may have been received earlier, so the last OVERLAP_S are read again each time, page by
page where they do not fit into one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

OVERLAP_S = 10
# Alerts that are read at once; more than one transaction of the intake holds, whose alerts have one instant.
PAGE = 1_000


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
        self._began = self._after = after
        self._since = after - timedelta(seconds=OVERLAP_S)
        # Whether all was read that was there when it began.
        self._is_level = False
        self._seen: dict[tuple[str, str], datetime] = {}

    @property
    def since(self) -> datetime:
        """Alerts that were received then or later are to be read, the first PAGE of them."""
        return self._since

    def new(self, rows: Sequence[Received]) -> list[Received]:
        """Of alerts that were read, those that were not sent; they count as sent from now on."""
        if not self._is_level:
            self._seen |= {_key(row): row.at for row in rows if row.at <= self._began}
        new = [row for row in rows if _key(row) not in self._seen]
        self._seen |= {_key(row): row.at for row in rows}
        self._after = max([self._after, *(row.at for row in new)])
        overlap = self._after - timedelta(seconds=OVERLAP_S)
        is_full = len(rows) >= PAGE
        self._is_level = self._is_level or not is_full
        self._since = rows[-1].at if is_full else overlap
        oldest = min(self._since, overlap)
        self._seen = {key: at for key, at in self._seen.items() if at >= oldest}
        return new


def _key(row: Received) -> tuple[str, str]:
    return row.alert_id, row.source
