"""Usage of one customer: the live counter and the stored total of each meter, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql

from tidemark.billing import periods, store
from tidemark.billing.lines import Lines
from tidemark.core import redis
from tidemark.core.errors import UnavailableError
from tidemark.core.postgres import Database
from tidemark.core.rollup_views import Overlay
from tidemark.core.settings import Settings
from tidemark.dry_run.values import mean
from tidemark.live import active_version
from tidemark_client.keys import counter_key
from udfs.values import EXACT, parse_rfc3339, plain, rfc3339
from udfs.wire import LATEST

_TIMEOUT_MS = 10_000

# Percentiles are read from bins, weighted sums need the level that earlier periods have left.
WITHOUT_COUNTER = frozenset({"percentile", "weighted_sum"})
_METERS = "SELECT meter, aggregation, unit FROM {schema}.meter_kind WHERE tenant_id = %s"
# Of each meter the latest period, or the one an instant is in, over all dimensions.
_STORED = """
SELECT DISTINCT ON (meter) meter, period_start, period_end, samples, value, projected_value
FROM {schema}.usage_total
WHERE tenant_id = %(tenant)s AND customer_id = %(customer)s AND (%(meter)s::text IS NULL OR meter = %(meter)s)
  AND (%(at)s::timestamptz IS NULL OR (period_start <= %(at)s AND period_end > %(at)s))
ORDER BY meter, period_start DESC
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """How a meter adds up, and its unit."""

    aggregation: str
    unit: str

    @property
    def has_counter(self) -> bool:
        """Whether Redis counts it."""
        return self.aggregation not in WITHOUT_COUNTER


@dataclass(frozen=True, slots=True)
class Total:
    """Usage of one period: its bounds in RFC 3339, samples, and the value of the meter as plain decimal text.

    `projected` is what a level comes to if it stays as it is to the end of a period that runs; None for all else.
    """

    period_start: str
    period_end: str
    samples: int
    value: str
    projected: str | None = None


@dataclass(frozen=True, slots=True)
class MeterUsage:
    """One meter of one customer; None on a side without a value, such as the live side of a meter without a counter.

    Parameters
    ----------
    meter, unit, aggregation:
        As the catalog has it.
    live, stored:
        The totals of both sides.
    compared:
        Whether there is something to compare: a counter, a Redis that answers, and a period that it counts.
    """

    meter: str
    unit: str
    aggregation: str
    live: Total | None
    stored: Total | None
    compared: bool = True

    @property
    def equal(self) -> bool | None:
        """Whether both sides are equal, None where nothing was compared; with events under way live is ahead.

        Of `unique` meters the stored side has measurements as samples, the live one values: they are not compared.
        """
        if not self.compared:
            return None
        if self.live is None or self.stored is None:
            return self.live is self.stored
        live = self.live
        if self.aggregation == "unique":
            live = replace(live, samples=self.stored.samples)
        return live == replace(self.stored, projected=None)


@dataclass(frozen=True, slots=True)
class Usage:
    """All meters of one customer that have usage, and the sides that could not be read, with the reason."""

    tenant: str
    customer: str
    meters: tuple[MeterUsage, ...]
    unavailable: Mapping[str, str]

    def document(self) -> dict[str, Any]:
        """Everything as JSON values; decimals are strings."""
        meters = [{**asdict(meter), "equal": meter.equal} for meter in self.meters]
        for meter in meters:
            del meter["compared"]
        return {
            "tenant_id": self.tenant,
            "customer_id": self.customer,
            "meters": meters,
            "unavailable": dict(self.unavailable),
        }


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """Whose usage: of all meters or one, in the latest period of each or the one an instant is in."""

    tenant: str
    customer: str
    meter: str | None = None
    at: datetime | None = None

    @property
    def pair(self) -> tuple[str, str]:
        """Tenant and customer."""
        return self.tenant, self.customer


def usage(settings: Settings, query: UsageQuery) -> Usage:
    """Live and stored totals of a period of each meter, of the active version.

    Raises
    ------
    UnavailableError
        Postgres cannot be read, which also knows the names of the meters. A Redis that is down is in the result.

    """
    prefix, kinds, stored = _read_stored(settings, query)
    unavailable: dict[str, str] = {}
    live: Mapping[str, Total] = {}
    try:
        live = _read_live(settings, prefix, query.pair, kinds)
    except UnavailableError as error:
        unavailable["live"] = error.what
    if query.at is not None:
        # A counter is of the latest period alone.
        live = {name: total for name, total in live.items() if name in stored and _same_period(total, stored[name])}
    meters = tuple(
        MeterUsage(
            name, kinds[name].unit, kinds[name].aggregation, live.get(name), stored.get(name),
            compared=not unavailable and kinds[name].has_counter and (query.at is None or name in live),
        )
        for name in sorted({*live, *stored})
    )  # fmt: skip
    return Usage(query.tenant, query.customer, meters, unavailable)


def _same_period(total: Total, other: Total) -> bool:
    return total.period_start == other.period_start


