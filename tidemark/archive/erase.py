"""Erases data of one customer from the archive, except what metering reads; totals stay as they are.

1. Everything that has arrived is archived, so that no older record enters the archive afterwards.
2. Files with events of the customer are rewritten beside the old files, which stay in the index.
3. One transaction points the index to the new files, removes values of events from alerts, and records the erasure.
4. The old files are removed. After a crash before that, the next archive run or erasure removes files in no index.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, LiteralString

from psycopg import sql
from psycopg.types.json import Jsonb

from tidemark.archive import layout
from tidemark.archive.archiver import run_with, topics_of
from tidemark.archive.index import File, Index, opened, writing
from tidemark.archive.layout import Folder
from tidemark.archive.parquet import Writer
from tidemark.archive.reader import read_file
from tidemark.archive.redact import RedactionError, Subject, paths_of
from tidemark.archive.remaining import Copy, copies
from tidemark.archive.source import reading
from tidemark.core import audit
from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.kafka import Record
from tidemark.core.settings import Settings
from tidemark.core.stored_catalog import stored_catalog
from tidemark.dead_letters.log import HEADER as REDRIVE_HEADER
from udfs.catalog.model import Pair
from udfs.meters.meter import Meter
from udfs.values import instant, rfc3339

# Values of events in alerts: group-by values, and samples.
_EVENT_VALUES = ["top_dimensions", "samples"]
_REPLACE: LiteralString = """
UPDATE archive_file
SET path = %s, bytes = %s, sha256 = %s, written_at = clock_timestamp()
WHERE topic = %s AND partition = %s AND first_offset = %s AND path = %s
"""
_BLANK: LiteralString = """
UPDATE {alert} SET event = jsonb_set(event, '{{data,evidence}}', (event #> '{{data,evidence}}') - %(values)s::text[])
WHERE tenant_id = %(tenant)s AND customer_id = %(customer)s AND event #> '{{data,evidence}}' ?| %(values)s::text[]
"""
# A notification of a response holds its one alert itself.
_BLANK_COPIES: LiteralString = """
UPDATE {notification}
SET body = jsonb_set(body, '{{alerts,0,data,evidence}}', (body #> '{{alerts,0,data,evidence}}') - %(values)s::text[])
WHERE body #>> '{{alerts,0,data,tenant_id}}' = %(tenant)s AND body #>> '{{alerts,0,data,customer_id}}' = %(customer)s
  AND body #> '{{alerts,0,data,evidence}}' ?| %(values)s::text[]
"""
_COUNT: LiteralString = """
SELECT count(*) FROM {alert}
WHERE tenant_id = %(tenant)s AND customer_id = %(customer)s AND event #> '{{data,evidence}}' ?| %(values)s::text[]
"""
_RECORD: LiteralString = """
INSERT INTO erasure (tenant_id, customer_id, erased_by, files, events, unreadable, alerts, kept, kafka)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING erasure_id, erased_at
"""


_ALL_VERSIONS: LiteralString = """
SELECT DISTINCT meter->>'tenant_id', coalesce(meter->'group_by', '[]'), meter->>'value',
       nullif(meter->'filter', 'null')::text
FROM catalog.change
CROSS JOIN LATERAL (VALUES (before), (after)) AS version (meter)
WHERE table_name = 'meter' AND meter IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased or, with `dry_run`, would be.

    Parameters
    ----------
    files:
        Paths of files with data to erase.
    events:
        Records of the customer that lose data; `unreadable` of them are not valid events.
    alerts:
        Alerts whose evidence loses values of events.
    kept:
        Paths of properties that meters of the tenant read.
    kafka:
        When each topic with events will have removed its present records; None for never. Nothing can be erased there.
    remaining:
        All places that this does not reach, `tidemark.archive.remaining`.
    erasure_id, erased_at:
        The row that records the erasure; None for a dry run.
    """

    files: tuple[str, ...]
    events: int
    unreadable: int
    alerts: int
    kept: tuple[str, ...]
    kafka: Mapping[str, datetime | None]
    remaining: tuple[Copy, ...] = ()
    erasure_id: int | None = None
    erased_at: datetime | None = None


def erase(
    settings: Settings, tenant_id: str, customer_id: str, *, by: str, dry_run: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Erased:  # fmt: skip
    """Erase a customer; see above. A repeated call changes no file, and is recorded again.

    Parameters
    ----------
    settings:
        Settings of the run with the archive.
    tenant_id, customer_id:
        The customer; ids, times, types and quantities of its events stay, and what meters read.
    by:
        Who requests it.
    dry_run:
        Read and count only.
    progress:
        Called with the number of records of each file that was read.

    Raises
    ------
    UsageError
        No name is given, or there is no archive.
    UnavailableError
        Kafka, Postgres or the catalog does not answer.
    TidemarkError
        A file cannot be read, or an event would be counted differently; nothing was changed.
    """
    if not by.strip():
        raise UsageError("the name of who erases is missing.", "add --by with a name that is still clear in years.")
    if dry_run:
        with opened(settings.postgres.ops, settings.names) as index:
            return _Erasure(settings, index, (tenant_id, customer_id), progress).planned()
    with writing(settings.postgres.ops, settings.names) as index:
        # Step 1
        run_with(settings, index)
        return _Erasure(settings, index, (tenant_id, customer_id), progress).done(by)


class _Erasure:
    def __init__(
        self, settings: Settings, index: Index, customer: Pair, progress: Callable[[int], None] | None
    ) -> None:
        self._settings, self._index, self._folder = settings, index, Folder.of(settings)
        self._subject = Subject(*customer, _paths(settings, index, customer[0]), settings.events.default_tenant)
        self._progress = progress
        self._events = self._unreadable = 0
        self._kafka = kafka_keeps_until(settings)
        self._alert = sql.Identifier(settings.names.usage_schema, "alert")
        self._notification = sql.Identifier(settings.names.usage_schema, "notification")

    def planned(self) -> Erased:
        """Count what there is to erase."""
        files = [file.path for file in self._files() if self._concerns(file)]
        row = self._index.connection.execute(sql.SQL(_COUNT).format(alert=self._alert), self._values()).fetchone()
        return replace(self._erased(files, int(row[0]) if row else 0), remaining=self._remaining())

    def done(self, by: str) -> Erased:
        """Erase."""
        # Step 2
        pairs = [(file, self._rewritten(file)) for file in self._files() if self._concerns(file)]
        # Step 3
        with self._index.connection.transaction():
            for old, new in pairs:
                self._replace(old, new)
            alerts = self._index.connection.execute(sql.SQL(_BLANK).format(alert=self._alert), self._values()).rowcount
            copies = sql.SQL(_BLANK_COPIES).format(notification=self._notification)
            self._index.connection.execute(copies, self._values())
            erased = self._erased([new.path for _, new in pairs], alerts)
            row = self._index.connection.execute(_RECORD, self._row(erased, by)).fetchone()
            subject = f"{self._subject.tenant_id}/{self._subject.customer_id}"
            did = {"files": len(erased.files), "events": erased.events, "alerts": erased.alerts}
            audit.record(self._index.connection, self._settings.run_id, "archive.erase", subject, by=by, **did)
        # Step 4
        for old, _ in pairs:
            self._folder.remove(old.path)
        erased = replace(erased, remaining=self._remaining())
        return replace(erased, erasure_id=row[0], erased_at=row[1]) if row else erased

    def _remaining(self) -> tuple[Copy, ...]:
        customer = self._subject.tenant_id, self._subject.customer_id
        with reading(self._settings.kafka) as source:
            return copies(self._index.connection, source, self._settings, customer)

    def _files(self) -> list[File]:
        return [file for topic in topics_of(self._settings.topics) for file in self._index.files(topic)]

    def _concerns(self, file: File) -> bool:
        """Whether a file has data to erase; counts it."""
        concerned = False
        for record in read_file(self._folder, self._index, file):
            if self._redacted(record) != record:
                concerned = True
                self._events += 1
                self._unreadable += self._subject.is_unreadable(record.value, record.timestamp_ms)
        if self._progress is not None:
            self._progress(file.rows)
        return concerned

    def _redacted(self, record: Record) -> Record:
        try:
            value = self._subject.redacted(record.value, record.timestamp_ms)
        except RedactionError as error:
            raise TidemarkError(
                f"offset {record.offset} of partition {record.partition} cannot be redacted: {error}.",
                "nothing was changed; report the event.",
            ) from error
        if value is None:
            return record
        headers = tuple(header for header in record.headers if header[0] == REDRIVE_HEADER)
        return record._replace(value=value, key=self._subject.key(record.key), headers=headers)

    def _rewritten(self, file: File) -> File:
        path = self._folder.unfinished(file.topic, file.day, file.partition, file.first)
        with Writer(path) as writer:
            for record in read_file(self._folder, self._index, file):
                writer.add(self._redacted(record))
        version = layout.version_of(file.path) + 1
        new = replace(
            file,
            path=layout.file_name(file.topic, file.day, file.partition, file.first, file.last, version),
            size=path.stat().st_size,
            sha256=layout.digest_of(path),
        )
        self._folder.finish(path, new.path)
        return new

    def _replace(self, old: File, new: File) -> None:
        row = (new.path, new.size, new.sha256, old.topic, old.partition, old.first, old.path)
        self._index.connection.execute(_REPLACE, row)

    def _values(self) -> dict[str, Any]:
        return {
            "tenant": self._subject.tenant_id, "customer": self._subject.customer_id, "values": _EVENT_VALUES,
        }  # fmt: skip

    def _erased(self, files: list[str], alerts: int) -> Erased:
        return Erased(tuple(files), self._events, self._unreadable, alerts, self._subject.paths, self._kafka)

    def _row(self, erased: Erased, by: str) -> tuple[Any, ...]:
        kafka = {topic: None if until is None else rfc3339(until) for topic, until in erased.kafka.items()}
        return (
            self._subject.tenant_id, self._subject.customer_id, by, len(erased.files), erased.events, erased.unreadable,
            erased.alerts, [*erased.kept], Jsonb(kafka),
        )  # fmt: skip


def kafka_keeps_until(settings: Settings) -> dict[str, datetime | None]:
    """When each topic with events will have removed its present records, by its retention; None for never."""
    until: dict[str, datetime | None] = {}
    with reading(settings.kafka) as source, opened(settings.postgres.ops, settings.names) as index:
        row = index.connection.execute("SELECT extract(epoch FROM clock_timestamp()) * 1000").fetchone()
        now_ms = int(row[0]) if row else 0
        for topic in (*topics_of(settings.topics), settings.names.dlq):
            kept_ms = int(source.configs(topic)["retention.ms"])
            until[topic] = None if kept_ms < 0 else instant(now_ms + kept_ms)
    return until


def _paths(settings: Settings, index: Index, tenant_id: str) -> tuple[str, ...]:
    """Paths that meters read or have read: a replay may measure by the catalog as it was known earlier."""
    with stored_catalog(settings) as source:
        meters = [*source.snapshot().meters]
    for tenant, group_by, value, condition in index.connection.execute(_ALL_VERSIONS):
        meters.append(Meter("", (), "sum", tuple(group_by), tenant_id=tenant, value=value, filter=condition or ""))
    return paths_of(meters, tenant_id)
