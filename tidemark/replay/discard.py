"""Ends a replay and removes what is its own: jobs, topics, tables, counters, state."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import redis
from kafka import KafkaAdminClient
from kafka.errors import KafkaError, UnknownTopicOrPartitionError
from psycopg import sql

from jobs.flink.rest import FlinkRest, wait_until
from jobs.flink.restore import checkpoint_dir, savepoint_dir
from jobs.flink.submit import JOBS
from tidemark.billing import store
from tidemark.catalog import known
from tidemark.core import migrate
from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.settings import Settings
from tidemark.replay import record
from tidemark.replay.record import Replay, run_settings
from udfs.live.counters import client

_KEYS_AT_ONCE = 1_000


def discard(settings: Settings, replay_id: str, by: str) -> bool:
    """Remove a replay; its row, decisions and corrections stay. False when it was discarded before.

    Safe to repeat: what was removed already is passed over, and the row is marked last.

    Raises
    ------
    TidemarkError
        It is promoted: people read it.
    """
    with migrate.connect(settings.postgres) as connection:
        replay = record.find(connection, settings.names, replay_id)
    if replay.state == "discarded":
        return False
    if replay.state == "promoted":
        raise TidemarkError(f"replay {replay_id!r} is promoted: people read it.", f"revert {replay_id} first.")
    run = run_settings(settings, replay)
    _end_jobs(run)
    _drop_topics(run, _topics(run, replay))
    _drop_keys(run)
    _drop_state(run)
    with migrate.connect(settings.postgres) as connection, connection.transaction():
        store.take_turn(connection, settings.names)
        if record.find(connection, settings.names, replay_id).state == "promoted":
            raise TidemarkError(f"replay {replay_id!r} was promoted meanwhile, without its jobs.", "revert it.")
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(run.names.usage_schema)))
        if replay.catalog_at is not None:
            known.drop(connection, run.catalog.schema_name)
        record.update(connection, settings.names, replay_id, state="discarded")
        record.decide(connection, settings.names, replay_id, "discard", by, (0, 0))
    return True


def _end_jobs(run: Settings) -> None:
    rest = FlinkRest(run.flink.rest_url)
    for job in JOBS:
        name = run.names.job(job)
        running = rest.active(name)
        if running is not None:
            rest.cancel(running.id)
            wait_until(lambda name=name: rest.active(name) is None, 120, f"{name} to end")  # type: ignore[misc]


def _topics(run: Settings, replay: Replay) -> list[str]:
    own = [run.names.deltas, run.names.alerts, run.names.reevaluations, run.names.dlq]
    return [*own, run.topics.events, run.topics.redrive] if replay.from_archive else own


def _drop_topics(run: Settings, topics: Sequence[str]) -> None:
    try:
        admin = KafkaAdminClient(bootstrap_servers=run.kafka.servers)
        try:
            there = set(admin.list_topics())
            for topic in topics:
                if topic in there:
                    admin.delete_topics([topic])
        except UnknownTopicOrPartitionError:
            pass
        finally:
            admin.close()
    except KafkaError as error:
        raise UnavailableError(f"Kafka at {run.kafka.bootstrap}: {error!r}.", "`tidemark up`, then again.") from error


def _drop_keys(run: Settings) -> None:
    password = run.redis.secret
    try:
        with client(run.redis.url, password, timeout_s=10) as connected:
            batch: list[str] = []
            for key in connected.scan_iter(match=f"{run.names.redis_prefix}*", count=_KEYS_AT_ONCE):
                batch.append(key)
                if len(batch) == _KEYS_AT_ONCE:
                    connected.unlink(*batch)
                    batch = []
            if batch:
                connected.unlink(*batch)
    except redis.RedisError as error:
        raise UnavailableError(f"Redis at {run.redis.url}: {error}.", "`tidemark up`, then again.") from error


def _drop_state(run: Settings) -> None:
    """Checkpoints and savepoints, where they are files here; elsewhere their store's own retention removes them."""
    for job in JOBS:
        name = run.names.job(job)
        for uri in (checkpoint_dir(run.flink, name), savepoint_dir(run.flink, name)):
            split = urlsplit(uri)
            if split.scheme in {"", "file"}:
                shutil.rmtree(Path(split.path), ignore_errors=True)
