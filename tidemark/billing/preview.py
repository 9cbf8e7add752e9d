"""What a close would write, without writing any of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from tidemark.billing import close, guard, heartbeat, store
from tidemark.billing.decide import Wish, decide
from tidemark.billing.lines import PeriodKey
from tidemark.billing.refusals import Refusal
from tidemark.billing.sources import Feed, Say, settled
from tidemark.billing.true_up import true_up
from tidemark.core.postgres import connect
from tidemark.core.settings import Settings

_USED = """
SELECT tenant_id, customer_id, period_start, period_end
FROM unnest(%s::text[], %s::text[], %s::timestamptz[], %s::timestamptz[])
    AS asked (tenant_id, customer_id, period_start, period_end)
WHERE EXISTS (
    SELECT FROM {schema}.usage_period u
    WHERE u.tenant_id = asked.tenant_id AND u.customer_id = asked.customer_id AND u.period_start = asked.period_start
)
"""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a close would do now.

    Parameters
    ----------
    watermark:
        Arrival watermark; None when there is none.
    accepted:
        The one that periods were closed by last; None before the first close.
    keys:
        Periods it would close, in order.
    used:
        Those of them with usage; the others would be closed with no lines, or with a level that is only held.
    corrections:
        Closed periods it would correct.
    refused:
        Why others that are due would stay open.
    silent:
        Partitions that a close would send a heartbeat into first: the watermark may go on then.
    """

    watermark: datetime | None
    accepted: datetime | None
    keys: Sequence[PeriodKey]
    used: frozenset[PeriodKey]
    corrections: int
    refused: Sequence[Refusal]
    silent: Sequence[int]


def preview(settings: Settings, wish: Wish, progress: Say | None = None) -> Preview:
    """Decide as `close` does, and change nothing: no heartbeat, close, correction, message or alarm.

    Raises
    ------
    UnavailableError
        Postgres or Kafka does not answer. A job that does not run is a refusal.
    """
    silent = heartbeat.silent(settings, datetime.now(UTC)) if heartbeat.wanted(settings) else []
    feed, why = settled(settings, progress or (lambda _: None))
    with connect(settings.postgres) as connection:
        decision = decide(connection, settings, feed, why, wish)
        return Preview(
            watermark=feed.at if feed else None,
            accepted=guard.accepted(connection, settings.names),
            keys=decision.keys,
            used=_used(connection, settings, decision.keys),
            corrections=_corrections(connection, settings, feed, wish),
            refused=decision.refused,
            silent=silent,
        )


def _used(connection: psycopg.Connection, settings: Settings, keys: Iterable[PeriodKey]) -> frozenset[PeriodKey]:
    statement = sql.SQL(_USED).format(schema=sql.Identifier(settings.names.billing_schema))
    found: set[PeriodKey] = set()
    for some in store.batches(keys):
        columns = [list(column) for column in zip(*some, strict=True)]
        found |= {PeriodKey(*row) for row in connection.execute(statement, columns)}
    return frozenset(found)


def _corrections(connection: psycopg.Connection, settings: Settings, feed: Feed | None, wish: Wish) -> int:
    count = 0
    for some in store.batches(close.changed(connection, settings, wish.scope)) if feed else ():
        entries = store.read_entries(connection, settings.names, some)
        count += len(true_up(entries, store.wanted_lines(connection, settings.names, some)).corrections)
    return count
