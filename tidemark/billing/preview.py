"""Shows what a close would write, and writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from tidemark.billing import close, guard, heartbeat, store
from tidemark.billing.decide import CloseRequest, decide
from tidemark.billing.lines import PeriodKey
from tidemark.billing.refusals import Refusal
from tidemark.billing.sources import ActiveVersions, Say, drained
from tidemark.billing.true_up import true_up
from tidemark.core.postgres import connect
from tidemark.core.settings import Settings

_USED = """
SELECT tenant_id, customer_id, period_start, period_end
FROM unnest(%s::text[], %s::text[], %s::timestamptz[], %s::timestamptz[])
    AS given (tenant_id, customer_id, period_start, period_end)
WHERE EXISTS (
    SELECT FROM {schema}.usage_period u
    WHERE u.tenant_id = given.tenant_id AND u.customer_id = given.customer_id AND u.period_start = given.period_start
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
        The watermark of the last close; None before the first.
    keys:
        Periods it would close, in order.
    used:
        Those of them with usage; the others would be closed without lines, or with an unchanged level.
    corrections:
        Closed periods it would correct.
    refused:
        Why other due periods would stay open.
    silent:
        Partitions that a close would first send a heartbeat into; that may advance the watermark.
    """

    watermark: datetime | None
    accepted: datetime | None
    keys: Sequence[PeriodKey]
    used: frozenset[PeriodKey]
    corrections: int
    refused: Sequence[Refusal]
    silent: Sequence[int]


def preview(settings: Settings, request: CloseRequest, progress: Say | None = None) -> Preview:
    """Decide as `close` does, and change nothing: no heartbeat, close, correction, message or alarm.

    Raises
    ------
    UnavailableError
        Postgres or Kafka does not answer. A job that does not run is reported as a refusal.
    """
    silent = heartbeat.silent(settings, datetime.now(UTC)) if heartbeat.wanted(settings) else []
    active, why = drained(settings, progress or (lambda _: None))
    # Looking for what is due keeps the index of due periods current, which is the ledger's.
    with connect(settings.postgres.ledger) as connection:
        decision = decide(connection, settings, active, why, request)
        return Preview(
            watermark=active.at if active else None,
            accepted=guard.accepted(connection, settings.names),
            keys=decision.keys,
            used=_used(connection, settings, decision.keys),
            corrections=_corrections(connection, settings, active, request),
            refused=decision.refused,
            silent=silent,
        )


def _used(connection: psycopg.Connection, settings: Settings, keys: Iterable[PeriodKey]) -> frozenset[PeriodKey]:
    statement = sql.SQL(_USED).format(schema=sql.Identifier(settings.names.billing_schema))
    used: set[PeriodKey] = set()
    for batch in store.batches(keys):
        columns = [list(column) for column in zip(*batch, strict=True)]
        used |= {PeriodKey(*row) for row in connection.execute(statement, columns)}
    return frozenset(used)


def _corrections(
    connection: psycopg.Connection, settings: Settings, active: ActiveVersions | None, request: CloseRequest
) -> int:
    count = 0
    for batch in store.batches(close.changed(connection, settings, request.scope)) if active else ():
        entries = store.read_entries(connection, settings.names, batch)
        count += len(true_up(entries, store.wanted_lines(connection, settings.names, batch)).corrections)
    return count
