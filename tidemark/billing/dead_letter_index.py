"""An index of the dead letters and of what of them was redriven, in Postgres: each record is read once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql

from tidemark.archive.source import reading
from tidemark.billing.index_positions import next_offsets
from tidemark.billing.lines import PeriodKey
from tidemark.billing.store import batches
from tidemark.core.kafka import Isolation, Record, dump
from tidemark.core.names import Names
from tidemark.core.postgres import connect, lock
from tidemark.core.settings import Settings
from tidemark.dead_letters.log import marker_of
from tidemark.dead_letters.part import envelope_of, event_of, part_of
from tidemark.dead_letters.records import DeadLetter, arrival_ms, parsed
from tidemark.dead_letters.validate import read_event, time_of
from udfs.events.envelope import unwrap
from udfs.events.parse import MAX_ID_BYTES
from udfs.events.reasons import Reason
from udfs.values import instant

# Records of one transaction, and periods of one question.
BATCH = 10_000
_INT, _BIGINT = 2**31 - 1, 2**63 - 1

_POSITIONS = "SELECT partition, next_offset, topic_id FROM {schema}.dead_letter_position WHERE topic = %s"
_SET_POSITION = """
INSERT INTO {schema}.dead_letter_position (topic, topic_id, partition, next_offset) VALUES (%s, %s, %s, %s)
ON CONFLICT (topic, partition) DO UPDATE SET next_offset = EXCLUDED.next_offset, topic_id = EXCLUDED.topic_id
"""
_DEAD_LETTER = """
INSERT INTO {schema}.dead_letter
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING
"""
_REDRIVEN = "INSERT INTO {schema}.redriven VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
_FOREIGN = "INSERT INTO {schema}.dead_letter_foreign VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
# What the topic no longer has cannot be redriven, and nobody can look at it.
_GONE = "DELETE FROM {schema}.{table} WHERE topic = %s AND partition = %s AND record_offset < %s"
_FORGET = (
    "DELETE FROM {schema}.dead_letter WHERE topic = %s",
    "DELETE FROM {schema}.redriven WHERE topic = %s",
    "DELETE FROM {schema}.dead_letter_foreign WHERE topic = %s",
    "DELETE FROM {schema}.dead_letter_position WHERE topic = %s",
)
_COUNTS = """
SELECT k.place, count(*), count(*) FILTER (WHERE d.reason <> %s)
FROM unnest(%s::text[], %s::text[], %s::timestamptz[], %s::timestamptz[])
     WITH ORDINALITY AS k (tenant_id, customer_id, period_start, period_end, place)
JOIN {schema}.dead_letter_open d
  ON d.topic = %s AND d.tenant_id = k.tenant_id AND d.customer_id = k.customer_id
 AND d.event_at >= k.period_start AND d.event_at < k.period_end
