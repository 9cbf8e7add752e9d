"""What a run of ours has stored: bytes of rows, of records in Kafka and the archive, of counters in Redis."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from psycopg import sql

from tests.bench.report.results import Found
from tidemark.archive import archiver
from tidemark.core import redis
from tidemark.core.kafka import clients
from tidemark.core.postgres import connect
from tidemark.core.settings import Settings

GRAINS = ("minute", "hour", "day", "period")
ROWS = {grain: f"rows of {grain}s" for grain in GRAINS}
EVENTS, DELTAS, ARCHIVE, COUNTERS = "topic of events", "topic of deltas", "archive", "counters in Redis"
# Counters whose memory is asked for.
_SAMPLED = 1_000
_TABLE = "SELECT count(*), {size}({table}::regclass) FROM {relation}"


def stored(folder: Path, settings: Settings, events: int) -> Found:
    """Figures of a run whose rows equal the oracle; its archive is made in the folder, and removed."""
    found = Found()
    with connect(settings.postgres) as connection:
        for grain, subject in ROWS.items():
            count, size = _table(connection, settings, grain)
            found.add(subject, rows_per_event=count / events, row_bytes=size / count)
    for subject, topic in ((EVENTS, settings.topics.events), (DELTAS, settings.names.deltas)):
        found.add(subject, event_bytes=topic_bytes(settings, topic) / events)
    found.add(ARCHIVE, event_bytes=_archived_bytes(folder, settings) / events)
    found.add(COUNTERS, counter_bytes=_counter_bytes(settings))
    return found


def _table(connection: psycopg.Connection, settings: Settings, grain: str) -> tuple[int, int]:
    """Rows of a grain and their bytes, with indexes and with what upserts have left behind."""
    name = sql.Identifier(settings.names.usage_schema, f"usage_{grain}")
    size = sql.SQL("pg_total_relation_size" if grain == "period" else "hypertable_size")
    statement = sql.SQL(_TABLE).format(size=size, table=sql.Literal(name.as_string()), relation=name)
    count, size_bytes = connection.execute(statement).fetchall()[0]
    return int(count), int(size_bytes)


def topic_bytes(settings: Settings, topic: str) -> int:
    """Bytes of a topic in the logs of all brokers, as the brokers say."""
    with clients.admin(settings.kafka) as admin:
        return summed(admin.describe_log_dirs([topic]))


def summed(brokers: Iterable[Any]) -> int:
    """Bytes of all partitions of an answer about folders of logs."""
    return sum(
        int(partition["partition_size"])
        for broker in brokers for folder in broker["log_dirs"] for topic in folder["topics"]
        for partition in topic["partitions"]
    )  # fmt: skip


def _archived_bytes(folder: Path, settings: Settings) -> int:
    with TemporaryDirectory(dir=folder) as archive:
        return archiver.run(settings.with_changes({"archive.dir": archive})).size


def _counter_bytes(settings: Settings) -> float:
    """Memory of a counter: the mean of some that SCAN comes to."""
    with redis.client(settings.redis) as server:
        keys = server.scan_iter(match=f"{settings.names.redis_prefix}{{*}}:*", count=_SAMPLED, _type="hash")
        return fmean(int(server.memory_usage(key) or 0) for key, _ in zip(keys, range(_SAMPLED), strict=False))
