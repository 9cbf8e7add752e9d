"""Archives what has arrived: each record once, in files that are whole or not there, whenever it is killed.

One file comes to be in this order, and every crash leaves one of these states:

1. it is written under an unfinished name           left over: removed by the next run
2. it is forced to the disk, then renamed           in no index: readers do not see it, the next run removes it
3. its row is inserted, with the gaps it explains   done: the next run goes on behind it
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date

from tidemark.archive import layout
from tidemark.archive.index import File, Gap, Index, writing
from tidemark.archive.layout import Folder
from tidemark.archive.parquet import FILE_BYTES, Writer
from tidemark.archive.source import Source, reading
from tidemark.core.errors import TidemarkError
from tidemark.core.kafka import Record
from tidemark.core.service import logger, repeat
from tidemark.core.settings import Settings, TopicSettings
from udfs.values import instant

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
    removed, aside:
        Left-overs of runs that were killed: removed, and put aside because Kafka no longer has their records.
    """

    rows: int = 0
    files: int = 0
    size: int = 0
    gaps: list[Gap] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Offsets that Kafka had removed before they were archived."""
        return sum(gap.last - gap.first + 1 for gap in self.gaps if gap.reason == "retention")


def topics_of(topics: TopicSettings) -> tuple[str, str]:
    """Topics that are archived: all that a replay reads."""
    return topics.events, topics.redrive


def run(settings: Settings, progress: Callable[[int], None] | None = None) -> Archived:
    """Archive all that is committed now, in the events topic and the redrive topic.

    Raises
    ------
    UnavailableError
        Kafka or Postgres does not answer; what was done stays done.
    TidemarkError
        Somebody else changes the archive, the folder belongs to another one, or a topic was made anew.
    """
    with writing(settings.postgres, settings.names) as index:
        return run_with(settings, index, progress)


def run_with(settings: Settings, index: Index, progress: Callable[[int], None] | None = None) -> Archived:
    """`run` for one whose turn it is already."""
    folder = Folder.of(settings.archive)
    folder.claim(index.archive_id(), known_files=index.count())
    done = Archived()
    with reading(settings.kafka) as source:
        for topic in topics_of(settings.topics):
            archiver = _Archiver(settings, index, folder, source, topic, done, progress)
            archiver.run()
    return done


def watch(settings: Settings, stop: threading.Event) -> None:
    """Archive every `archive.interval_s` until `stop` is set; failures are logged and tried again."""
    Folder.of(settings.archive)

    def report(done: Archived, recovered: bool) -> None:
        lost = [f"{gap.topic} {gap.partition}:{gap.first}-{gap.last}" for gap in done.gaps if gap.reason == "retention"]
        if done.rows or lost or done.removed or done.aside or recovered:
            log("archived", rows=done.rows, files=done.files, bytes=done.size, lost=lost, removed=done.removed,
                aside=done.aside)  # fmt: skip

    repeat(lambda: run(settings), every_s=settings.archive.interval_s, stop=stop, log=log, report=report)


class _Archiver:
    """One topic."""

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
        self._index.know_topic(self._topic, self._source.topic_id(self._topic))
        begins, ends, nexts = (
            self._source.begins(self._topic), self._source.ends(self._topic), self._index.next_offsets(self._topic)
        )  # fmt: skip
        self._clear(begins)
        for partition, end in ends.items():
            start = nexts.get(partition, 0)
            if start > end:
                raise TidemarkError(
                    f"partition {partition} of {self._topic} ends at {end}, and the archive holds it up to {start}.",
                    "Kafka has lost records: see what its brokers were restored from.",
                )
            try:
                self._partition(partition, start, end)
            finally:
                self._abandon()

    def _clear(self, begins: dict[int, int]) -> None:
        """Take away what killed runs have left, and what was replaced or has expired."""
        files, nexts = self._index.files(self._topic), self._index.next_offsets(self._topic)
        known = {file.path for file in files}
        held = [(file.partition, file.first, file.last) for file in files]
        held += [(gap.partition, gap.first, gap.last) for gap in self._index.gaps(self._topic)]
        for path in self._folder.files(self._topic):
            place = layout.place_of(path)
            if path in known:
                continue
            if (
                place is None
                or _is_held(place, held)
                or place[1] >= max(nexts.get(place[0], 0), begins.get(place[0], 0))
            ):
                self._folder.remove(path)
                self._done.removed.append(path)
            else:
                # Finished, in no index, and not to be had again.
                self._done.aside.append(self._folder.put_aside(path))

    def _partition(self, partition: int, start: int, end: int) -> None:
        for found in self._source.read(self._topic, partition, start, end):
            if isinstance(found, Gap):
                self._miss(found)
            else:
                self._add(found)
        self._finish()
        # A tail without records.
        if self._gaps:
            self._index.add(None, self._gaps)
            self._note()

    def _miss(self, gap: Gap) -> None:
        """Note a gap; what Kafka tells in pieces is one."""
        last = self._gaps[-1] if self._gaps else None
        if last and (last.last + 1, last.reason) == (gap.first, gap.reason):
            self._gaps[-1] = replace(last, last=gap.last)
        else:
            self._gaps.append(gap)

    def _add(self, record: Record) -> None:
        day = instant(record.timestamp_ms).date()
        if self._writer is not None and (
            # Records of an earlier day, which only other clocks than the broker's bring, stay with those before them.
            day > self._day or self._writer.rows >= self._file_rows or self._writer.size >= FILE_BYTES
        ):
            self._finish()
        if self._writer is None:
            self._day = day
            self._writer = Writer(self._folder.unfinished(self._topic, day, record.partition, record.offset))
        self._writer.add(record)

    def _finish(self) -> None:
        """Close the file, make it visible, and put it into the index."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        writer.close()
        file = self._described(writer)
        self._folder.finish(writer.path, file.path)
        self._index.add(file, self._gaps)
        self._note()
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
            arrival_min=instant(writer.arrival_min_ms),
            arrival_max=instant(writer.arrival_max_ms),
            path=layout.file_name(self._topic, self._day, partition, writer.first, writer.last),
        )

    def _note(self) -> None:
        self._done.gaps += self._gaps
        self._gaps = []

    def _abandon(self) -> None:
        """Leave an unfinished file to the next run."""
        writer, self._writer, self._gaps = self._writer, None, []
        if writer is not None:
            writer.close()


def _is_held(place: tuple[int, int], held: list[tuple[int, int, int]]) -> bool:
    """Whether partition and offset are in one of the ranges: another file, or none any more, stands for it."""
    return any(partition == place[0] and first <= place[1] <= last for partition, first, last in held)
