"""Ends a replay and removes everything it made: jobs, topics, tables, counters, state."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from kafka.errors import UnknownTopicOrPartitionError
from psycopg import sql

from jobs.flink.rest import FlinkRest, wait_until
from jobs.flink.restore import checkpoint_dir, place, savepoint_dir
from jobs.flink.submit import JOBS
from tidemark.billing import store
from tidemark.catalog import history
from tidemark.core import audit, postgres, redis
from tidemark.core.errors import TidemarkError
from tidemark.core.kafka import clients
from tidemark.core.places import UnlistedError
from tidemark.core.settings import Settings
from tidemark.replay import record
from tidemark.replay.record import Replay, run_settings


def discard(settings: Settings, replay_id: str, by: str) -> bool:
    """Remove a replay; its row, decisions and corrections stay. False if it was discarded before.

    Safe to repeat: what was removed already is skipped, and the row is updated last.

    Raises
    ------
    TidemarkError
        It is promoted: its rollups are in use.
    """
    with postgres.connect(settings.postgres.owner) as connection:
        replay = record.find(connection, settings.names, replay_id)
    if replay.state == "discarded":
        return False
    if replay.state == "promoted":
        raise TidemarkError(f"replay {replay_id!r} is promoted: its rollups are in use.", f"revert {replay_id} first.")
    run = run_settings(settings, replay)
    _end_jobs(run)
    _drop_topics(run, _topics(run, replay))
    redis.remove(run.redis, f"{run.names.redis_prefix}*")
    _drop_state(run)
    with postgres.connect(settings.postgres.owner) as connection, connection.transaction():
        store.lock_ledger(connection, settings.names)
        if record.find(connection, settings.names, replay_id).state == "promoted":
            raise TidemarkError(f"replay {replay_id!r} was promoted meanwhile, without its jobs.", "revert it.")
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(run.names.usage_schema)))
        if replay.catalog_at is not None:
            history.drop(connection, run.catalog.schema_name)
        record.update(connection, settings.names, replay_id, state="discarded")
        record.decide(connection, settings.names, replay_id, "discard", by, (0, 0))
        audit.record(connection, settings.run_id, "replay.discard", replay_id, by=by)
    return True


def _end_jobs(run: Settings) -> None:
    rest = FlinkRest(run.flink)
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
    with clients.admin(run.kafka) as admin:
        for topic in set(topics) & set(admin.list_topics()):
            # Somebody else removed it meanwhile.
            with suppress(UnknownTopicOrPartitionError):
                admin.delete_topics([topic])


def _drop_state(run: Settings) -> None:
    """Remove checkpoints and savepoints where this machine can; elsewhere the retention of their store removes them."""
    for job in JOBS:
        name = run.names.job(job)
        for uri in (checkpoint_dir(run.flink, name), savepoint_dir(run.flink, name)):
            with suppress(UnlistedError):
                place(run, uri).remove_all()
