"""Retention of topics in Kafka, where their records are no longer needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial

from kafka.admin import ConfigResource, ConfigResourceType

from tidemark.archive.index import Index
from tidemark.archive.retention.steps import NOTHING, Step
from tidemark.archive.source import Source
from tidemark.core.kafka import clients
from tidemark.core.settings import KafkaSettings, Settings
from udfs.values import epoch_ms

DAY_MS = 86_400_000
KEPT_FOR_EVER = -1

# Why the retention of a topic may not be set to so many milliseconds; empty if it may.
_Check = Callable[[int], str]


def steps(settings: Settings, source: Source, index: Index, now: datetime) -> Iterator[Step]:
    """Steps for the topics of events, deltas and dead letters; the redrive topic is kept for ever."""
    outage = partial(
        _shorter, settings.events.outage_s, "events.outage_s, after which a restored job may still read it again"
    )
    window = partial(
        _shorter,
        settings.events.grace_s + settings.events.redrive_window_s,
        "events.grace_s + events.redrive_window_s: until then records are redriven",
    )
    archived = partial(_not_archived, source, index, settings.topics.events, now)
    wanted: tuple[tuple[str, int, tuple[_Check, ...]], ...] = (
        (settings.topics.events, settings.retention.events_days, (outage, archived)),
        (settings.names.deltas, settings.retention.deltas_days, (outage,)),
        (settings.names.dlq, settings.retention.dlq_days, (window,)),
    )
    for topic, days, checks in wanted:
        if days:
            yield _step(settings.kafka, topic, days, retention_ms(source, topic), checks)


def retention_ms(source: Source, topic: str) -> int:
    """Effective retention of a topic; KEPT_FOR_EVER without an end."""
    return int(source.configs(topic)["retention.ms"])


def _step(kafka: KafkaSettings, topic: str, days: int, current_ms: int, checks: tuple[_Check, ...]) -> Step:
    wanted_ms = days * DAY_MS
    if wanted_ms == current_ms:
        return Step(topic, f"retention stays {shown(current_ms)}", days)
    does = f"retention from {shown(current_ms)} to {shown(wanted_ms)}"
    # A longer retention needs no check.
    lowers = current_ms == KEPT_FOR_EVER or wanted_ms < current_ms
    refused = next((why for check in checks if (why := check(wanted_ms))), "") if lowers else ""
    act = NOTHING if refused else partial(_alter, kafka, topic, wanted_ms)
    return Step(topic, does, days, refused=refused, act=act)


def _shorter(seconds: int, why: str, wanted_ms: int) -> str:
    return f"shorter than {shown(seconds * 1_000)} ({why})" if wanted_ms < seconds * 1_000 else ""


def _not_archived(source: Source, index: Index, topic: str, now: datetime, wanted_ms: int) -> str:
    """Which records would be removed without being archived: the partition, and how many."""
    due = source.offsets_at(topic, epoch_ms(now) - wanted_ms)
    earliest, archived = source.earliest_offsets(topic), index.next_offsets(topic)
    for partition, offset in due.items():
        start = max(earliest[partition], archived.get(partition, 0))
        if start < offset:
            return (
                f"partition {partition} would lose {offset - start} records from offset {start} on that are not "
                "archived; run `tidemark archive run` first"
            )
    # Nothing is due now; without an archive, records would be lost later.
    if topic not in index.topics():
        return "it is not archived, so removed records would be lost; run `tidemark archive run` first"
    return ""


def _alter(kafka: KafkaSettings, topic: str, wanted_ms: int) -> None:
    configs = {"retention.ms": str(wanted_ms)}
    with clients.admin(kafka) as admin:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=configs)])


def shown(ms: int) -> str:
    """A retention as text."""
    if ms == KEPT_FOR_EVER:
        return "for ever"
    return f"{ms // DAY_MS} d" if ms % DAY_MS == 0 else f"{ms / 3_600_000:.1f} h"
