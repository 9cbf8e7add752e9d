"""Usage of one customer and meter, from the cache where it is exact: keyed by all that can change it.

1. What Postgres decides is part of the key: promoted replays, decisions about them, the catalog, closes, corrections.
2. What `meter` decides is the version of the counter: an answer is taken only while that is what it was made at.
3. An answer is kept only if it begins in the period of the counter, as late usage of an earlier one leaves the counter
   as it is, and if the table it came from had applied just as many measurements of that period, in one snapshot.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from psycopg import sql

from tidemark.api.answer_cache import AnswerCache, Place, Version
from tidemark.api.reading import Asked
from tidemark.api.usage_query import MeterAsked, Source, UsageAsked, source_of
from tidemark.core import rollup_views
from tidemark.live.active_version import active_prefix
from udfs.values import instant

Document = dict[str, Any]
# All rows of these are of one part, so that n counts every measurement, as the counter's does.
KEYED = frozenset({"count", "sum", "min", "max", "avg", "latest"})
_LEDGER = """
SELECT (SELECT count(*) FROM replay_decision), (SELECT revision FROM catalog.revision),
       (SELECT count(*) FROM period_close WHERE (tenant_id, customer_id) = (%(tenant)s, %(customer)s)),
       (SELECT count(*) FROM correction WHERE (tenant_id, customer_id) = (%(tenant)s, %(customer)s))
"""
_APPLIED = """
SELECT coalesce(sum(n), 0)::bigint FROM {relation}
WHERE (tenant_id, customer_id, meter) = (%(tenant)s, %(customer)s, %(meter)s)
  AND {column} >= %(start)s AND {column} < %(end)s
"""
_ZONE = """
SELECT coalesce(l.timezone, 'UTC')
FROM catalog.tenant t
LEFT JOIN catalog.customer c ON (c.tenant_id, c.customer_id) = (t.tenant_id, %(customer)s)
    AND c.valid_from <= %(start)s AND c.valid_to > %(start)s
LEFT JOIN catalog.calendar l ON l.calendar_id = coalesce(c.calendar_id, t.calendar_id)
    AND l.valid_from <= %(start)s AND l.valid_to > %(start)s
WHERE t.tenant_id = %(tenant)s AND t.valid_from <= %(start)s AND t.valid_to > %(start)s
"""
_ISOLATED = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"


def cached(
    of: Asked, asked: UsageAsked, meter: MeterAsked, cache: AnswerCache, make: Callable[[], Document]
) -> Document:
    """What `make` answers to a question, or what it has answered where nothing can have changed since."""
    if len(asked.customers) != 1 or meter.aggregation not in KEYED:
        return make()
    place = place_of(of, asked)
    version, document = cache.find(place)
    if version is None or document is not None:
        return make() if document is None else document
    with of.db.transaction():
        of.db.execute(_ISOLATED)
        document = make()
        exact = _is_exact(of, asked, source_of(asked, meter), version)
    # A replay may have been promoted meanwhile, and its views are no part of a snapshot.
    if exact and place_of(of, asked) == place:
        cache.keep(place, version, document)
    else:
        cache.counts["unkept"] += 1
    return document


def place_of(of: Asked, asked: UsageAsked) -> Place:
    """Where the answer to a question is kept, by what the ledger and the catalog have now."""
    stack = rollup_views.overlays(of.db, of.settings.names)
    (customer,) = asked.customers
    ledger = of.db.execute(sql.SQL(_LEDGER), {"tenant": of.tenant, "customer": customer}).fetchone()
    digest = sha256(msgspec.json.encode([asked, stack, ledger])).hexdigest()
    return Place(active_prefix(stack, of.settings.names, of.tenant), of.tenant, customer, asked.meter, digest)


def span_of(source: Source, start: datetime, end: datetime, zone: ZoneInfo) -> tuple[Any, Any] | None:
    """The rows of a table that a period is made of, as bounds of its column; None where some lie across its ends."""
    if source.relation == "usage_period":
        return start, end
    if source.relation == "usage_day":
        local = [at.astimezone(zone) for at in (start, end)]
        return (local[0].date(), local[1].date()) if all(_is_midnight(at) for at in local) else None
    aligned = all(at.second == 0 and (at.minute == 0 or source.relation == "usage_minute") for at in (start, end))
    return (start, end) if aligned else None


def _is_midnight(at: datetime) -> bool:
    return (at.hour, at.minute, at.second) == (0, 0, 0)


def _is_exact(of: Asked, asked: UsageAsked, source: Source, version: Version) -> bool:
    """Whether an answer, made in this transaction, stays what it is as long as the counter has a version."""
    start, end = instant(version.start_ms), instant(version.end_ms)
    (customer,) = asked.customers
    who = {"tenant": of.tenant, "customer": customer, "meter": asked.meter, "start": start}
    zone = of.db.execute(sql.SQL(_ZONE), who).fetchone()
    span = span_of(source, start.astimezone(UTC), end.astimezone(UTC), ZoneInfo(zone[0] if zone else "UTC"))
    if span is None or source.bounds[0] < span[0]:
        return False
    statement = sql.SQL(_APPLIED).format(relation=sql.Identifier(source.relation), column=sql.Identifier(source.column))
    row = of.db.execute(statement, {**who, "start": span[0], "end": span[1]}).fetchone()
    return row is not None and row[0] == version.n
