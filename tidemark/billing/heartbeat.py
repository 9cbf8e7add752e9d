"""Heartbeats: ordinary events of a separate tenant that advance the watermark in partitions without other events."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime

from tidemark.billing.periods import HEARTBEAT_CUSTOMER, catalog_of
from tidemark.core.errors import UsageError
from tidemark.core.kafka import Sender, end_offsets, last_records
from tidemark.core.settings import Settings
from tidemark.core.topics import has_create_time
from udfs.values import epoch_ms, rfc3339

EVENT_TYPE = "tidemark.heartbeat"


def beat(settings: Settings, at: datetime | None = None, partitions: Iterable[int] | None = None) -> int:
    """Send a heartbeat into each partition (None: into all); returns how many.

    `at` is their event time, and their arrival on a topic where producers set it; None: now.

    Raises
    ------
    UsageError
        No heartbeat tenant is set, the catalog does not count its heartbeats, or the topic loads history and no time
        is given: a heartbeat of now would claim that all of it has arrived.
    UnavailableError
        Kafka or the catalog does not answer.
    """
    if at is None and has_create_time(settings.kafka, settings.topics.events):
        raise UsageError(
            f"producers set the arrivals of {settings.topics.events}: a heartbeat of now would end its history.",
            "give its time: `tidemark ledger heartbeat --at INSTANT`.",
        )
    moment = at or datetime.now(UTC)
    check(settings, moment)
    wanted = sorted(end_offsets(settings.kafka, settings.topics.events) if partitions is None else partitions)
    at_ms = epoch_ms(moment)
    with Sender(settings.kafka) as sender:
        for partition in wanted:
            sender.send(settings.topics.events, event(settings, moment), partition=partition, timestamp_ms=at_ms)
    return len(wanted)


def silent(settings: Settings, now: datetime) -> list[int]:
    """Partitions whose last record arrived `heartbeat.idle_s` ago or earlier, or that have none."""
    ends = end_offsets(settings.kafka, settings.topics.events)
    last = last_records(settings.kafka, settings.topics.events, "read_uncommitted")
    limit_ms = epoch_ms(now) - settings.heartbeat.idle_s * 1_000
    return [part for part in sorted(ends) if part not in last or last[part].timestamp_ms <= limit_ms]


def wanted(settings: Settings) -> bool:
    """Whether idle partitions get heartbeats automatically: a tenant is set, and arrival is the broker's clock."""
    return bool(settings.heartbeat.tenant) and not has_create_time(settings.kafka, settings.topics.events)


def event(settings: Settings, moment: datetime) -> bytes:
    """A heartbeat with a unique id."""
    return json.dumps(
        {
            "event_id": str(uuid.uuid4()),
            "tenant_id": settings.heartbeat.tenant,
            "customer_id": HEARTBEAT_CUSTOMER,
            "event_type": EVENT_TYPE,
            "timestamp": rfc3339(moment),
        }
    ).encode()


def check(settings: Settings, moment: datetime) -> None:
    """Raise UsageError unless heartbeats would be counted."""
    tenant = settings.heartbeat.tenant
    if not tenant:
        raise UsageError(
            "heartbeat.tenant is not set.", "name a tenant of the catalog that nobody bills, see docs/billing.md."
        )
    meters = catalog_of(settings).meters_at(tenant, EVENT_TYPE, epoch_ms(moment))
    if meters:
        return
    what = "is not in the catalog" if meters is None else f"has no meter that takes event type {EVENT_TYPE}"
    raise UsageError(
        f"heartbeat.tenant {tenant!r} {what}: its heartbeats would be dead letters.",
        f"give it a meter with aggregation count and event_types [{EVENT_TYPE}], then `tidemark catalog apply`.",
    )
