"""The offsets of the events behind a number: an index of the deltas in Postgres, updated as they arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from typing import Any

import psycopg
from psycopg import sql

from tidemark.archive.source import reading
from tidemark.billing import delta_volume
from tidemark.billing.index_positions import next_offsets
from tidemark.billing.lines import PeriodKey
from tidemark.billing.store import batches
from tidemark.core.deltas import Delta, read
from tidemark.core.kafka import Record, dump
from tidemark.core.names import Names
from tidemark.core.postgres import connect, lock, try_lock
from tidemark.core.settings import Settings

# Offsets that are kept as one range: few enough to be read in a tenth of a second, and a busy series has one row for
# that many events instead of a row for each tick.
STRETCH = 10_000
# Deltas of one transaction.
BATCH = 50_000
# A weighted sum has a time moment beside each change of the level; the moment is not an amount of usage.
MOMENT = "m"
# Enough digits for the sum of any number of amounts.
WIDE = Context(prec=60)

_POSITIONS = "SELECT partition, next_offset, topic_id FROM {schema}.delta_position WHERE deltas_topic = %s"
_DELETE = (
    "DELETE FROM {schema}.delta_range WHERE deltas_topic = %s",
    "DELETE FROM {schema}.delta_position WHERE deltas_topic = %s",
    "DELETE FROM {schema}.delta_foreign WHERE deltas_topic = %s",
    delta_volume.FORGET,
)
_SET_POSITION = """
INSERT INTO {schema}.delta_position (deltas_topic, topic_id, partition, next_offset) VALUES (%s, %s, %s, %s)
ON CONFLICT (deltas_topic, partition) DO UPDATE SET next_offset = EXCLUDED.next_offset
"""
_FOREIGN = """
INSERT INTO {schema}.delta_foreign (deltas_topic, partition, record_offset) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING
"""
_COLUMNS = (
    "tenant_id, customer_id, meter, period_start, dims, source_topic, source_partition, stretch, first_offset, "
    "last_offset, n, samples, total"
)
_STAGE = """
CREATE TEMPORARY TABLE IF NOT EXISTS delta_stage (
    tenant_id text, customer_id text, meter text, period_start timestamptz, dims text, source_topic text,
    source_partition integer, stretch bigint, first_offset bigint, last_offset bigint, n bigint, samples bigint,
    total numeric
) ON COMMIT DELETE ROWS
"""
_MERGE = f"""
INSERT INTO {{schema}}.delta_range AS r (deltas_topic, {_COLUMNS})
SELECT %s, {_COLUMNS} FROM delta_stage
ON CONFLICT (
    tenant_id, customer_id, meter, period_start, deltas_topic, dims, source_topic, source_partition, stretch
) DO UPDATE SET
    first_offset = least(r.first_offset, EXCLUDED.first_offset),
    last_offset = greatest(r.last_offset, EXCLUDED.last_offset),
    n = r.n + EXCLUDED.n, samples = r.samples + EXCLUDED.samples, total = r.total + EXCLUDED.total
