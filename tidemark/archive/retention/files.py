"""Files of the archive that are old enough to be removed; their offsets are kept as expired."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import LiteralString

import psycopg

from tidemark.archive.archiver import topics_of
from tidemark.archive.index import File, Gap, Index
from tidemark.archive.layout import Folder
from tidemark.archive.retention.steps import NOTHING, Step
from tidemark.archive.retention.tables import open_period
from tidemark.archive.retention.topics import DAY_MS, KEPT_FOR_EVER, retention_ms, shown
from tidemark.archive.source import Source
from tidemark.core.settings import Settings

_EXPIRE: LiteralString = "DELETE FROM archive_file WHERE topic = %s AND partition = %s AND first_offset = %s"
# The gap that replaces the file includes the gaps within it.
_DELETE_GAPS: LiteralString = """
DELETE FROM archive_gap WHERE topic = %s AND partition = %s AND first_offset > %s AND last_offset < %s
"""


def steps(
    connection: psycopg.Connection, settings: Settings, source: Source, index: Index, now: datetime
) -> Iterator[Step]:
    """A step for each archived topic."""
    days = settings.retention.archive_days
    if not days:
        return
    folder = Folder.of(settings)
    for topic in topics_of(settings.topics):
        if topic in index.topics():
            before = now - timedelta(days=days)
            kept_ms = retention_ms(source, topic)
            if topic == settings.topics.events:
                # The longer one of the present retention and the one that this plan sets.
                kept_ms = _longer(kept_ms, settings.retention.events_days * DAY_MS)
            refused = _newer_than_kafka(days, kept_ms)
            bound = open_period(connection, settings.names, before)
            if bound is not None:
                # An event may arrive so long before its time.
                bound = bound[0] - timedelta(seconds=settings.events.future_tolerance_s), bound[1]
            yield _step(index, folder, topic, days, before, refused, bound)


def _longer(present_ms: int, planned_ms: int) -> int:
    return KEPT_FOR_EVER if KEPT_FOR_EVER in {present_ms, planned_ms} else max(present_ms, planned_ms)


def _newer_than_kafka(days: int, kept_ms: int) -> str:
    """Why files may not be removed yet: a file may go only when Kafka no longer has its records."""
    if kept_ms == KEPT_FOR_EVER or days * DAY_MS < kept_ms:
        return f"Kafka keeps the topic {'' if kept_ms == KEPT_FOR_EVER else 'for '}{shown(kept_ms)}, which is longer"
    return ""


def _step(
    index: Index, folder: Folder, topic: str, days: int, before: datetime, refused: str,
    bound: tuple[datetime, str] | None,
) -> Step:  # fmt: skip
    due = [file for file in index.files(topic) if file.arrival_max < before]
    cut = before if bound is None else min(before, bound[0])
    gone = [file for file in due if file.arrival_max < cut]
    acts = bool(gone) and not refused
    return Step(
        target=f"archive of {topic}",
        does="remove files" if gone else "nothing is due",
        days=days,
        before=cut,
        count=len(gone),
        size=sum(file.size for file in gone),
        limited=bound[1] if bound is not None and len(gone) < len(due) else "",
        refused=refused if due else "",
        act=partial(_remove, index, folder, gone) if acts else NOTHING,
    )


def _remove(index: Index, folder: Folder, files: Sequence[File]) -> None:
    """Remove from the index first: a left-over file does no harm, a row without its file is a fault."""
    for file in files:
        at = (file.topic, file.partition, file.first)
        with index.connection.transaction():
            index.connection.execute(_EXPIRE, at)
            index.connection.execute(_DELETE_GAPS, (*at, file.last))
            index.add(None, [Gap(file.topic, file.partition, file.first, file.last, "expired")])
        folder.remove(file.path)
