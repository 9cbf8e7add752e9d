"""What is closed only with an approval: a watermark that jumped, and many periods of a customer at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import datetime, timedelta

import psycopg
from psycopg import sql

from tidemark.billing.lines import PeriodKey
from tidemark.billing.refusals import Refusal
from tidemark.core.names import Names
from tidemark.core.settings import Settings
from udfs.values import rfc3339

_NAMED = 3
_SEEN = "SELECT watermark FROM {schema}.close_progress"
_ACCEPT = "UPDATE {schema}.close_progress SET watermark = %s"


def accepted(connection: psycopg.Connection, names: Names) -> datetime | None:
    """The arrival watermark of the last close; None before the first."""
    rows = connection.execute(_sql(_SEEN, names)).fetchall()
    at: datetime | None = rows[0][0] if rows else None
    return at


def accept(connection: psycopg.Connection, names: Names, watermark: datetime) -> None:
    """Store the watermark of a close: the next watermark is compared with it."""
    connection.execute(_sql(_ACCEPT, names), [watermark])


def jumped(
    settings: Settings, before: datetime | None, watermark: datetime, keys: Collection[PeriodKey]
) -> Refusal | None:
    """Refuse periods that are due by a watermark too far ahead of the last accepted one.

    One event with a wrong arrival, on a topic whose producers set it, is enough for that. Periods that were due by the
    accepted watermark are not refused. Before the first close, the oldest due period takes its place.
    """
    grace = timedelta(seconds=settings.events.grace_s)
    since = before or min((key.end + grace for key in keys), default=watermark)
    ahead = tuple(sorted(key for key in keys if before is None or key.end + grace > before))
    if watermark - since <= timedelta(days=settings.close.max_jump_days) or not ahead:
        return None
    previous = f"the last one was {rfc3339(since)}" if before else f"the first period was due at {rfc3339(since)}"
    detail = (
        f"the arrival watermark is {rfc3339(watermark)}, and {previous}: {(watermark - since).days:,} days, over "
        f"close.max_jump_days {settings.close.max_jump_days}; check with `tidemark close --dry-run --yes`, "
        "then `tidemark close --yes`"
    )
    return Refusal("watermark_jump", detail, ahead)


def too_many(settings: Settings, keys: Collection[PeriodKey]) -> Refusal | None:
    """Refuse customers with more due periods than are closed at once; the number of customers is not limited."""
    bound = settings.close.max_periods
    over = {pair for pair, count in Counter(key[:2] for key in keys).items() if count > bound}
    if not over:
        return None
    named = ", ".join("/".join(pair) for pair in sorted(over)[:_NAMED])
    more = f" and {len(over) - _NAMED:,} more customers" if len(over) > _NAMED else ""
    detail = (
        f"more than close.max_periods {bound} periods are due at once for {named}{more}; check with "
        "`tidemark close --dry-run --yes`, then `tidemark close --yes`"
    )
    return Refusal("max_periods", detail, tuple(sorted(key for key in keys if key[:2] in over)))


def _sql(statement: str, names: Names) -> sql.Composed:
    return sql.SQL(statement).format(schema=sql.Identifier(names.billing_schema))
