"""Options that the jobs share: checkpoints and state, transactional Kafka sinks, upserting JDBC sinks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyflink.table import TableEnvironment

from jobs.flink.bounds import table_options
from jobs.flink.jdbc import jdbc_url
from jobs.flink.restore import checkpoint_dir
from tidemark.core.kafka.security import table_properties
from tidemark.core.settings import KafkaSettings, Settings

# A topic may get more partitions while its job runs; Flink's own default is five minutes, in which their events wait.
PARTITIONS_EVERY_S = 10


def configure(
    env: TableEnvironment, settings: Settings, job: str, *, parallelism: int, checkpoint_ms: int, own: Mapping[str, Any]
) -> None:
    """Set the options of a job, beside those of the cluster; `own` are those that it alone has."""
    name = settings.names.job(job)
    options = {
        "pipeline.name": name,
        "parallelism.default": parallelism,
        "pipeline.object-reuse": "true",
        "table.local-time-zone": "UTC",
        # Totals never expire inside a period; what may live shorter gets its life in the plan of the job.
        "table.exec.state.ttl": f"{settings.flink.state_ttl_days} d",
        "execution.checkpointing.interval": f"{checkpoint_ms} ms",
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        # A job that is cancelled goes on from its newest checkpoint, whatever the cluster's own default is: without it
        # its deltas would be added a second time.
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        # A folder per job, so that `submit` finds what to restore from.
        "execution.checkpointing.dir": checkpoint_dir(settings.flink, name),
        **own,
    }
    for key, value in options.items():
        env.get_config().set(key, str(value))


def kafka(settings: KafkaSettings, job: str) -> str:
    """Brokers and security of a Kafka source of a job; those of a sink are among `exactly_once`."""
    discovery = {"scan.topic-partition-discovery.interval": f"{PARTITIONS_EVERY_S} s"}
    return table_options(table_properties(settings, job) | discovery)


def exactly_once(settings: Settings, job: str, transactions: str) -> str:
    """Kafka sink options of one transactional sink; `transactions` is its prefix, unique per sink and run."""
    return table_options(
        {
            "connector": "kafka",
            **table_properties(settings.kafka, job),
            "properties.transaction.timeout.ms": str(settings.events.transaction_timeout_ms),
            "properties.max.request.size": "3145728",
            "properties.compression.type": "lz4",
            "properties.linger.ms": "5",
            "sink.delivery-guarantee": "exactly-once",
            "sink.transactional-id-prefix": transactions,
        }
    )


def upserts(settings: Settings, job: str, *, flush_rows: int) -> str:
    """Options of an upserting JDBC table. The password comes from libpq's password file, so none is in the job."""
    return table_options(
        {
            "connector": "jdbc",
            "url": jdbc_url(settings.postgres.writer.url, settings.names.job(job)),
            "sink.buffer-flush.max-rows": str(flush_rows),
            "sink.buffer-flush.interval": "200ms",
            "sink.max-retries": "3",
        }
    )
