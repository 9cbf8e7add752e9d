"""Reads closes and corrections back from their topics into a ledger without them: of an older backup, or a new one."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import islice
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from tidemark.billing import chain, store
from tidemark.billing.chain import Chain, Link
from tidemark.billing.outbox import HEADER, TOPICS, address
from tidemark.core import access, audit
from tidemark.core.errors import TidemarkError
from tidemark.core.kafka import dump
from tidemark.core.names import Names
from tidemark.core.settings import Settings

_LAST = "SELECT coalesce(max(seq), 0) FROM {schema}.outbox"
_NEXT = "SELECT setval(pg_get_serial_sequence(%s, 'seq'), %s)"
_POSITION = "UPDATE {schema}.outbox_position SET seq = %s WHERE topic = %s AND seq < %s"
_PERIOD = ("tenant_id", "customer_id", "period_start", "period_end")
_HEAD = ("run_id", "content_hash")
_OF_CLOSE = ("closed_at", "closed_by", "catalog_revision", "watermark", "dead_letters")
_OF_CORRECTION = ("correction_no", "cause", "replay_id", "made_at", "made_by")


class Published(NamedTuple):
    """A record of one of the topics, in the order in which both were made."""

    seq: int
    topic: str
    key: str
    body: str

    @property
    def document(self) -> dict[str, Any]:
        """Its value."""
        read: dict[str, Any] = json.loads(self.body)
        return read


def recover(settings: Settings, by: str) -> int:
    """Add what the topics have behind the last record of the ledger, in one transaction; returns how many records.

    Raises
    ------
    TidemarkError
        A record does not follow the one of its tenant before it: the topics are not those of this ledger.
    UnavailableError
        Kafka or Postgres does not answer.
    """
    names = settings.names
    with access.connect_owner(settings.postgres) as connection, connection.transaction():
        store.lock_ledger(connection, names)
        last = int(connection.execute(_statement(names, _LAST)).fetchall()[0][0])
        records = (record for record in published(settings) if record.seq > last)
        count = 0
        while batch := list(islice(records, store.BATCH)):
            _add(connection, names, batch)
            count += len(batch)
        if count:
            audit.record(connection, settings.run_id, "ledger.recover", names.billing_schema, by=by, records=count)
    return count


def published(settings: Settings) -> Iterator[Published]:
    """The records of both topics in the order in which they were made."""
    return heapq.merge(*(_read(settings, topic) for topic in TOPICS))


def _read(settings: Settings, topic: str) -> Iterator[Published]:
    for record in dump(settings.kafka, address(settings, topic)):
        key, body = ((part or b"").decode() for part in (record.key, record.value))
        yield Published(int(dict(record.headers)[HEADER]), topic, key, body)


def _add(connection: psycopg.Connection, names: Names, batch: list[Published]) -> None:
    links = chain.read(connection, names, {record.document["tenant_id"] for record in batch})
    # In the order of the records: a correction may be of a close of the same batch.
    for record in batch:
        for table, rows in rows_of(record, links).items():
            store.insert(connection, names, table, rows)
        connection.execute(_statement(names, _POSITION), [record.seq, record.topic, record.seq])
    connection.execute(_NEXT, [f'"{names.billing_schema}".outbox', batch[-1].seq])


def rows_of(record: Published, links: Chain) -> dict[str, list[dict[str, Any]]]:
    """The rows that made a record, by table, in the order of their references.

    Raises
    ------
    TidemarkError
        It does not follow the record of its tenant before it.
    """
    document = record.document
    period = {name: document[name] for name in _PERIOD}
    shared = {name: document[name] for name in _HEAD} | _linked(record, document, links)
    shared["rests_on"] = Jsonb(document["rests_on"])
    outbox = {"seq": record.seq, "topic": record.topic, "key": record.key, "body": record.body}
    if record.topic == "closes":
        own = {name: document[name] for name in _OF_CLOSE} | {"lines": len(document["lines"])}
        lines = [{**period, **_line(line)} for line in document["lines"]]
        return {"period_close": [period | own | shared], "period_close_line": lines, "outbox": [outbox]}
    own = {name: document[name] for name in _OF_CORRECTION} | {"is_current": document["stands"]}
    number = {"correction_no": document["correction_no"]}
    changes = [{**period, **number, **_change(line)} for line in document["lines"]]
    return {"correction": [period | own | shared], "correction_line": changes, "outbox": [outbox]}


def _linked(record: Published, document: Mapping[str, Any], links: Chain) -> dict[str, Any]:
    tenant = document["tenant_id"]
    if "chain_no" not in document:
        # From before there was a chain.
        return {"chain_no": None, "previous_hash": None, "record_hash": None}
    link = Link(document["chain_no"], document["previous_hash"])
    if link != links.link(tenant):
        raise TidemarkError(
            f"record {record.seq} of {record.topic} is number {link.number} of tenant {tenant}, and the ledger goes on "
            f"with number {links.link(tenant).number}, or after another record.",
            "a record is missing, or the topics are those of another ledger: restore the newest backup, and compare "
            "by `tidemark reconcile run --check ledger`.",
        )
    return links.add(tenant, record.body)


def _line(line: Mapping[str, Any]) -> dict[str, Any]:
    return {**line, "value": Decimal(line["value"])}


def _change(line: Mapping[str, Any]) -> dict[str, Any]:
    before, after = line["before"], line["after"]
    kind = after or before
    return {
        "meter": line["meter"], "dims": line["dims"], "aggregation": kind["aggregation"], "unit": kind["unit"],
        "delta": Decimal(line["delta"]), **_side("before", before), **_side("after", after),
    }  # fmt: skip


def _side(name: str, side: Mapping[str, Any] | None) -> dict[str, Any]:
    if side is None:
        return {name: None, f"{name}_n": 0, f"{name}_samples": 0}
    return {name: Decimal(side["value"]), f"{name}_n": side["n"], f"{name}_samples": side["samples"]}


def _statement(names: Names, text: LiteralString) -> sql.Composed:
    return sql.SQL(text).format(schema=sql.Identifier(names.billing_schema))
