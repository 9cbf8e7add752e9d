"""Tells Kafka of closes and corrections: outbox rows in their order, each exactly once for read_committed consumers."""

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
# A transaction of ours takes less than a second; one whose teller is gone is ended by the broker after this.
TRANSACTION_TIMEOUT_MS = 60_000
_WAIT_MS = 60_000
_DECIDED_S = 90.0

Step = Callable[[int], None]


class Row(NamedTuple):
    """One row of the outbox."""

    seq: int
    key: str
    body: str


def tell(settings: Settings, progress: Step | None = None) -> int:
    """Send what the outbox has and the topics do not; returns how many records.

    1. Take the transactional id of the topic: a teller that has it already is fenced, its open transaction aborted.
    2. Read the last committed record: its seq says how far the topic is. No record of the ledger can be sent twice,
       whatever happened to tellers before, because only one that is not fenced commits.
    3. Send the rows after it, a transaction each batch, and note how far it is (for a topic whose records went).

    Raises
    ------
    UnavailableError
        Kafka or Postgres does not answer.
    TidemarkError
        Another teller took over meanwhile; it sends the rest.
    """
    with connect(settings.postgres) as connection:
        return sum(_tell(connection, settings, topic, progress or (lambda _: None)) for topic in TOPICS)


def untold(connection: psycopg.Connection, settings: Settings) -> int:
    """Rows that are not noted as told."""
    statement = (
        "SELECT count(*) FROM {schema}.outbox JOIN {schema}.outbox_told t USING (topic) WHERE outbox.seq > t.seq"
    )
    return int(_ask(connection, settings, statement)[0][0])


def _tell(connection: psycopg.Connection, settings: Settings, topic: str, progress: Step) -> int:
    noted, last = _ask(
        connection,
        settings,
        "SELECT t.seq, coalesce((SELECT max(seq) FROM {schema}.outbox o WHERE o.topic = t.topic), 0)"
        " FROM {schema}.outbox_told t WHERE t.topic = %s",
        [topic],
    )[0]
    if noted == last:
        return 0
    sent = 0
    with _producer(settings, topic) as producer:
        # Step 1
        producer.init_transactions()
        # Step 2
        told = max(noted, _committed(settings, topic))
        # Step 3
        while rows := _rows(connection, settings, topic, told):
            _send(producer, _address(settings, topic), rows)
            told = rows[-1].seq
            _note(connection, settings, topic, told)
            sent += len(rows)
            progress(len(rows))
        _note(connection, settings, topic, told)
    return sent


def _committed(settings: Settings, topic: str) -> int:
    """Seq of the last committed record of a topic, 0 without one."""
    name = _address(settings, topic)
    # Ours is the only transaction there may be, and it was just ended: until its marker is written, records before the
    # end may seem to be absent.
    wait_until(
        lambda: end_offsets(settings.kafka, name, "read_committed") == end_offsets(settings.kafka, name),
        _DECIDED_S,
        f"the last transaction of {name} to be decided",
    )
    found = last_records(settings.kafka, name, "read_committed").values()
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
    return [Row(*row) for row in _ask(connection, settings, statement, [topic, after, BATCH])]


def _note(connection: psycopg.Connection, settings: Settings, topic: str, seq: int) -> None:
    statement = "UPDATE {schema}.outbox_told SET seq = %s WHERE topic = %s AND seq < %s"
    connection.execute(_statement(settings, statement), [seq, topic, seq])


def _ask(connection: psycopg.Connection, settings: Settings, statement: str, values: Sequence[Any] = ()) -> list[Any]:
    return connection.execute(_statement(settings, statement), values).fetchall()


def _statement(settings: Settings, text: str) -> sql.Composed:
    return sql.SQL(text).format(schema=sql.Identifier(settings.names.billing_schema))


def _address(settings: Settings, topic: str) -> str:
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
                f"another teller of {_address(settings, topic)} took over.",
                "it sends the rest; or `tidemark ledger tell`.",
            ) from error
        raise UnavailableError(
            f"{_address(settings, topic)} cannot be written: {error!r}.",
            "`tidemark status`, then `tidemark ledger tell`.",
        ) from error
