"""Adds files to the index that the folder has and it lacks: the database was restored from an older backup, or is new.

Without it the next `archive run` would take such files for what a killed run has left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise

from tidemark.archive.archiver import arrived
from tidemark.archive.index import File, Gap, Index, writing
from tidemark.archive.layout import MARKER, Folder, place_of, version_of
from tidemark.archive.parquet import read
from tidemark.core.errors import TidemarkError
from tidemark.core.settings import Settings

Say = Callable[[str], None]


@dataclass(slots=True)
class Adopted:
    """Files and records that were added, and offsets between them that no file has."""

    files: int = 0
    rows: int = 0
    gaps: list[Gap] = field(default_factory=list)


def adopt(settings: Settings, say: Say) -> Adopted:
    """Read every file that is in no index and add it, in the order of offsets; nothing is removed.

    Offsets between files are recorded as lost (`retention`): what they were is not known any more. Those within one
    were read past, so they were never committed.

    Raises
    ------
    TidemarkError
        The folder belongs to another archive than this index, or a file cannot be read.
    UnavailableError
        Postgres or the folder does not answer.
    """
    folder, done = Folder.of(settings), Adopted()
    with writing(settings.postgres.owner, settings.names) as index:
        _claim(folder, index)
        for topic in _topics(folder):
            _adopt_topic(folder, index, topic, done, say)
    return done


def newest(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Finished files that are not known, of each first offset the last version, by partition and offset."""
    latest: dict[tuple[int, int], str] = {}
    for name in names:
        place = place_of(name)
        if place is not None and (place not in latest or version_of(latest[place]) < version_of(name)):
            latest[place] = name
    there = {place_of(name) for name in known}
    return [name for place, name in sorted(latest.items()) if place not in there]


def _claim(folder: Folder, index: Index) -> None:
    """The index of a new database takes the id of the folder; another one must have it."""
    if folder.place.size(MARKER) is None:
        raise TidemarkError(f"{folder.place.uri} is not an archive: it has no {MARKER}.", "correct archive.dir.")
    if index.count() == 0:
        index.take_id(folder.archive_id())
    folder.claim(index.archive_id(), known_files=index.count())


def _topics(folder: Folder) -> list[str]:
    tops = {file.name.partition("/")[0] for file in folder.place.files()}
    return sorted(top.removeprefix("topic=") for top in tops if top.startswith("topic="))


def _adopt_topic(folder: Folder, index: Index, topic: str, done: Adopted, say: Say) -> None:
    names = newest(folder.files(topic), (file.path for file in index.files(topic)))
    nexts = index.next_offsets(topic)
    for name in names:
        file, gaps = _described(folder, topic, name)
        start = nexts.get(file.partition, 0)
        if file.first < start:
            raise TidemarkError(
                f"{name} begins at offset {file.first}, and the index has {topic} up to {start}.",
                "move it away: its records are in other files.",
            )
        if file.first > start:
            gaps.append(Gap(topic, file.partition, start, file.first - 1, "retention"))
        index.add(file, gaps)
        nexts[file.partition] = file.last + 1
        done.files, done.rows, done.gaps = done.files + 1, done.rows + file.rows, [*done.gaps, *gaps]
        say(f"{name}: {file.rows:,} records")


def _described(folder: Folder, topic: str, name: str) -> tuple[File, list[Gap]]:
    """The row of a file, by what is in it, and the gaps within it."""
    partition, first = place_of(name) or (0, 0)
    offsets, arrivals = _content(folder, name, partition)
    file = File(
        topic=topic, partition=partition, day=_day(name), first=first, last=offsets[-1], rows=len(offsets),
        size=folder.place.size(name) or 0, sha256=folder.place.digest(name),
        arrival_min=arrived(min(arrivals)), arrival_max=arrived(max(arrivals)), path=name,
    )  # fmt: skip
    within = [
        Gap(topic, partition, before + 1, after - 1, "not_committed")
        for before, after in pairwise(offsets)
        if after > before + 1
    ]
    return file, within


def _content(folder: Folder, name: str, partition: int) -> tuple[list[int], list[int]]:
    try:
        with folder.place.open(name) as source:
            pairs = [(record.offset, record.timestamp_ms) for record in read(source, partition)]
    except (OSError, ValueError) as error:
        raise TidemarkError(f"{name} cannot be read: {error}.", "move it away, or restore it from a backup.") from error
    return [offset for offset, _ in pairs], [at_ms for _, at_ms in pairs]


def _day(name: str) -> date:
    return date.fromisoformat(name.split("/")[1].removeprefix("day="))
