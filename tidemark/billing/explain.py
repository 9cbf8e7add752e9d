"""Explains a number of a bill: its versions in the ledger, the deltas it is made of, and the events in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import islice

import psycopg
from psycopg import sql

from tidemark.billing import periods, store
from tidemark.billing.lines import Line, LineKey, PeriodKey, rfc3339
from tidemark.billing.sources import feeding
from tidemark.billing.true_up import Change
from tidemark.core import rollup_views as versions
from tidemark.core.errors import UsageError
from tidemark.core.kafka import Record, dump, read_ranges
from tidemark.core.migrate import connect
from tidemark.core.policy import policy_of
from tidemark.core.settings import Settings
from udfs.catalog.cache import Catalog
from udfs.decode.decoder import Decoder
from udfs.meters.packing import Packed, unpack

CURRENT = "current"
_BATCH = 5_000

_PERIOD = """
SELECT period_start, period_end
FROM {schema}.period_standing
WHERE tenant_id = %s AND customer_id = %s AND period_start <= %s AND period_end > %s
ORDER BY stands DESC, closed_at DESC
LIMIT 1
"""
_HISTORY = """
SELECT 0, 'close', NULL, c.closed_at, c.closed_by, l.meter, l.dims, l.aggregation, l.unit, l.n, l.samples, l.value
FROM {schema}.period_close c
LEFT JOIN {schema}.period_close_line l
    ON (l.tenant_id, l.customer_id, l.period_start, l.period_end, l.meter)
     = (c.tenant_id, c.customer_id, c.period_start, c.period_end, %(meter)s)
WHERE (c.tenant_id, c.customer_id, c.period_start, c.period_end) = (%(tenant)s, %(customer)s, %(start)s, %(end)s)
UNION ALL
SELECT c.correction_no, c.cause, c.replay_id, c.made_at, c.made_by,
       l.meter, l.dims, l.aggregation, l.unit, l.after_n, l.after_samples, l.after
FROM {schema}.correction c
LEFT JOIN {schema}.correction_line l
    ON (l.tenant_id, l.customer_id, l.period_start, l.period_end, l.correction_no, l.meter)
     = (c.tenant_id, c.customer_id, c.period_start, c.period_end, c.correction_no, %(meter)s)
WHERE (c.tenant_id, c.customer_id, c.period_start, c.period_end) = (%(tenant)s, %(customer)s, %(start)s, %(end)s)
ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Version:
    """What the ledger said of the meter after a close (0) or a correction (its number); lines by dimensions."""

    number: int
    cause: str
    replay_id: str | None
    at: datetime
    by: str
    lines: Mapping[str, Line]


@dataclass(slots=True)
class Source:
    """What the deltas of one topic and partition add to the meter for some dimensions.

    Parameters
    ----------
    dims, topic, partition:
        Of which; `ranges` are the first and last offset of each delta.
    n, samples, total:
        Sums; the total of amounts is the value for counts and sums alone.
    """

    dims: str
    topic: str
    partition: int
    n: int = 0
    samples: int = 0
    total: Decimal = Decimal(0)
    ranges: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Event:
    """One measurement of an event that is in the number."""

    topic: str
    partition: int
    offset: int
    dims: str
    part: str
    samples: int
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Explained:
    """A meter of a period: its versions, what the rollups say now, and where that is from."""

    key: PeriodKey
    meter: str
    run_id: str
    versions: Sequence[Version]
    current: Mapping[str, Line]
    sources: Sequence[Source]
    events: Sequence[Event] | None = None

    @property
    def adds_up(self) -> bool:
        """Whether the events that were read are, per dimensions, as many and as much as the deltas say."""
        if self.events is None:
            return True
        stated = _sums((one.dims, one.n, one.samples, one.total) for one in self.sources)
        return stated == _sums((one.dims, 1, one.samples, one.amount) for one in self.events)


def explain(
    settings: Settings, tenant: str, customer: str, meter: str, at: datetime, *, events: bool = False
) -> Explained:
    """Everything about a meter of the period that an instant is in, from Postgres and from the deltas.

    `events` reads the raw records too, and finds those that were counted with the catalog of today.

    Raises
    ------
    UsageError
        There is no such period.
    UnavailableError
        Postgres or Kafka does not answer.
    """
    catalog = periods.catalog_of(settings)
    with connect(settings) as connection:
        key = _find(connection, settings, catalog, (tenant, customer), at)
        run = feeding(versions.layers(connection, settings.names), settings, key)
        history = _history(connection, settings, key, meter)
        lines = store.wanted_lines(connection, settings.names, [key])[key]
    own = settings.model_copy(update={"run_id": run})
    sources = list(_sources(own, key, meter))
    found = list(_events(own, catalog, key, meter, sources)) if events else None
    current = {line.dims: value for line, value in lines.items() if line.meter == meter}
    return Explained(key, meter, run, history, current, sources, found)


def between(found: Explained, one: str, other: str) -> dict[LineKey, Change]:
    """What changed from version `one` to `other`: 0 as closed, k after correction k, `current` what the rollups say.

    Raises
    ------
    UsageError
        There is no such version.
    """
    before, after = _lines(found, one), _lines(found, other)
    changes = {dims: Change(before.get(dims), after.get(dims)) for dims in sorted({*before, *after})}
    return {LineKey(found.meter, dims): change for dims, change in changes.items() if change.before != change.after}


