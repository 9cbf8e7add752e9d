"""Creates the topics a run needs; safe to repeat, and never changes a topic that exists."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

from kafka.admin import NewTopic
from kafka.errors import TopicAlreadyExistsError

from tidemark.core.errors import UsageError
from tidemark.core.kafka import clients, end_offsets
from tidemark.core.kafka.configs import topic_configs
from tidemark.core.settings import KafkaSettings, Settings

# A DLQ record holds an event of any size the broker takes, in base64.
MAX_RECORD_BYTES = 3 * 1_024 * 1_024
_TIMEOUT_MS = 15_000
TimestampType = Literal["LogAppendTime", "CreateTime"]
# What comes in otherwise is compressed again, and its size checked after that. The default of brokers checks the size
# as it was sent, and zstd makes 13 kB of 400 MiB of zeros; of lz4 a byte stands for at most 255.
_EVENTS_CONFIG = {"compression.type": "lz4"}
# The timestamp of a redriven event is its original arrival, also where events get the broker's clock. Its records are
# kept for ever: they are the only account of what was redriven. Every replay must read them, and an event that is
# there already is not sent again. By age they would go at once, since their timestamps are old when they are written.
_REDRIVE_CONFIG = {**_EVENTS_CONFIG, "message.timestamp.type": "CreateTime", "retention.ms": "-1"}

# A re-evaluation request is of use for seconds; a job that starts begins with the newest.
_REEVALUATIONS_CONFIG = {"message.timestamp.type": "LogAppendTime", "retention.ms": "3600000"}


@dataclass(frozen=True, slots=True)
class Applied:
    """One topic and whether this call created it."""

    topic: str
    created: bool


# What was published to finance is kept; in one partition, because the order of closes and corrections carries meaning.
_LEDGER_CONFIG = {"retention.ms": "-1", "max.message.bytes": str(MAX_RECORD_BYTES)}


def apply(settings: Settings, *, create_time: bool = False, ledger: bool = True) -> list[Applied]:
    """Create what is missing of the source topic, the topic of redriven events and the topics of this run.

    Parameters
    ----------
    settings:
        Partitions, replication, run id.
    create_time:
        For loading history: arrival is the timestamp the producer sets, instead of the broker's clock. The topic of
        redriven events is always of this kind.
    ledger:
        Also the topics of closes and corrections; a replay has none, it changes those of the run it is promoted in.

    Raises
    ------
    UsageError
        The source topic or the redrive topic exists with the other kind of timestamp: lateness would be decided by the
        wrong clock.
    UnavailableError
        Kafka does not answer.

    """
    kind: TimestampType = "CreateTime" if create_time else "LogAppendTime"
    configs = configs_of(settings, kind, ledger=ledger)
    with _admin(settings.kafka) as admin:
        there = set(admin.list_topics())
        applied = [
            Applied(topic, topic not in there and _create(admin, settings, topic, config))
            for topic, config in configs.items()
        ]
        _check_timestamps(
            admin, settings.topics.events, kind, "or call `tidemark topics apply` with (or without) --create-time."
        )
        _check_timestamps(
            admin, settings.topics.redrive, "CreateTime", "or set message.timestamp.type of this one to CreateTime."
        )
    return applied


def grow(settings: Settings) -> dict[str, int]:
    """Give the topics of events and deltas as many partitions as the settings say; those that had fewer, by topic.

    Raises
    ------
    UsageError
        One has more: Kafka takes none away.
    UnavailableError
        Kafka does not answer, or a topic does not exist.
    """
    wanted = settings.topics.partitions
    before = {
        topic: len(end_offsets(settings.kafka, topic)) for topic in (settings.topics.events, settings.names.deltas)
    }
    more = [f"{topic} has {count}" for topic, count in before.items() if count > wanted]
    if more:
        raise UsageError(
            f"topics.partitions is {wanted}, and {', '.join(more)}: Kafka takes no partitions away.",
            f"set topics.partitions to {max(before.values())} or more.",
        )
    fewer = {topic: count for topic, count in before.items() if count < wanted}
    with _admin(settings.kafka) as admin:
        if fewer:
            admin.create_partitions(dict.fromkeys(fewer, wanted))
    return fewer


def configs_of(settings: Settings, kind: TimestampType, *, ledger: bool) -> dict[str, dict[str, str]]:
    """Settings that each topic is created with; all others are those of the brokers."""
    names = settings.names
    return {
        settings.topics.events: {**_EVENTS_CONFIG, "message.timestamp.type": kind},
        settings.topics.redrive: _REDRIVE_CONFIG,
        names.deltas: {},
        names.alerts: {},
        names.reevaluations: _REEVALUATIONS_CONFIG,
        names.dlq: {"max.message.bytes": str(MAX_RECORD_BYTES)},
        **({names.closes: _LEDGER_CONFIG, names.corrections: _LEDGER_CONFIG} if ledger else {}),
    }


def _create(admin: Any, settings: Settings, topic: str, config: dict[str, str]) -> bool:
    ordered = topic in {settings.names.closes, settings.names.corrections}
    partitions = 1 if ordered else settings.topics.partitions
    new = NewTopic(topic, partitions, settings.topics.replication, topic_configs=config)
    try:
        admin.create_topics([new])
    except TopicAlreadyExistsError:
        return False
    return True


def ids(kafka: KafkaSettings, topics: Sequence[str]) -> dict[str, str]:
    """What Kafka tells topics of one name apart by, of those that there are; raises UnavailableError."""
    with _admin(kafka) as admin:
        there = sorted({*topics} & {*admin.list_topics()})
        return {str(one["name"]): str(one["topic_id"]) for one in admin.describe_topics(there)} if there else {}


def exists(kafka: KafkaSettings, topic: str) -> bool:
    """Whether a topic is there; raises UnavailableError."""
    with _admin(kafka) as admin:
        return topic in admin.list_topics()


def has_create_time(kafka: KafkaSettings, topic: str) -> bool:
    """Whether the producer sets the arrival of records of a topic, instead of the broker; raises UnavailableError."""
    with _admin(kafka) as admin:
        return _timestamps(admin, topic) == "CreateTime"


def _admin(kafka: KafkaSettings) -> AbstractContextManager[Any]:
    return clients.admin(kafka, request_timeout_ms=_TIMEOUT_MS)


def _timestamps(admin: Any, topic: str) -> str:
    return topic_configs(admin, topic)["message.timestamp.type"]


def _check_timestamps(admin: Any, topic: str, expected: TimestampType, or_else: str) -> None:
    actual = _timestamps(admin, topic)
    if actual != expected:
        raise UsageError(
            f"topic {topic} has {actual} timestamps, not {expected}: lateness would be decided by the wrong clock.",
            f"use another topics.events, {or_else}",
        )
