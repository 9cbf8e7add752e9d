"""Publishes closes and corrections to Kafka: outbox rows in order, exactly once for read_committed consumers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
from kafka.errors import KafkaError
from psycopg import sql

from jobs.flink.rest import wait_until
from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.kafka import clients, end_offsets, last_records
from tidemark.core.postgres import connect
from tidemark.core.settings import Settings
from tidemark.core.topics import MAX_RECORD_BYTES

TOPICS = ("closes", "corrections")
# Rows of one Kafka transaction.
BATCH = 500
HEADER = "seq"
# A transaction takes less than a second; if its publisher is gone, the broker aborts it after this time.
TRANSACTION_TIMEOUT_MS = 60_000
_WAIT_MS = 60_000
_DECIDED_S = 90.0

Step = Callable[[int], None]

_LAST = """
SELECT coalesce((SELECT max(seq) FROM {schema}.outbox o WHERE o.topic = t.topic), 0), t.seq
FROM {schema}.outbox_position t WHERE t.topic = %s
"""


class Row(NamedTuple):
    """One row of the outbox."""

    seq: int
    key: str
    body: str


def publish(settings: Settings, progress: Step | None = None, *, again: bool = False) -> int:
    """Publish the rows of the outbox that the topics do not have yet; returns how many.

    With `again` the stored position does not count: topics that were lost and made anew get all of them.

    1. Take the transactional id of the topic: any earlier publisher is fenced, and its open transaction aborted.
    2. Read the last committed record: its seq is the position of the topic. No row can be sent twice, whatever
       happened to earlier publishers, because a fenced publisher cannot commit.
    3. Send the rows after it, a transaction for each batch, and store the position (for a topic whose records expired).

    Raises
    ------
    UnavailableError
        Kafka or Postgres does not answer.
    TidemarkError
        Another publisher took over meanwhile; it sends the rest. Or the topics have what the ledger has not.
    """
    step = progress or (lambda _: None)
    with connect(settings.postgres.ledger) as connection:
        return sum(_publish(connection, settings, topic, step, again=again) for topic in TOPICS)


def refuse_behind(connection: psycopg.Connection, settings: Settings) -> None:
    """Refuse a ledger that lacks what was published: its next records would have numbers that the topics have already.

    Raises
    ------
    TidemarkError
        Names the first number that is missing.
    """
    for topic in TOPICS:
        _refuse_behind(connection, settings, topic, _last_seq(settings, topic))


def pending(connection: psycopg.Connection, settings: Settings) -> int:
    """Number of rows after the stored position."""
    statement = (
        "SELECT count(*) FROM {schema}.outbox JOIN {schema}.outbox_position t USING (topic) WHERE outbox.seq > t.seq"
    )
    return int(_query(connection, settings, statement)[0][0])


def _refuse_behind(connection: psycopg.Connection, settings: Settings, topic: str, published: int) -> None:
    # Asked after the topic: what another process has added and published meanwhile is in both.
    last = _last(connection, settings, topic)[0]
    if published > last:
        raise TidemarkError(
            f"{address(settings, topic)} has record {published}, and the ledger ends at {last}: its database is older, "
            "as after a restore, and would give the numbers in between again.",
            "`tidemark ledger recover` reads them back.",
        )


def _publish(connection: psycopg.Connection, settings: Settings, topic: str, progress: Step, *, again: bool) -> int:
    last, stored = _last(connection, settings, topic)
    if stored == last and not again:
        return 0
    sent = 0
    with _producer(settings, topic) as producer:
        # Step 1
        producer.init_transactions()
        # Step 2
        committed = _committed(settings, topic)
        _refuse_behind(connection, settings, topic, committed)
        position = committed if again else max(stored, committed)
        # Step 3
        while rows := _rows(connection, settings, topic, position):
            _send(producer, address(settings, topic), rows)
            position = rows[-1].seq
            _store_position(connection, settings, topic, position)
            sent += len(rows)
            progress(len(rows))
        _store_position(connection, settings, topic, position)
    return sent


def _committed(settings: Settings, topic: str) -> int:
    """Seq of the last committed record of a topic, 0 without one."""
    name = address(settings, topic)
    # The publisher has the only transactional id of the topic, and its last transaction just ended: until the marker
    # is written, records before the end may seem to be absent.
    wait_until(
        lambda: end_offsets(settings.kafka, name, "read_committed") == end_offsets(settings.kafka, name),
        _DECIDED_S,
        f"the last transaction of {name} to be decided",
    )
    return _last_seq(settings, topic)


def _last_seq(settings: Settings, topic: str) -> int:
    found = last_records(settings.kafka, address(settings, topic), "read_committed").values()
    return max((int(dict(record.headers)[HEADER]) for record in found), default=0)


def _send(producer: Any, address: str, rows: Sequence[Row]) -> None:
    producer.begin_transaction()
    sent = [
        producer.send(
            address, row.body.encode(), key=row.key.encode(), partition=0, headers=[(HEADER, str(row.seq).encode())]
        )
        for row in rows
    ]
    producer.flush(timeout=_WAIT_MS / 1_000)
    for future in sent:
        future.get(timeout=0)
    producer.commit_transaction()


def _rows(connection: psycopg.Connection, settings: Settings, topic: str, after: int) -> list[Row]:
    statement = "SELECT seq, key, body FROM {schema}.outbox WHERE topic = %s AND seq > %s ORDER BY seq LIMIT %s"
    return [Row(*row) for row in _query(connection, settings, statement, [topic, after, BATCH])]


def _last(connection: psycopg.Connection, settings: Settings, topic: str) -> tuple[int, int]:
    """The last seq of a topic in the outbox, and the position that was stored."""
    last, stored = _query(connection, settings, _LAST, [topic])[0]
    return last, stored


def _store_position(connection: psycopg.Connection, settings: Settings, topic: str, seq: int) -> None:
    statement = "UPDATE {schema}.outbox_position SET seq = %s WHERE topic = %s AND seq < %s"
    connection.execute(_statement(settings, statement), [seq, topic, seq])


def _query(connection: psycopg.Connection, settings: Settings, statement: str, values: Sequence[Any] = ()) -> list[Any]:
    return connection.execute(_statement(settings, statement), values).fetchall()


def _statement(settings: Settings, text: str) -> sql.Composed:
    return sql.SQL(text).format(schema=sql.Identifier(settings.names.billing_schema))


def address(settings: Settings, topic: str) -> str:
    """Name of a topic of the outbox in Kafka."""
    return settings.names.closes if topic == "closes" else settings.names.corrections


@contextmanager
def _producer(settings: Settings, topic: str) -> Iterator[Any]:
    try:
        producer = clients.producer(
            settings.kafka, transactional_id=f"{settings.names.job('tell')}-{topic}",
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS, acks="all", enable_idempotence=True,
            compression_type="lz4", max_request_size=MAX_RECORD_BYTES, max_block_ms=_WAIT_MS,
        )  # fmt: skip
        try:
            yield producer
        finally:
            producer.close(timeout=5)
    except KafkaError as error:
        if type(error).__name__ in {"ProducerFencedError", "InvalidProducerEpochError"}:
            raise TidemarkError(
                f"another publisher of {address(settings, topic)} took over.",
                "it sends the rest; or run `tidemark ledger publish`.",
            ) from error
        raise UnavailableError(
            f"{address(settings, topic)} cannot be written: {error!r}.",
            "run `tidemark status`, then `tidemark ledger publish`.",
        ) from error
