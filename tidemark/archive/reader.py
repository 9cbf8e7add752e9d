"""Reads the archive: raw records as they were in Kafka, for the oracle and for replays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tidemark.archive.index import File, Gap, Index, opened
from tidemark.archive.layout import Folder
from tidemark.archive.parquet import read
from tidemark.core.errors import TidemarkError
from tidemark.core.kafka import RawRecord, Record
from tidemark.core.settings import Settings


def records(
    settings: Settings,
    topic: str | None = None,
    *,
    since_ms: int | None = None,
    until_ms: int | None = None,
    partitions: Sequence[int] | None = None,
) -> Iterator[Record]:
    """Archived records in the order of partition and offset; holds a row group in memory.

    Parameters
    ----------
    settings:
        Settings of the run with the archive.
    topic:
        None for the events topic.
    since_ms, until_ms:
        Arrivals in [since_ms, until_ms), UTC epoch ms; None for no bound.
    partitions:
        None for all.

    Raises
    ------
    TidemarkError
        A file is missing or cannot be read: `tidemark archive verify` shows which.
    UnavailableError
        Postgres does not answer.
    """
    folder = Folder.of(settings)
    with opened(settings.postgres.ops, settings.names) as index:
        for file in index.files(topic or settings.topics.events, partitions, since_ms, until_ms):
            for record in read_file(folder, index, file):
                if (since_ms is None or record.timestamp_ms >= since_ms) and (
                    until_ms is None or record.timestamp_ms < until_ms
                ):
                    yield record


def raw_records(settings: Settings, *, since_ms: int | None = None, until_ms: int | None = None) -> Iterator[RawRecord]:
    """Archived records of both topics in the form of the oracle: partition p of the redrive topic is -1 - p.

    Arrivals and errors are those of `records`.
    """
    for record in records(settings, since_ms=since_ms, until_ms=until_ms):
        yield record.partition, record.offset, record.timestamp_ms, record.value
    for record in records(settings, settings.topics.redrive, since_ms=since_ms, until_ms=until_ms):
        yield -1 - record.partition, record.offset, record.timestamp_ms, record.value


def lost(settings: Settings, topic: str | None = None) -> list[Gap]:
    """Offsets whose records existed and are in no file: a replay from the archive lacks them."""
    with opened(settings.postgres.ops, settings.names) as index:
        return [gap for gap in index.gaps(topic or settings.topics.events) if gap.reason != "not_committed"]


def read_file(folder: Folder, index: Index, file: File) -> Iterator[Record]:
    """Records of one file; an erasure may have replaced it since the index was read.

    Raises
    ------
    TidemarkError
        It is missing, or not a Parquet file.
    """
    name = file.path
    if folder.place.size(name) is None:
        replacement = index.file_at(file.topic, file.partition, file.first)
        name = replacement.path if replacement is not None else name
    try:
        with folder.place.open(name) as source:
            yield from read(source, file.partition)
    except (OSError, ValueError) as error:
        raise TidemarkError(
            f"{folder.place.uri}/{name} cannot be read: {error}.",
            "`tidemark archive verify`; restore the file from a backup.",
        ) from error
