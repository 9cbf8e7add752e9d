"""Publishes archived records to a topic again, unchanged: for replays of records that Kafka no longer has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from kafka.admin import ConfigResource, ConfigResourceType, NewTopic

from tidemark.archive.index import Gap, opened
from tidemark.archive.reader import lost, records
from tidemark.archive.source import reading
from tidemark.core.errors import UsageError
from tidemark.core.kafka import Sender, clients, last_header
from tidemark.core.postgres import try_lock
from tidemark.core.settings import Settings
from tidemark.core.topics import MAX_RECORD_BYTES

# Every published record carries its offset in the archive, as decimal text: the topic shows where to continue.
OFFSET_HEADER = "archive-offset"
_KIND = {"message.timestamp.type": "CreateTime", "cleanup.policy": "delete"}
# Arrivals are old: retention by age would remove the records at once.
_KEPT = {"retention.ms": "-1", "retention.bytes": "-1", "max.message.bytes": str(MAX_RECORD_BYTES)}
_CONFIG = {**_KIND, **_KEPT}


@dataclass(frozen=True, slots=True)
class Published:
    """What one call did.

    Parameters
    ----------
    sent:
        Records sent, all acknowledged.
    existing:
        Records that the topic had from an earlier call.
    lost:
        Gaps of the archive (of any time): offsets whose records are lost and cannot be published.
    """

    sent: int
    existing: int
    lost: list[Gap]


def publish(
    settings: Settings,
    source: str,
    topic: str,
    *,
    since_ms: int | None = None,
    until_ms: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Published:
    """Send the archived records of `source` to `topic`: same partition, key, value, headers, and arrival as timestamp.

    Each record gets the header OFFSET_HEADER. Within a partition the order is that of the archive, so the last record
    shows everything that was sent before: a call after a crash continues, a second call sends nothing.

    Parameters
    ----------
    settings:
        Settings of the run with the archive.
    source:
        Archived topic.
    topic:
        Target; created if it does not exist. Its records are kept for ever, however old their timestamps are.
    since_ms, until_ms:
        Arrivals in [since_ms, until_ms), UTC epoch ms; the same for every call on one topic.
    progress:
        Called with the number of records that are done.

    Raises
    ------
    UsageError
        The topic has other timestamps, fewer partitions or other records, or another call is publishing to it.
    UnavailableError
        Kafka or Postgres does not answer.
    TidemarkError
        A file of the archive cannot be read.
    """
    with _locked(settings, topic):
        last = _prepare(settings, topic, _partitions(settings, source))
        sent = existing = 0
        with Sender(settings.kafka) as sender:
            for record in records(settings, source, since_ms=since_ms, until_ms=until_ms):
                if record.offset <= last.get(record.partition, -1):
                    existing += 1
                else:
                    sender.send(
                        topic, record.value,
                        # The client refuses a record that has neither key nor value; the broker does not.
                        key=record.key if record.value is not None else record.key or b"",
                        partition=record.partition, timestamp_ms=record.timestamp_ms,
                        # The client takes no header without a value either.
                        headers=[
                            *((name, value or b"") for name, value in record.headers),
                            (OFFSET_HEADER, str(record.offset).encode()),
                        ],
                    )  # fmt: skip
                    sent += 1
                if progress is not None:
                    progress(1)
    return Published(sent, existing, lost(settings, source))


def take_over(settings: Settings, topic: str) -> None:
    """Give a published topic the broker's clock: producers write to it from now on, behind what was published.

    Its records stay for ever until `retention.events_days` says how long. To repeat it is safe; the redrive topic keeps
    the timestamps of its producers, since those are arrivals. Raises UnavailableError.
    """
    with clients.admin(settings.kafka) as admin:
        own = {**_KEPT, "message.timestamp.type": "LogAppendTime"}
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=own)])


@contextmanager
def _locked(settings: Settings, topic: str) -> Iterator[None]:
    """Two calls at once would each send records that the other is about to send."""
    with opened(settings.postgres.ops, settings.names) as index:
        if not try_lock(index.connection, f"publishing to {topic}"):
            raise UsageError(f"another call is publishing to {topic}.", "wait until it is done, or stop it.")
        yield


def _partitions(settings: Settings, source: str) -> int:
    with opened(settings.postgres.ops, settings.names) as index:
        archived = max((file.partition + 1 for file in index.files(source)), default=0)
    return max(archived, settings.topics.partitions)


def _prepare(settings: Settings, topic: str, partitions: int) -> dict[int, int]:
    """Make the topic fit for archived records; the offset last published, by partition."""
    with clients.admin(settings.kafka) as admin:
        if topic not in admin.list_topics():
            admin.create_topics([NewTopic(topic, partitions, settings.topics.replication, topic_configs=_CONFIG)])
        last = {
            partition: int(offset) for partition, offset in last_header(settings.kafka, topic, OFFSET_HEADER).items()
        }
        with reading(settings.kafka) as kafka:
            _check(topic, kafka.configs(topic), kafka.ends(topic), partitions, published=bool(last))
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=_KEPT)])
    return last


def _check(
    topic: str, configs: Mapping[str, str], ends: Mapping[int, int], partitions: int, *, published: bool
) -> None:
    wrong = [f"{name}={configs[name]}" for name, wanted in _KIND.items() if configs[name] != wanted]
    if len(ends) < partitions:
        wrong.append(f"{len(ends)} partitions of {partitions}")
    if any(ends.values()) and not published:
        wrong.append("records that are not from the archive")
    if wrong:
        raise UsageError(
            f"topic {topic} has {', '.join(wrong)}: it would not keep archived records unchanged.",
            "choose a topic name that does not exist: this call creates it.",
        )
