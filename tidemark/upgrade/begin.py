"""Where a new version begins: no period in which anything may still be counted is left to the old one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from psycopg import sql

from tidemark.billing.periods import HEARTBEAT_CUSTOMER
from tidemark.core import postgres
from tidemark.core.errors import UsageError
from tidemark.core.kafka import end_offsets, offsets_at
from tidemark.core.settings import Settings
from tidemark.core.stored_catalog import stored_catalog
from tidemark.replay.run import reads_from
from udfs.calendars.calendar import UTC_MONTH, CalendarError, parse_calendar
from udfs.calendars.localtime import LocalCalendar
from udfs.catalog.model import CalendarDef
from udfs.values import epoch_ms, instant, rfc3339

# Nobody is billed for heartbeats, so their periods never close.
_UNCLOSED = """
SELECT min(period_start) FROM {schema}.usage_period u
WHERE (u.tenant_id, u.customer_id) <> (%(tenant)s, %(customer)s) AND NOT EXISTS (
    SELECT FROM {schema}.period_close c
    WHERE (c.tenant_id, c.customer_id, c.period_start) = (u.tenant_id, u.customer_id, u.period_start)
)
"""


def begin(settings: Settings) -> datetime:
    """First event time of a new version of all that is not closed, or may still get an event.

    Raises
    ------
    UnavailableError
        Postgres does not answer.
    """
    names, beats = settings.names, {"tenant": settings.heartbeat.tenant, "customer": HEARTBEAT_CUSTOMER}
    statement = sql.SQL(_UNCLOSED).format(schema=sql.Identifier(names.billing_schema))
    with postgres.connect(settings.postgres.ops) as connection:
        (unclosed,) = connection.execute(statement, beats).fetchall()[0]
    changeable = datetime.now(UTC) - timedelta(milliseconds=settings.events.dedupe_ttl_ms)
    return earliest(unclosed, _calendars(settings), changeable)


def _calendars(settings: Settings) -> Sequence[CalendarDef]:
    with stored_catalog(settings) as source:
        return source.snapshot().calendars


def earliest(unclosed: datetime | None, known: Iterable[CalendarDef], changeable: datetime) -> datetime:
    """Start of the earliest period that is not closed, or in which an event may come.

    Parameters
    ----------
    unclosed:
        Start of the earliest period with usage that is not closed; None where there is none.
    known:
        Calendars of customers: one without usage may have its first tomorrow, in a period that began long ago.
    changeable:
        Earliest event time of which a record may still be counted.
    """
    starts = [_start(calendar, changeable) for calendar in (UTC_MONTH, *_usable(known, changeable))]
    return min(start for start in (*starts, unclosed) if start is not None)


def _usable(known: Iterable[CalendarDef], changeable: datetime) -> Iterator[LocalCalendar]:
    """Calendars that hold at an instant or later; one that cannot be used counts nothing."""
    for one in known:
        if one.valid_to_ms > epoch_ms(changeable):
            try:
                yield parse_calendar(one.anchor, one.interval, one.timezone, one.boundaries)
            except CalendarError:
                continue


def _start(calendar: LocalCalendar, at: datetime) -> datetime | None:
    try:
        return instant(calendar.period_at(epoch_ms(at)).start_ms)
    except CalendarError:
        # Its boundaries are all before or after: no period, and nothing is counted.
        return None


def refuse_removed(settings: Settings, first: datetime) -> None:
    """Refuse to begin at an event time whose records Kafka may have removed already.

    Raises
    ------
    UsageError
        Names the partitions.
    """
    topic = settings.topics.events
    since = reads_from(settings, first)
    gone = cut(offsets_at(settings.kafka, topic, None), offsets_at(settings.kafka, topic, since),
               end_offsets(settings.kafka, topic))  # fmt: skip
    if gone:
        arrival = f"what arrived since {rfc3339(since)}" if since else "all"
        raise UsageError(
            f"a new version from {rfc3339(first)} on reads {arrival} of {topic}, and Kafka may have removed some of it "
            f"in partitions {', '.join(map(str, gone))}.",
            "close what is due (`tidemark close`), so that it may begin later; or name a later begin with --from: what "
            "is in earlier periods is then counted by the old jobs alone, which must run on.",
        )


def cut(begins: Mapping[int, int], since: Mapping[int, int], ends: Mapping[int, int]) -> list[int]:
    """Partitions that have lost records, and of which no record is left from before an instant.

    Parameters
    ----------
    begins, ends:
        First offset there is, and the one after the last.
    since:
        First offset that arrived at the instant or later.
    """
    return sorted(part for part, first in begins.items() if 0 < first == since[part] < ends[part])
