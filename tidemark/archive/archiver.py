"""Archives committed records: each record once, in files that are complete or absent, even after a crash.

A file is made in this order, and every crash leaves one of these states:

1. it is written under an unfinished name           left over: removed by the next run
2. it is synced to disk, then renamed               in no index: readers do not see it, the next run removes it
3. its row is inserted, with the gaps it explains   done: the next run continues behind it
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime

from tidemark.archive import layout
from tidemark.archive.index import File, Gap, Index, writing
from tidemark.archive.layout import Folder
from tidemark.archive.parquet import FILE_BYTES, Writer
from tidemark.archive.source import Source, reading
from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.kafka import Record
from tidemark.core.service import Service, Stateless, logger
from tidemark.core.settings import Settings, TopicSettings
from tidemark.core.times import arrival_of

log = logger("archive")


@dataclass(slots=True)
class Archived:
    """What one run did.

    Parameters
    ----------
    rows, files, size:
        Records and files written, and bytes of the files.
    gaps:
        Offsets found without a record; those with the reason `retention` are lost.
    removed, quarantined:
        Left-overs of runs that were killed: removed, or quarantined because Kafka no longer has their records.
    """

    rows: int = 0
    files: int = 0
    size: int = 0
    gaps: list[Gap] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Offsets that Kafka had removed before they were archived."""
        return sum(gap.last - gap.first + 1 for gap in self.gaps if gap.reason == "retention")


def topics_of(topics: TopicSettings) -> tuple[str, str]:
    """Topics that are archived: those that a replay reads."""
    return topics.events, topics.redrive


def run(settings: Settings, progress: Callable[[int], None] | None = None) -> Archived:
    """Archive everything committed by now in the events topic and the redrive topic.

    Raises
    ------
    UnavailableError
        Kafka or Postgres does not answer, or the disk takes no more; what was archived stays archived.
    TidemarkError
        Another process changes the archive, the folder belongs to another archive, or a topic was created again.
    """
    with writing(settings.postgres.ops, settings.names) as index:
        return run_with(settings, index, progress)


def run_with(settings: Settings, index: Index, progress: Callable[[int], None] | None = None) -> Archived:
    """`run` for a caller that holds the lock of the archive."""
    folder = Folder.of(settings)
    folder.claim(index.archive_id(), known_files=index.count())
    done = Archived()
    with reading(settings.kafka) as source:
        for topic in topics_of(settings.topics):
            archiver = _Archiver(settings, index, folder, source, topic, done, progress)
            archiver.run()
    return done


def service(settings: Settings) -> Service[Stateless, Archived]:
    """Archives every `archive.interval_s`.

    Raises
    ------
    UsageError
        `archive.dir` names no folder of this machine.
    """
    Folder.of(settings)
    return Service("archive", settings.archive.interval_s, Stateless, lambda _: run(settings), log, _report)


def _report(done: Archived, recovered: bool) -> None:
    lost = [f"{gap.topic} {gap.partition}:{gap.first}-{gap.last}" for gap in done.gaps if gap.reason == "retention"]
    if done.rows or lost or done.removed or done.quarantined or recovered:
        log("archived", level="warning" if lost else "info", rows=done.rows, files=done.files, bytes=done.size,
            lost=lost, removed=done.removed, quarantined=done.quarantined)  # fmt: skip


