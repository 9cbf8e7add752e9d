"""Empties what a run has counted, so that it is counted again from the first record of its topics."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from jobs.flink.rest import FlinkRest
from jobs.flink.submit import JOBS
from tidemark.core import access, audit, redis
from tidemark.core.errors import UsageError
from tidemark.core.settings import Settings
from tidemark_client.keys import marker_key

# Rows of the jobs alone: alerts, anomalies, quotas and the ledger stay.
ROLLUPS = ("usage_minute", "usage_hour", "usage_day", "usage_period", "usage_sliding", "usage_sliding_customer")


@dataclass(frozen=True, slots=True)
class Cleared:
    """How many rows of `usage_period` and how many counters there were."""

    periods: int
    counters: int


def clear(settings: Settings, by: str) -> Cleared:
    """Empty the rollups of a run and its counters in Redis.

    A total with more events in it than the new ones, because some were lost, would refuse to be replaced until it is
    overtaken. Flags of suspensions, limits and the pointer to the active version stay.

    Raises
    ------
    UsageError
        A job of the run is there: it would write rows whose others are gone.
    UnavailableError
        Postgres, Redis or Flink does not answer.
    """
    names = settings.names
    _refuse_running(settings)
    with access.connect_owner(settings.postgres) as connection, connection.transaction():
        tables = sql.SQL(", ").join(sql.Identifier(names.usage_schema, table) for table in ROLLUPS)
        count = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(names.usage_schema, "usage_period"))
        periods = int(connection.execute(count).fetchall()[0][0])
        connection.execute(sql.SQL("TRUNCATE {}").format(tables))
        audit.record(
            connection, settings.run_id, "database.clear_rollups", names.usage_schema, by=by, periods=periods
        )  # fmt: skip
    # Readers answer by their policy, and not by counters that are absent, until the Redis sync has written all again.
    redis.remove(settings.redis, marker_key(names.redis_prefix))
    # What is a customer's and no counter has two colons behind the customer.
    return Cleared(periods, redis.remove(settings.redis, f"{names.redis_prefix}{{*}}:*", but="}::"))


def _refuse_running(settings: Settings) -> None:
    rest = FlinkRest(settings.flink)
    running = [job for job in JOBS if rest.active(settings.names.job(job))]
    if running:
        raise UsageError(
            f"{' and '.join(running)} of this run are not ended: they would go on from what is emptied.",
            "cancel them in Flink; what they have counted is counted again.",
        )