def _lines(found: Explained, name: str) -> Mapping[str, Line]:
    if name == CURRENT:
        return found.current
    for version in found.versions:
        if str(version.number) == name:
            return version.lines
    known = ", ".join([*(str(version.number) for version in found.versions), CURRENT])
    raise UsageError(f"there is no version {name!r} of this period.", f"take one of {known}.")


def _find(
    connection: psycopg.Connection, settings: Settings, catalog: Catalog, pair: tuple[str, str], at: datetime
) -> PeriodKey:
    schema = sql.Identifier(settings.names.billing_schema)
    closed = connection.execute(sql.SQL(_PERIOD).format(schema=schema), [*pair, at, at]).fetchone()
    if closed is not None:
        return PeriodKey(*pair, *closed)
    catalog.prefetch([pair])
    try:
        return next(periods.walk(catalog, pair, at, periods.FOREVER, None))
    except periods.CALENDAR_ERRORS as error:
        raise UsageError(f"{'/'.join(pair)} has no billing period at {rfc3339(at)}: {error}", "") from error


def _history(connection: psycopg.Connection, settings: Settings, key: PeriodKey, meter: str) -> list[Version]:
    statement = sql.SQL(_HISTORY).format(schema=sql.Identifier(settings.names.billing_schema))
    asked = {
        "tenant": key.tenant_id, "customer": key.customer_id, "start": key.start, "end": key.end, "meter": meter
    }  # fmt: skip
    found: list[Version] = []
    lines: dict[str, Line] = {}
    for number, cause, replay, at, by, name, dims, *line in connection.execute(statement, asked):
        if not found or found[-1].number != number:
            lines = dict(lines)
            found.append(Version(number, cause, replay, at, by, lines))
        if name is not None and line[-1] is None:
            lines.pop(dims, None)
        elif name is not None:
            lines[dims] = Line(*line)
    return found


def _sources(settings: Settings, key: PeriodKey, meter: str) -> Iterable[Source]:
    """Deltas of the meter and period by dimensions, topic and partition."""
    wanted = (key.tenant_id, key.customer_id, meter, rfc3339(key.start))
    found: dict[tuple[str, str, int], Source] = {}
    name = json.dumps(key.tenant_id, ensure_ascii=False)[1:-1].encode()
    for record in dump(settings, settings.names.deltas):
        if record.value is None or name not in record.value:
            continue
        row = json.loads(record.value, parse_float=Decimal)
        if (row["tenant_id"], row["customer_id"], row["meter"], row["period_start"]) != wanted:
            continue
        place = row["dims"], row["source_topic"], row["source_partition"]
        source = found.setdefault(place, Source(*place))
        source.n += row["n"]
        source.samples += row["samples"]
        source.total += Decimal(row["total"])
        source.ranges.append((row["first_offset"], row["last_offset"]))
    return (found[place] for place in sorted(found))


def _events(
    settings: Settings, catalog: Catalog, key: PeriodKey, meter: str, sources: Sequence[Source]
) -> Iterator[Event]:
    """Measurements in the offsets of the sources; of copies of an event the first."""
    decoder = Decoder(catalog, policy_of(settings))
    seen: set[bytes] = set()
    start_ms = periods.millis(key.start)
    for topic in sorted({source.topic for source in sources}):
        ranges = _merged(source for source in sources if source.topic == topic)
        records = read_ranges(settings, topic, ranges)
        while some := list(islice(records, _BATCH)):
            for record, one in _measured(decoder, settings, topic, some, seen):
                owner = (one.tenant, one.customer, one.meter, one.period_start_ms)
                if owner == (key.tenant_id, key.customer_id, meter, start_ms):
                    place = topic, record.partition, record.offset
                    yield Event(*place, one.dims, one.part, one.samples, Decimal(one.amount))


def _measured(
    decoder: Decoder, settings: Settings, topic: str, records: Sequence[Record], seen: set[bytes]
) -> Iterator[tuple[Record, Packed]]:
    redriven = topic == settings.redrive_topic
    batch = decoder.decode_batch(
        [record.value for record in records], [record.timestamp_ms for record in records],
        [-1 - record.partition if redriven else record.partition for record in records],
        [record.offset for record in records],
    )  # fmt: skip
    for record, event, text in zip(records, batch.keys, batch.measurements, strict=True):
        if event is not None and text and event not in seen:
            seen.add(event)
            for one in unpack(text):
                yield record, one


def _merged(sources: Iterable[Source]) -> dict[int, list[tuple[int, int]]]:
    """Ranges [start, end) by partition, ascending and apart."""
    found: dict[int, list[tuple[int, int]]] = {}
    spans = sorted((source.partition, *span) for source in sources for span in source.ranges)
    for partition, first, last in spans:
        mine = found.setdefault(partition, [])
        if mine and first <= mine[-1][1]:
            mine[-1] = mine[-1][0], max(mine[-1][1], last + 1)
        else:
            mine.append((first, last + 1))
    return found


def _sums(rows: Iterable[tuple[str, int, int, Decimal]]) -> dict[str, tuple[int, int, Decimal]]:
    """Measurements, samples and amounts added up by dimensions."""
    sums: dict[str, tuple[int, int, Decimal]] = {}
    for dims, more_n, more_samples, amount in rows:
        n, samples, total = sums.get(dims, (0, 0, Decimal(0)))
        sums[dims] = n + more_n, samples + more_samples, total + amount
    return sums
