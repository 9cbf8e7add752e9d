"""Where copies of a customer are that an erasure does not reach: each is named, for somebody to decide about it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, LiteralString, cast

import psycopg
from psycopg import sql
from redis import Redis

from tidemark.archive.layout import QUARANTINE, Folder
from tidemark.archive.source import Source
from tidemark.core import redis
from tidemark.core.settings import Settings
from tidemark_client.keys import encoded
from udfs.catalog.model import Pair
from udfs.values import instant

Kind = Literal["topic", "table", "redis", "file", "state"]
# What may be there: everything an event says, what metering reads of it, or what somebody wrote in a command.
Holds = Literal["events as sent", "ids, and values that meters read", "ids, and values that people gave"]
EVENTS: Holds = "events as sent"
USAGE: Holds = "ids, and values that meters read"
GIVEN: Holds = "ids, and values that people gave"

_SCAN = 1_000
# Tables of a run, of its replays, and of what all runs share; those that the role may read.
_TABLES: LiteralString = """
SELECT n.nspname, c.relname,
       count(*) FILTER (WHERE a.attname IN ('tenant_id', 'customer_id')) = 2 AS named
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND has_table_privilege(c.oid, 'SELECT')
  AND (n.nspname = ANY(%s) OR n.nspname LIKE ANY(%s))
GROUP BY n.nspname, c.relname
ORDER BY 1, 2
"""
_NAMED: LiteralString = "SELECT count(*) FROM {table} WHERE tenant_id = %s AND customer_id = %s"
# As JSON, texts and documents within a row are written alike.
_SEARCHED: LiteralString = """
SELECT count(*) FROM {table} t
WHERE EXISTS (SELECT FROM unnest(%s::text[]) AS written (id) WHERE strpos(to_jsonb(t)::text, written.id) > 0)
"""


@dataclass(frozen=True, slots=True)
class Copy:
    """Something that holds, or may hold, parts of the events of a customer.

    Parameters
    ----------
    kind, name:
        Which it is.
    holds:
        EVENTS, USAGE or GIVEN.
    count:
        Rows, keys or files; None where nobody counted.
    until:
        When its records of now will be gone by themselves; None for never, or where nobody can say.
    """

    kind: Kind
    name: str
    holds: Holds
    count: int | None = None
    until: datetime | None = None


def copies(connection: psycopg.Connection, source: Source, settings: Settings, customer: Pair) -> tuple[Copy, ...]:
    """All of them, after an erasure or before one.

    Raises
    ------
    UnavailableError
        Kafka or Redis does not answer.
    """
    return (
        *_topics(connection, source, settings),
        *_tables(connection, settings, customer),
        *_keys(settings, customer),
        *_files(settings),
        *([Copy("state", settings.flink.state_dir, USAGE)] if settings.flink.state_dir else []),
    )


def _topics(connection: psycopg.Connection, source: Source, settings: Settings) -> Iterator[Copy]:
    names, run = settings.names, settings.run_id or "replay"
    whole = {settings.topics.events, settings.topics.redrive, names.dlq}
    own = {names.deltas, names.alerts, names.closes, names.corrections}
    row = connection.execute("SELECT extract(epoch FROM clock_timestamp()) * 1000").fetchone()
    now_ms = int(row[0]) if row else 0
    for topic in source.topics():
        # Those of replays, and what was published from the archive, have the name of the run in theirs.
        replay = topic.startswith("usage.") and f".{run}__" in topic
        published = topic.startswith(f"{settings.topics.events}.")
        if topic in whole | own or replay or published:
            kept_ms = int(source.configs(topic)["retention.ms"])
            holds = EVENTS if topic in whole or published or topic.startswith("usage.dlq.") else USAGE
            yield Copy("topic", topic, holds, until=None if kept_ms < 0 else instant(now_ms + kept_ms))


def _tables(connection: psycopg.Connection, settings: Settings, customer: Pair) -> Iterator[Copy]:
    names = settings.names
    schemas = [names.usage_schema, names.billing_schema, "catalog", "api", "audit"]
    replays = [f"{base}\\_{settings.run_id or 'replay'}\\_\\_%" for base in ("usage", "billing", "catalog")]
    for schema, name, named in connection.execute(_TABLES, [schemas, replays]).fetchall():
        table = sql.Identifier(schema, name)
        question, given = (_NAMED, [*customer]) if named else (_SEARCHED, [written(customer[1])])
        row = connection.execute(sql.SQL(question).format(table=table), cast("list[str]", given)).fetchone()
        if row and row[0]:
            yield Copy("table", f"{schema}.{name}", GIVEN if schema == "audit" else USAGE, row[0])


def written(customer_id: str) -> list[str]:
    """How an id stands in JSON, in JSON within a text of JSON, and in bytes."""
    once = json.dumps(customer_id, ensure_ascii=False)[1:-1]
    return [once, json.dumps(once, ensure_ascii=False)[1:-1], customer_id.encode().hex()]


def _keys(settings: Settings, customer: Pair) -> Iterator[Copy]:
    client = redis.client(settings.redis)
    tenant, own = encoded(customer[0]), f"{encoded(customer[0])}/{encoded(customer[1])}"
    with redis.translated(settings.redis, client):
        for prefix in (settings.names.redis_prefix, f"usage_{settings.run_id or 'replay'}__"):
            found = [key for key in client.scan_iter(f"{prefix}*", count=_SCAN) if f"{{{own}}}" in key]
            boards = (key for key in client.scan_iter(f"{prefix}*", count=_SCAN) if f"{{{tenant}}}::top:" in key)
            found += [key for key in boards if _ranks(client, key, customer[1])]
            yield from (Copy("redis", key, USAGE, 1) for key in sorted(found))
        client.close()


def _ranks(client: Redis, board: str, customer_id: str) -> bool:
    """Whether a leaderboard has a customer; beside each is a hash about its window."""
    return not board.endswith(":window") and client.zscore(board, customer_id) is not None


def _files(settings: Settings) -> Iterator[Copy]:
    count = sum(1 for _ in Folder.of(settings).place.files(QUARANTINE))
    if count:
        yield Copy("file", f"{settings.archive.dir}/{QUARANTINE}", EVENTS, count)