class _Archiver:
    """Archives one topic."""

    def __init__(
        self, settings: Settings, index: Index, folder: Folder, source: Source, topic: str, done: Archived,
        progress: Callable[[int], None] | None,
    ) -> None:  # fmt: skip
        self._file_rows = settings.archive.file_rows
        self._index, self._folder, self._source, self._topic = index, folder, source, topic
        self._done, self._progress = done, progress
        self._writer: Writer | None = None
        self._day = date.min
        self._gaps: list[Gap] = []

    def run(self) -> None:
        """Archive the topic up to its present end."""
        self._source.refuse_compacted(self._topic)
        self._index.register_topic(self._topic, self._source.topic_id(self._topic))
        earliest, ends = self._source.earliest_offsets(self._topic), self._source.ends(self._topic)
        nexts = self._index.next_offsets(self._topic)
        self._clear(earliest)
        for partition, end in ends.items():
            start = nexts.get(partition, 0)
            if start > end:
                raise TidemarkError(
                    f"partition {partition} of {self._topic} ends at {end}, but the archive has it up to {start}.",
                    "Kafka has lost records: check what its brokers were restored from.",
                )
            try:
                self._partition(partition, start, end)
            finally:
                self._abandon()

    def _clear(self, earliest: dict[int, int]) -> None:
        """Remove files that killed runs have left, and files that were replaced or have expired."""
        files, nexts = self._index.files(self._topic), self._index.next_offsets(self._topic)
        known = {file.path for file in files}
        covered = [(file.partition, file.first, file.last) for file in files]
        covered += [(gap.partition, gap.first, gap.last) for gap in self._index.gaps(self._topic)]
        for path in self._folder.files(self._topic):
            place = layout.place_of(path)
            if path in known:
                continue
            if (
                place is None
                or _is_covered(place, covered)
                or place[1] >= max(nexts.get(place[0], 0), earliest.get(place[0], 0))
            ):
                self._folder.remove(path)
                self._done.removed.append(path)
            else:
                # Finished, in no index, and Kafka no longer has its records.
                self._done.quarantined.append(self._folder.quarantine(path))

    def _partition(self, partition: int, start: int, end: int) -> None:
        for entry in self._source.read(self._topic, partition, start, end):
            if isinstance(entry, Gap):
                self._add_gap(entry)
            else:
                self._add(entry)
        self._finish()
        # Gaps after the last record.
        if self._gaps:
            self._index.add(None, self._gaps)
            self._report_gaps()

    def _add_gap(self, gap: Gap) -> None:
        """Remember a gap; adjacent gaps with the same reason become one."""
        last = self._gaps[-1] if self._gaps else None
        if last and (last.last + 1, last.reason) == (gap.first, gap.reason):
            self._gaps[-1] = replace(last, last=gap.last)
        else:
            self._gaps.append(gap)

    def _add(self, record: Record) -> None:
        day = arrived(record.timestamp_ms).date()
        if self._writer is not None and (
            # Records of an earlier day, possible only without the broker's clock, stay with those before them.
            day > self._day or self._writer.rows >= self._file_rows or self._writer.size >= FILE_BYTES
        ):
            self._finish()
        if self._writer is None:
            self._day = day
            self._writer = Writer(self._folder.unfinished(self._topic, day, record.partition, record.offset))
        self._writer.add(record)

    def _finish(self) -> None:
        """Close the file, make it visible, and add it to the index."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.close()
        file = self._described(writer)
        self._folder.finish(writer.path, file.path)
        self._index.add(file, self._gaps)
        self._report_gaps()
        self._done.rows += file.rows
        self._done.files += 1
        self._done.size += file.size
        if self._progress is not None:
            self._progress(file.rows)

    def _described(self, writer: Writer) -> File:
        partition = int(writer.path.parent.name.removeprefix("partition="))
        return File(
            topic=self._topic,
            partition=partition,
            day=self._day,
            first=writer.first,
            last=writer.last,
            rows=writer.rows,
            size=writer.path.stat().st_size,
            sha256=layout.digest_of(writer.path),
            arrival_min=arrived(writer.arrival_min_ms),
            arrival_max=arrived(writer.arrival_max_ms),
            path=layout.file_name(self._topic, self._day, partition, writer.first, writer.last),
        )

    def _report_gaps(self) -> None:
        self._done.gaps += self._gaps
        self._gaps = []

    def _abandon(self) -> None:
        """Leave an unfinished file to the next run."""
        writer, self._writer, self._gaps = self._writer, None, []
        if writer is not None:
            # It is not wanted: what failed is raised already.
            with suppress(UnavailableError):
                writer.close()


def arrived(timestamp_ms: int) -> datetime:
    """When a record arrived, which is not after now, whatever a producer said: retention must not wait for that day."""
    return min(arrival_of(timestamp_ms), datetime.now(UTC))


def _is_covered(place: tuple[int, int], covered: list[tuple[int, int, int]]) -> bool:
    """Whether partition and offset are in one of the ranges: the index has another file or a gap for them."""
    return any(partition == place[0] and first <= place[1] <= last for partition, first, last in covered)