"""
_SOURCES = """
SELECT dims, source_topic, source_partition, first_offset, last_offset, n, samples, total
FROM {schema}.delta_range
WHERE (tenant_id, customer_id, meter, period_start, deltas_topic) = (%s, %s, %s, %s, %s)
ORDER BY dims, source_topic, source_partition, first_offset
"""


_Key = tuple[Any, ...]


@dataclass(slots=True)
class Source:
    """The sum of the deltas from one topic and partition for a meter and its dimensions.

    Parameters
    ----------
    dims, topic, partition:
        Which source; `ranges` are the first and last offset of each stretch with events of it.
    n, samples, total:
        Sums; the total of amounts is the value only for counts and sums.
    """

    dims: str
    topic: str
    partition: int
    n: int = 0
    samples: int = 0
    total: Decimal = Decimal(0)
    ranges: list[tuple[int, int]] = field(default_factory=list)


def catch_up(
    settings: Settings, names: Names, *, limit: int | None = None, progress: Callable[[int], None] | None = None
) -> int:
    """Add the new deltas of the run of `settings` to the index of the ledger `names`; returns how many.

    Only one call works at a time: another one waits, or returns at once if it has a limit. After a crash the next
    call continues where this one stopped, and adds each delta once.

    Parameters
    ----------
    settings, names:
        The run of the deltas; the ledger whose schema has the index.
    limit:
        Most deltas of this call; None: all.
    progress:
        Called with the number of deltas so far.

    Raises
    ------
    UnavailableError
        Postgres or Kafka does not answer.
    """
    topic, done = settings.names.deltas, 0
    with connect(settings.postgres.ops) as connection:
        if not _claim(connection, names, wait=limit is None):
            return 0
        with reading(settings.kafka) as source:
            topic_id = source.topic_id(topic)
        connection.execute(_STAGE)
        forget = [_sql(statement, names) for statement in _DELETE]
        starts = next_offsets(connection, topic, topic_id, _sql(_POSITIONS, names), forget)
        for batch in batches(_limited(dump(settings.kafka, topic, starts=starts), limit), BATCH):
            _store(connection, names, topic, topic_id, batch, volumes=not settings.names.is_replay)
            done += len(batch)
            if progress is not None:
                progress(done)
    return done


def sources(
    connection: psycopg.Connection, settings: Settings, names: Names, key: PeriodKey, meter: str
) -> list[Source]:
    """Where the events of a meter and period are, by dimensions, topic and partition, as far as the index goes."""
    values = [key.tenant_id, key.customer_id, meter, key.start, settings.names.deltas]
    sources: dict[tuple[str, str, int], Source] = {}
    for dims, topic, partition, first, last, n, samples, total in connection.execute(_sql(_SOURCES, names), values):
        source = sources.setdefault((dims, topic, partition), Source(dims, topic, partition))
        source.n += n
        source.samples += samples
        source.total = WIDE.add(source.total, total)
        source.ranges.append((first, last))
    return list(sources.values())


def summed(deltas: Iterable[Delta]) -> dict[_Key, list[Any]]:
    """Deltas by series, period, place and stretch: first and last offset, n, samples and total. No moments."""
    rows: dict[_Key, list[Any]] = {}
    for delta in deltas:
        if delta.part == MOMENT:
            continue
        key = (
            delta.tenant_id, delta.customer_id, delta.meter, delta.period_start, delta.dims, delta.source_topic,
            delta.source_partition, delta.first_offset // STRETCH,
        )  # fmt: skip
        row = rows.get(key)
        if row is None:
            rows[key] = [delta.first_offset, delta.last_offset, delta.n, delta.samples, Decimal(delta.total)]
            continue
        row[0], row[1] = min(row[0], delta.first_offset), max(row[1], delta.last_offset)
        row[2] += delta.n
        row[3] += delta.samples
        row[4] = WIDE.add(row[4], Decimal(delta.total))
    return rows


def _store(
    connection: psycopg.Connection, names: Names, topic: str, topic_id: str, records: Sequence[Record], *, volumes: bool
) -> None:
    read_deltas = [(record, read(record.value)) for record in records if record.value is not None]
    deltas = [delta for _, delta in read_deltas if delta is not None]
    rows = summed(deltas)
    foreign = [(topic, record.partition, record.offset) for record, delta in read_deltas if delta is None]
    ends = {record.partition: record.offset + 1 for record in records}
    with connection.transaction(), connection.cursor() as cursor:
        with cursor.copy(f"COPY delta_stage ({_COLUMNS}) FROM STDIN".encode()) as copy:
            for key, row in rows.items():
                copy.write_row((*key, *row))
        cursor.execute(_sql(_MERGE, names), [topic])
        if foreign:
            cursor.executemany(_sql(_FOREIGN, names), foreign)
        if volumes:
            added = [(topic, *key, *counts) for key, counts in sorted(delta_volume.volumes(deltas).items())]
            cursor.executemany(_sql(delta_volume.ADD, names), added)
        cursor.executemany(
            _sql(_SET_POSITION, names), [(topic, topic_id, part, end) for part, end in sorted(ends.items())]
        )


def _claim(connection: psycopg.Connection, names: Names, *, wait: bool) -> bool:
    """Whether nobody else is at it, until the connection ends; a first call may take minutes, so waiting has no end."""
    name = f"delta index {names.billing_schema}"
    if not wait:
        return try_lock(connection, name)
    connection.execute("SET lock_timeout = 0")
    lock(connection, name)
    return True


def _limited(records: Iterator[Record], limit: int | None) -> Iterator[Record]:
    for number, record in enumerate(records, 1):
        yield record
        if number == limit:
            return


def _sql(statement: str, names: Names) -> sql.Composed:
    return sql.SQL(statement).format(schema=sql.Identifier(names.billing_schema))
