"""What of the stored usage quotas are compared with, read in parts: no statement grows with the installation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg

from tidemark.quotas.rules import Reading

# Rows of one slice: under a second of Postgres.
SLICE_ROWS = 100_000

_WRITTEN_END = """
SELECT updated_at FROM usage_hour
WHERE updated_at > %(since)s AND updated_at <= %(until)s
ORDER BY updated_at OFFSET %(rows)s LIMIT 1
"""
_WRITTEN = "SELECT DISTINCT hour_start FROM usage_hour WHERE updated_at > %(since)s AND updated_at <= %(until)s"
# One hour at a time, so that chunks and pages of all others are left out.
_ACTIVITY = """
SELECT tenant_id, hour_start, measurements, series
FROM tenant_activity
WHERE hour_start = %s AND updated_at > %s
"""
# Rows of open periods, read from an index in its order; values of one counter and period are in one slice.
_OPEN_END = """
SELECT period_end, tenant_id, customer_id, meter, period_start
FROM usage_period
WHERE (period_end, tenant_id, customer_id, meter, period_start) > (%s, %s, %s, %s, %s)
ORDER BY period_end, tenant_id, customer_id, meter, period_start OFFSET %s LIMIT 1
"""
_OPEN = """
SELECT tenant_id, count(*)
FROM usage_period
WHERE (period_end, tenant_id, customer_id, meter, period_start) > (%s, %s, %s, %s, %s)
  AND (period_end, tenant_id, customer_id, meter, period_start) <= (%s, %s, %s, %s, %s)
  AND part LIKE 'u%%'
GROUP BY tenant_id
"""
# A period is open as long as it is written to, too: history that is loaded, usage within grace.
_WRITTEN_LATE = """
WITH written AS (
    SELECT DISTINCT tenant_id, customer_id, meter, period_start
    FROM usage_period
    WHERE updated_at >= now() - %(quiet)s AND part LIKE 'u%%' AND period_end < %(now)s
)
SELECT p.tenant_id, count(*)
FROM usage_period p
JOIN written USING (tenant_id, customer_id, meter, period_start)
WHERE p.part LIKE 'u%%' AND p.period_end < %(now)s
GROUP BY p.tenant_id
"""
_LAST: tuple[Any, ...] = ("infinity", "", "", "", "infinity")


class UsageReader:
    """Reads, once, the usage that was written since an instant, and at all unique values of open periods.

    Parameters
    ----------
    now:
        Clock of the database when it begins; what is written later is the next reader's.
    since:
        What was written after it is read.
    quiet:
        For how long a period that has ended counts as open after it was written to.
    """

    def __init__(self, now: datetime, since: datetime, quiet: timedelta) -> None:
        self.now = now
        self._since = since
        self._quiet = quiet
        self._written_to: datetime | None = since
        self._hours: list[datetime] = []
        self._seen: set[datetime] = set()
        self._readings: list[Reading] = []
        self._unique: Counter[str] = Counter()
        self._open_to: tuple[Any, ...] | None = (now, "", "", "", "-infinity")
        self._late = False

    @property
    def readings(self) -> Sequence[Reading]:
        """Figures, once it is done."""
        unique = [Reading(tenant, "tenant_unique", count) for tenant, count in sorted(self._unique.items())]
        return [*self._readings, *unique]

    def advance(self, connection: psycopg.Connection) -> bool:
        """Read the next part; False when there is none. A part that fails is read again."""
        if self._written_to is not None:
            self._read_written(connection, self._written_to)
        elif self._hours:
            self._read_hour(connection, self._hours[-1])
        elif self._open_to is not None:
            self._read_open(connection, self._open_to)
        elif not self._late:
            self._unique.update(dict(connection.execute(_WRITTEN_LATE, {"quiet": self._quiet, "now": self.now})))
            self._late = True
        else:
            return False
        return True

    def _read_written(self, connection: psycopg.Connection, after: datetime) -> None:
        given = {"since": after, "until": self.now, "rows": SLICE_ROWS}
        cut = connection.execute(_WRITTEN_END, given).fetchone()
        end = self.now if cut is None else cut[0]
        found = {row[0] for row in connection.execute(_WRITTEN, {"since": after, "until": end})}
        self._hours += sorted(found - self._seen)
        self._seen |= found
        self._written_to = None if cut is None else end

    def _read_hour(self, connection: psycopg.Connection, hour: datetime) -> None:
        for tenant, start, measurements, series in connection.execute(_ACTIVITY, [hour, self._since]).fetchall():
            self._readings.append(Reading(tenant, "tenant_volume", measurements, start))
            self._readings.append(Reading(tenant, "tenant_series", series, start))
        self._hours.remove(hour)

    def _read_open(self, connection: psycopg.Connection, after: tuple[Any, ...]) -> None:
        end = connection.execute(_OPEN_END, [*after, SLICE_ROWS]).fetchone()
        counts = connection.execute(_OPEN, [*after, *(end or _LAST)]).fetchall()
        self._unique.update(dict(counts))
        self._open_to = end
