"""Usage of one customer: the live counter and the stored total of each meter, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg
import redis
from psycopg import sql

from tidemark.billing import periods, store
from tidemark.billing.lines import Lines
from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.rollup_views import Layer
from tidemark.core.settings import Settings
from tidemark.dry_run.values import mean
from tidemark.live import active_version
from tidemark_client.keys import counter_key
from udfs.live.counters import client
from udfs.postgres import connect, deadline, first_line
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
    """One meter of one customer; None on a side that has nothing, as the live one of what has no counter.

    Parameters
    ----------
    meter, unit, aggregation:
        As the catalog has it.
    live, stored:
        What the two sides say.
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
        """Whether both sides say the same, None where nothing was compared; with events under way live is ahead.

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
    """All meters of one customer that have usage, and the sides that could not be asked, with the reason."""

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
class Asked:
    """Whose usage is asked for: of all meters or one, in the latest period of each or the one an instant is in."""

    tenant: str
    customer: str
    meter: str | None = None
    at: datetime | None = None

    @property
    def pair(self) -> tuple[str, str]:
        """Tenant and customer."""
        return self.tenant, self.customer


def usage(settings: Settings, asked: Asked) -> Usage:
    """Live and stored totals of a period of each meter, of the version that people read.

    Raises
    ------
    UnavailableError
        Postgres could not be asked, which also knows the names of the meters. Redis away is told in the answer.

    """
    prefix, kinds, stored = _read_stored(settings, asked)
    unavailable: dict[str, str] = {}
    live: Mapping[str, Total] = {}
    try:
        live = _read_live(settings, prefix, asked.pair, kinds)
    except (redis.RedisError, OSError) as error:
        unavailable["live"] = f"Redis at {settings.redis.url} does not answer: {first_line(error)}"
    if asked.at is not None:
        # A counter is of the latest period alone.
        live = {name: total for name, total in live.items() if name in stored and _same_period(total, stored[name])}
    meters = tuple(
        MeterUsage(
            name, kinds[name].unit, kinds[name].aggregation, live.get(name), stored.get(name),
            compared=not unavailable and kinds[name].has_counter and (asked.at is None or name in live),
        )
        for name in sorted({*live, *stored})
    )  # fmt: skip
    return Usage(asked.tenant, asked.customer, meters, unavailable)


def _same_period(one: Total, other: Total) -> bool:
    return one.period_start == other.period_start


def live_total(aggregation: str, fields: Mapping[str, str]) -> Total | None:
    """Read a counter from the fields of its Redis hash; None when it is not complete, or says nothing of this meter."""
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


def _read_stored(settings: Settings, asked: Asked) -> tuple[str, dict[str, Kind], dict[str, Total]]:
    """Prefix of the live counters that go with them, kinds by meter, and totals by meter."""
    names = settings.names
    with reading(settings) as db:
        stack = active_version.promoted(db, names)
        schema = sql.Identifier(schema_read(settings, stack))
        prefix = active_version.prefix_read(stack or [], names, asked.tenant)
        kinds = {row[0]: Kind(*row[1:]) for row in db.execute(sql.SQL(_METERS).format(schema=schema), [asked.tenant])}
        if asked.meter is not None:
            kinds = {name: kind for name, kind in kinds.items() if name == asked.meter}
        rows = db.execute(sql.SQL(_STORED).format(schema=schema), asdict(asked)).fetchall()
        stored = {row[0]: _total(*row[1:]) for row in rows}
        levels = [name for name, kind in kinds.items() if kind.aggregation == "weighted_sum"]
        if stack is not None and levels:
            stored |= _held(db, settings, asked, {name: stored.get(name) for name in levels})
    return prefix, kinds, stored


@contextmanager
def reading(settings: Settings) -> Iterator[psycopg.Connection]:
    """A connection for questions of people.

    Raises
    ------
    UnavailableError, TidemarkError
        Postgres does not answer, or has no current tables.
    """
    try:
        with (
            connect(settings.postgres.url, statement_timeout_ms=_TIMEOUT_MS, application_name="tidemark usage") as db,
            deadline(db, _TIMEOUT_MS),
        ):
            yield db
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        raise TidemarkError("the database has no current tables.", "run `tidemark db migrate`.") from error
    except psycopg.Error as error:
        raise UnavailableError(
            f"Postgres at {settings.postgres.url} does not answer: {first_line(error)}",
            "start it (`tidemark up`) or correct postgres.url and postgres.passfile.",
        ) from error


def schema_read(settings: Settings, stack: Sequence[Layer] | None) -> str:
    """The schema people read: that of the ledger, or of a replay, which has none, its own rollups."""
    names = settings.names
    return names.usage_schema if stack is None else names.billing_schema


def _held(
    db: psycopg.Connection, settings: Settings, asked: Asked, known: Mapping[str, Total | None]
) -> dict[str, Total]:
    """Levels that no event of the period changed, which have no row of it: what earlier periods have left."""
    now: datetime = db.execute("SELECT clock_timestamp()").fetchall()[0][0]
    at = asked.at or now
    if all(
        one is not None and parse_rfc3339(one.period_start) <= at < parse_rfc3339(one.period_end)
        for one in known.values()
    ):
        return {}
    catalog = periods.catalog_of(settings)
    catalog.prefetch([asked.pair])
    try:
        key = next(periods.walk(catalog, asked.pair, at, periods.FOREVER, None))
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
    found: dict[str, Decimal] = {}
    for key, line in lines.items():
        if line.aggregation == "weighted_sum":
            found[key.meter] = EXACT.add(found.get(key.meter, Decimal(0)), line.value)
    return found


def _total(start: datetime, end: datetime, samples: int, value: Decimal, projected: Decimal | None) -> Total:
    """`projected` only where it says something else: the period runs."""
    ahead = None if projected is None or projected == value else plain(projected)
    return Total(rfc3339(start), rfc3339(end), samples, plain(value), ahead)


def _read_live(settings: Settings, prefix: str, whose: tuple[str, str], kinds: Mapping[str, Kind]) -> dict[str, Total]:
    password = settings.redis.secret
    with closing(client(settings.redis.url, password, timeout_s=_TIMEOUT_MS / 1_000)) as connection:
        pipeline = connection.pipeline(transaction=False)
        for meter in kinds:
            pipeline.hgetall(counter_key(prefix, *whose, meter))
        answers = pipeline.execute()
    totals = {meter: live_total(kinds[meter].aggregation, fields) for meter, fields in zip(kinds, answers, strict=True)}
    return {meter: total for meter, total in totals.items() if total is not None}
