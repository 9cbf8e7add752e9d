"""Verifies the archive: every file exists unchanged, and every offset is in one file or in a gap."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from tidemark.archive.index import File, Index, opened
from tidemark.archive.layout import Folder
from tidemark.archive.parquet import read
from tidemark.core.errors import DifferenceError
from tidemark.core.settings import Settings


@dataclass(slots=True)
class Verified:
    """The result of a verification.

    Parameters
    ----------
    files, rows, size:
        Files of the index, their records and bytes.
    lost, expired, not_committed:
        Offsets that are in no file, by the reason of their gap.
    left_over:
        Files in no index; the next `archive run` removes them.
    faults:
        What is wrong, as text.
    """

    files: int = 0
    rows: int = 0
    size: int = 0
    lost: int = 0
    expired: int = 0
    not_committed: int = 0
    left_over: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def raise_if_faulty(self) -> None:
        """Raise DifferenceError for any fault."""
        if self.faults:
            raise DifferenceError(
                f"the archive has {len(self.faults)} faults.", "restore these files from a backup; nothing was changed."
            )


def verify(settings: Settings) -> Verified:
    """Read the whole archive and compare it with its index; changes nothing.

    Raises
    ------
    UnavailableError
        Postgres does not answer.
    UsageError
        There is no archive.
    """
    folder, verified = Folder.of(settings), Verified()
    with opened(settings.postgres.ops, settings.names) as index:
        for topic in index.topics():
            _topic(index, folder, topic, verified)
    return verified


def _topic(index: Index, folder: Folder, topic: str, verified: Verified) -> None:
    files, gaps = index.files(topic), index.gaps(topic)
    known = {file.path for file in files}
    verified.left_over += [path for path in folder.files(topic) if path not in known]
    for gap in gaps:
        size = gap.last - gap.first + 1
        if gap.reason == "retention":
            verified.lost += size
        elif gap.reason == "expired":
            verified.expired += size
        else:
            verified.not_committed += size
    covered: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for file in files:
        verified.files += 1
        verified.rows += file.rows
        verified.size += file.size
        if fault := _unlike(folder, file):
            verified.faults.append(f"{file.path}: {fault}.")
            # Reported once: its offsets count as covered.
            covered[file.partition].append((file.first, file.last))
        else:
            runs = _runs(folder, file)
            covered[file.partition] += runs
            verified.faults += [f"{file.path}: {fault}." for fault in _miscounted(file, runs)]
    for gap in gaps:
        covered[gap.partition].append((gap.first, gap.last))
    for partition, ranges in sorted(covered.items()):
        verified.faults += [f"{topic} partition {partition}: {fault}." for fault in uneven(ranges)]


def _unlike(folder: Folder, file: File) -> str:
    """How a file differs from its row; empty if it does not."""
    size = folder.place.size(file.path)
    if size is None:
        return "it does not exist"
    if size != file.size:
        return f"it has {size} bytes, not {file.size}"
    digest = folder.place.digest(file.path)
    return "" if digest == file.sha256 else f"its sha256 is {digest}, not {file.sha256}"


def _runs(folder: Folder, file: File) -> list[tuple[int, int]]:
    """Ranges of consecutive offsets in a file, as (first, last)."""
    runs: list[tuple[int, int]] = []
    with folder.place.open(file.path) as source:
        for record in read(source, file.partition):
            if runs and record.offset == runs[-1][1] + 1:
                runs[-1] = (runs[-1][0], record.offset)
            else:
                runs.append((record.offset, record.offset))
    return runs


def _miscounted(file: File, runs: list[tuple[int, int]]) -> list[str]:
    """How the records of a file differ from its row, as text."""
    rows = sum(last - first + 1 for first, last in runs)
    faults = [] if rows == file.rows else [f"it has {rows} records, not {file.rows}"]
    if runs and (runs[0][0], runs[-1][1]) != (file.first, file.last):
        faults.append(f"its offsets are {runs[0][0]}-{runs[-1][1]}, not {file.first}-{file.last}")
    return faults


def uneven(ranges: list[tuple[int, int]]) -> list[str]:
    """Where ranges (first, last) do not tile the offsets from 0 on: holes and overlaps, as text."""
    faults, expected = [], 0
    for first, last in sorted(ranges):
        if first > expected:
            faults.append(f"offsets {expected}-{first - 1} are in no file and in no gap")
        elif first < expected:
            faults.append(f"offsets {first}-{min(last, expected - 1)} are there twice")
        expected = max(expected, last + 1)
    return faults