GROUP BY k.place
"""

Rows = Callable[[Settings, Record], tuple[Any, ...] | None]


def catch_up(settings: Settings) -> int:
    """Index what is new in both topics of a run; returns how many records. Dead letters first, as `read_log` demands.

    One call works at a time, another one waits. After a crash the next one goes on where this one stopped.

    Raises
    ------
    UnavailableError
        Postgres or Kafka does not answer.
    """
    names, done = settings.names, 0
    with connect(settings.postgres.ops) as connection:
        connection.execute("SET lock_timeout = 0")
        lock(connection, f"dead letter index {names.billing_schema}")
        done += _index(connection, settings, names.dlq, "read_committed", _DEAD_LETTER, dead_letter_row)
        # Records of it are not in transactions.
        done += _index(connection, settings, settings.topics.redrive, "read_uncommitted", _REDRIVEN, redriven_row)
    return done


def counts(
    connection: psycopg.Connection, settings: Settings, keys: Collection[PeriodKey]
) -> dict[PeriodKey, tuple[int, int]]:
    """Dead letters of periods that are not counted yet: all, and those that are not too late; of the others none."""
    found: dict[PeriodKey, tuple[int, int]] = {}
    for batch in batches(sorted(keys)):
        columns: list[list[Any]] = [list(column) for column in zip(*batch, strict=True)]
        given = [Reason.TOO_LATE.value, *columns, settings.names.dlq]
        for place, every, still_open in connection.execute(_sql(_COUNTS, settings.names), given):
            found[batch[place - 1]] = every, still_open
    return found


def dead_letter_row(settings: Settings, record: Record) -> tuple[Any, ...] | None:
    """A dead letter as a row of its table; None for another record, whoever wrote it."""
    dead_letter = parsed(record)
    if dead_letter is None or (dead_letter.get("partial") and dead_letter.get("meter") is None):
        return None
    redrive, partial = settings.topics.redrive, bool(dead_letter.get("partial"))
    part = part_of(envelope_of(dead_letter, redrive, settings.run_id))
    ids = [_id(dead_letter.get(name)) for name in ("tenant_id", "customer_id", "meter")]
    times = _at(_time_ms(settings, dead_letter)), _at(arrival_ms(dead_letter))
    source = dead_letter["topic"], dead_letter["partition"], dead_letter["offset"]
    again = dead_letter["topic"] == redrive and not partial
    place = settings.names.dlq, record.partition, record.offset
    if not (_is_place(*source) and _are_texts(dead_letter["reason"], *part)):
        return None
    return (*place, *ids, dead_letter["reason"], partial, *times, *source, *part, again)


def redriven_row(settings: Settings, record: Record) -> tuple[Any, ...] | None:
    """A record of the redrive topic as a row of its table; None for one that another program wrote."""
    marker = marker_of(record)
    if marker is None:
        return None
    origin = marker.origin.topic, marker.origin.partition, marker.origin.offset
    place, part = (settings.topics.redrive, record.partition, record.offset), part_of(unwrap(record.value))
    if not (_is_place(*origin) and _are_texts(*part)):
        return None
    return (*place, *origin, *part)


def _index(
    connection: psycopg.Connection, settings: Settings, topic: str, isolation: Isolation, insert: str, rows: Rows
) -> int:  # fmt: skip
    names, done = settings.names, 0
    with reading(settings.kafka) as source:
        topic_id, earliest = source.topic_id(topic), source.earliest_offsets(topic)
    forget = [_sql(statement, names) for statement in _FORGET]
    starts = next_offsets(connection, topic, topic_id, _sql(_POSITIONS, names), forget)
    is_dlq = rows is dead_letter_row
    for partition, first in earliest.items():
        for table in (("dead_letter", "dead_letter_foreign") if is_dlq else ("redriven",)) if first else ():
            gone = sql.SQL(_GONE).format(schema=sql.Identifier(names.billing_schema), table=sql.Identifier(table))
            connection.execute(gone, [topic, partition, first])
    for batch in batches(dump(settings.kafka, topic, isolation, starts=starts), BATCH):
        ends = {record.partition: record.offset + 1 for record in batch}
        made = [(record, rows(settings, record)) for record in batch]
        foreign = [(topic, record.partition, record.offset) for record, row in made if is_dlq and row is None]
        with connection.transaction(), connection.cursor() as cursor:
            _insert(cursor, _sql(insert, names), [row for _, row in made if row is not None])
            _insert(cursor, _sql(_FOREIGN, names), foreign)
            _insert(cursor, _sql(_SET_POSITION, names), [(topic, topic_id, *end) for end in sorted(ends.items())])
        done += len(batch)
    return done


def _insert(cursor: psycopg.Cursor, statement: sql.Composed, rows: Sequence[tuple[Any, ...]]) -> None:
    if rows:
        cursor.executemany(statement, rows)


def _time_ms(settings: Settings, dead_letter: DeadLetter) -> int | None:
    """Event time, or the arrival where it cannot be read."""
    arrived_ms, raw = arrival_ms(dead_letter), event_of(dead_letter, settings.topics.redrive)
    event = read_event(raw, arrived_ms or 0, settings.events.default_tenant)
    at_ms = None if event is None else time_of(event)
    return arrived_ms if at_ms is None else at_ms


def _at(ms: int | None) -> datetime | None:
    try:
        return None if ms is None else instant(ms).astimezone(UTC)
    except OverflowError:
        return None


def _is_place(topic: str, partition: int, offset: int) -> bool:
    """Whether columns take a position that a record names."""
    return _are_texts(topic) and -_INT <= partition <= _INT and -_BIGINT <= offset <= _BIGINT


def _are_texts(*values: str) -> bool:
    return all(_id(value) == value for value in values)


def _id(value: Any) -> str | None:
    """An id as far as it can be one: others belong to no customer, and may be too long for an index."""
    if not isinstance(value, str) or "\x00" in value or len(value.encode("utf-8", "replace")) > MAX_ID_BYTES:
        return None
    return value.encode("utf-8", "replace").decode()


def _sql(statement: str, names: Names) -> sql.Composed:
    return sql.SQL(statement).format(schema=sql.Identifier(names.billing_schema))