def live_total(aggregation: str, fields: Mapping[str, str]) -> Total | None:
    """Read a counter from the fields of its Redis hash; None when it is incomplete, or has no value of it."""
    try:
        start, end, samples = (fields[name] for name in ("period_start", "period_end", "samples"))
        value = _live_value(aggregation, fields)
    except KeyError:
        return None
    return Total(rfc3339(int(start)), rfc3339(int(end)), int(samples), plain(Decimal(value))) if value else None


def _live_value(aggregation: str, fields: Mapping[str, str]) -> str:
    """Text of the value; empty where the counter has none, as a weighted sum, which needs earlier periods."""
    match aggregation:
        case "count" | "sum" | "unique":
            return fields["total"]
        case "min":
            return fields["lo"]
        case "max":
            return fields["hi"]
        case "latest":
            return LATEST.unpack(fields["latest"]).value if fields["latest"] else ""
        case "avg":
            average = mean(Decimal(fields["total"]), int(fields["samples"]))
            return "" if average is None else str(average)
        case _:
            return ""


def _read_stored(settings: Settings, query: UsageQuery) -> tuple[str, dict[str, Kind], dict[str, Total]]:
    """Prefix of the live counters that go with them, kinds by meter, and totals by meter."""
    names = settings.names
    with reading(settings) as db:
        stack = active_version.promoted(db, names)
        schema = sql.Identifier(active_schema(settings, stack))
        prefix = active_version.active_prefix(stack or [], names, query.tenant)
        kinds = {row[0]: Kind(*row[1:]) for row in db.execute(sql.SQL(_METERS).format(schema=schema), [query.tenant])}
        if query.meter is not None:
            kinds = {name: kind for name, kind in kinds.items() if name == query.meter}
        rows = db.execute(sql.SQL(_STORED).format(schema=schema), asdict(query)).fetchall()
        stored = {row[0]: _total(*row[1:]) for row in rows}
        levels = [name for name, kind in kinds.items() if kind.aggregation == "weighted_sum"]
        if stack is not None and levels:
            stored |= _carried(db, settings, query, {name: stored.get(name) for name in levels})
    return prefix, kinds, stored


@contextmanager
def reading(settings: Settings) -> Iterator[psycopg.Connection]:
    """A connection for queries of people.

    Raises
    ------
    UnavailableError, TidemarkError
        Postgres does not answer, or has no current tables.
    """
    with closing(Database(settings.postgres.ops, "usage", timeout_ms=_TIMEOUT_MS)) as database, database.using() as db:
        yield db


def active_schema(settings: Settings, stack: Sequence[Overlay] | None) -> str:
    """The schema of the active version: that of the ledger; of a replay, which has no ledger, its own rollups."""
    names = settings.names
    return names.usage_schema if stack is None else names.billing_schema


def _carried(
    db: psycopg.Connection, settings: Settings, query: UsageQuery, known: Mapping[str, Total | None]
) -> dict[str, Total]:
    """Levels that no event of the period changed, which have no row of it: what earlier periods have left."""
    now: datetime = db.execute("SELECT clock_timestamp()").fetchall()[0][0]
    at = query.at or now
    if all(
        total is not None and parse_rfc3339(total.period_start) <= at < parse_rfc3339(total.period_end)
        for total in known.values()
    ):
        return {}
    catalog = periods.catalog_of(settings)
    catalog.prefetch([query.pair])
    try:
        key = next(periods.walk(catalog, query.pair, at, periods.FOREVER, None))
    except periods.CALENDAR_ERRORS:
        return {}
    so_far, to_the_end = (
        _summed(store.wanted_lines(db, settings.names, [key], so_far=so_far)[key]) for so_far in (True, False)
    )
    return {
        name: _total(key.start, key.end, 0, so_far[name], to_the_end[name])
        for name in known
        if name in so_far and ((total := known[name]) is None or parse_rfc3339(total.period_start) < key.start)
    }


def _summed(lines: Lines) -> dict[str, Decimal]:
    """Values of levels by meter, over all dimensions."""
    sums: dict[str, Decimal] = {}
    for key, line in lines.items():
        if line.aggregation == "weighted_sum":
            sums[key.meter] = EXACT.add(sums.get(key.meter, Decimal(0)), line.value)
    return sums


def _total(start: datetime, end: datetime, samples: int, value: Decimal, projected: Decimal | None) -> Total:
    """`projected` only where it differs: the period runs."""
    ahead = None if projected is None or projected == value else plain(projected)
    return Total(rfc3339(start), rfc3339(end), samples, plain(value), ahead)


def _read_live(settings: Settings, prefix: str, pair: tuple[str, str], kinds: Mapping[str, Kind]) -> dict[str, Total]:
    with (
        redis.translated(settings.redis),
        closing(redis.client(settings.redis, timeout_s=_TIMEOUT_MS / 1_000)) as connection,
    ):
        pipeline = connection.pipeline(transaction=False)
        for meter in kinds:
            pipeline.hgetall(counter_key(prefix, *pair, meter))
        replies = pipeline.execute()
    totals = {meter: live_total(kinds[meter].aggregation, fields) for meter, fields in zip(kinds, replies, strict=True)}
    return {meter: total for meter, total in totals.items() if total is not None}
