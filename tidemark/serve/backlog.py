"""What waits for each role, read beside scrapes: cheap queries, none of which walks a table that grows with usage."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg
import redis
from psycopg import sql

from tidemark.archive.archiver import topics_of
from tidemark.core.errors import TidemarkError
from tidemark.core.kafka import clients, ends_of
from tidemark.core.postgres import Database
from tidemark.core.redis import client, translated
from tidemark.core.service import Service, logger
from tidemark.core.settings import Settings
from tidemark.reconcile import drift_store
from tidemark.serve.figures import FAMILIES, Figures, Values
from tidemark_client.keys import heartbeat_key

log = logger("backlog")

EVERY_S = 15.0
_QUOTAS = "SELECT rule, count(*) FROM quota_alarm WHERE resolved_at IS NULL GROUP BY rule"
_DUE = """
SELECT count(*), coalesce(extract(epoch FROM now() - min(due_at)), 0)
FROM notification WHERE delivered_at IS NULL AND dead_at IS NULL AND due_at <= now()
"""
_DEAD = "SELECT count(*) FROM notification WHERE dead_at IS NOT NULL"
_TAKEN = "SELECT partition, next_offset FROM alert_intake WHERE topic = %s"
_READ = "SELECT handler, partition, next_offset FROM response_offset WHERE topic = %s"
_SUSPENDED = "SELECT count(*) FROM suspension WHERE lifted_at IS NULL AND (until IS NULL OR until > now())"
_OUTBOX = """
SELECT p.topic, (SELECT count(*) FROM {schema}.outbox o WHERE o.seq > p.seq AND o.topic = p.topic)
FROM {schema}.outbox_position p
"""
_ARCHIVED = """
SELECT partition, max(last_offset) + 1
FROM (
    SELECT partition, last_offset FROM {schema}.archive_file WHERE topic = %s
    UNION ALL SELECT partition, last_offset FROM {schema}.archive_gap WHERE topic = %s
) covered
GROUP BY partition
"""

Found = dict[str, Values]


class Sources:
    """Postgres, Kafka and Redis for the figures of a process, each connected when first used."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._database = Database(settings.postgres.ops, "backlog", settings.names.usage_schema)
        self._consumer: Any = None
        self._redis: redis.Redis | None = None

    def query(self, statement: str, values: Sequence[Any] = (), schema: str = "") -> list[Any]:
        """Rows of a statement; `{schema}` in it is the schema given."""
        composed = sql.SQL(statement).format(schema=sql.Identifier(schema)) if schema else sql.SQL(statement)
        return self._database.run(lambda connection: connection.execute(composed, values).fetchall())

    def run(self, operation: Callable[[psycopg.Connection], Any]) -> Any:
        """The result of an operation of Postgres."""
        return self._database.run(operation)

    def ends(self, topic: str) -> dict[int, int]:
        """Offset after the last record of each partition that is committed."""
        try:
            return self._ends(topic)
        except BaseException:
            self._leave_kafka()
            raise

    def heartbeat_ms(self) -> int | None:
        """When the heartbeat in Redis was sent, epoch milliseconds; None without one."""
        with translated(self.settings.redis, self._redis):
            if self._redis is None:
                self._redis = client(self.settings.redis)
            beat: Any = self._redis.get(heartbeat_key(self.settings.names.redis_prefix))
        return None if beat is None else int(beat)

    def close(self) -> None:
        """Give all connections back."""
        self._database.close()
        self._leave_kafka()
        if self._redis is not None:
            self._redis.close()

    def _ends(self, topic: str) -> dict[int, int]:
        with clients.translated(self.settings.kafka):
            if self._consumer is None:
                self._consumer = clients.consumer(self.settings.kafka, isolation_level="read_committed")
            return ends_of(self._consumer.end_offsets(clients.partitions(self._consumer, topic)))

    def _leave_kafka(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()


def _live(sources: Sources) -> Found:
    beat_ms = sources.heartbeat_ms()
    return {"tidemark_live_heartbeat_age_seconds": {(): time.time() - beat_ms / 1_000} if beat_ms is not None else {}}


def _quotas(sources: Sources) -> Found:
    return {"tidemark_quota_alarms": {(rule,): count for rule, count in sources.query(_QUOTAS)}}


def _alerts(sources: Sources) -> Found:
    topic = sources.settings.names.alerts
    taken: dict[int, int] = dict(sources.query(_TAKEN, [topic]))
    return {"tidemark_alerts_waiting": {(): behind(sources.ends(topic), taken)}}


def _deliver(sources: Sources) -> Found:
    ((due, oldest_s),) = sources.query(_DUE)
    ((dead,),) = sources.query(_DEAD)
    return {
        "tidemark_notifications_due": {(): due},
        "tidemark_notifications_oldest_due_seconds": {(): float(oldest_s)},
        "tidemark_notifications_dead": {(): dead},
    }


def _respond(sources: Sources) -> Found:
    topic = sources.settings.names.alerts
    read: dict[str, dict[int, int]] = {}
    for handler, partition, offset in sources.query(_READ, [topic]):
        read.setdefault(handler, {})[partition] = offset
    ends = sources.ends(topic)
    ((suspended,),) = sources.query(_SUSPENDED)
    return {
        "tidemark_responses_waiting": {(handler,): behind(ends, offsets) for handler, offsets in read.items()},
        "tidemark_suspensions": {(): suspended},
    }


def _close(sources: Sources) -> Found:
    rows = sources.query(_OUTBOX, schema=sources.settings.names.billing_schema)
    return {"tidemark_outbox_pending": {(topic,): count for topic, count in rows}}


def _reconcile(sources: Sources) -> Found:
    names = sources.settings.names
    drift = sources.run(lambda connection: drift_store.open_counts(connection, names))
    runs = sources.run(lambda connection: drift_store.last_runs(connection, names))
    return {
        "tidemark_reconcile_drift": {(check,): drift.get(check, 0) for check in {*runs, *drift}},
        "tidemark_reconcile_last_run_timestamp_seconds": {(check,): run[1].timestamp() for check, run in runs.items()},
    }


def _archive(sources: Sources) -> Found:
    schema = sources.settings.names.billing_schema
    found: dict[tuple[str, ...], float] = {}
    for topic in topics_of(sources.settings.topics):
        archived = dict(sources.query(_ARCHIVED, [topic, topic], schema))
        found[topic,] = behind(sources.ends(topic), archived)
    return {"tidemark_archive_behind_records": found}


READERS: Mapping[str, Callable[[Sources], Found]] = {
    "live": _live,
    "quotas": _quotas,
    "alerts": _alerts,
    "deliver": _deliver,
    "respond": _respond,
    "close": _close,
    "reconcile": _reconcile,
    "archive": _archive,
}


def behind(ends: Mapping[int, int], done: Mapping[int, int]) -> int:
    """Records between the next offsets and the ends; all of a partition that was never read."""
    return sum(max(end - done.get(partition, 0), 0) for partition, end in ends.items())


class Reader:
    """Reads what waits for the roles of this process into its figures."""

    def __init__(self, settings: Settings, roles: Sequence[str], figures: Figures) -> None:
        self._sources = Sources(settings)
        self._roles = [role for role in READERS if role in roles]
        self._figures = figures

    def read(self) -> None:
        """Read once; what cannot be read is dropped, and what can is read all the same.

        Raises
        ------
        TidemarkError
            The first failure.
        """
        failures: list[TidemarkError] = []
        for role in self._roles:
            try:
                found = READERS[role](self._sources)
            except TidemarkError as error:
                failures.append(error)
                found = {}
            for name in of_role(role):
                if name in found:
                    self._figures.put(name, found[name])
                elif not found:
                    self._figures.drop(name)
        if failures:
            raise failures[0]

    def close(self) -> None:
        """Give all connections back."""
        self._sources.close()


def of_role(role: str) -> list[str]:
    """Figures that a process with the role has, but for those that the role counts or that are sampled."""
    return [
        family.name for family in FAMILIES if family.role == role and not family.counted and family.kind != "histogram"
    ]


def service(settings: Settings, roles: Sequence[str], figures: Figures) -> Service[Reader, None]:
    """Reads every EVERY_S seconds."""
    return Service("backlog", EVERY_S, lambda: Reader(settings, roles, figures), Reader.read, log)
