"""The layout of the archive: folders by topic, day and partition, and a marker file with the id of the archive."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.settings import ArchiveSettings

MARKER = "archive.json"
# Files in no index that may be the only copy of their records are moved here, never removed.
QUARANTINE = "quarantine"
_SUFFIX = ".parquet"
# A file that is being written; never read.
_UNFINISHED = ".unfinished"


class Folder:
    """The folder of an archive; all paths it gives and takes are relative to it, with slashes.

    Parameters
    ----------
    root:
        Absolute path.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def of(cls, archive: ArchiveSettings) -> Folder:
        """The folder that the settings name.

        Raises
        ------
        UsageError
            No folder is named, or one that is not on this machine.
        """
        text = archive.dir
        if not text:
            raise UsageError("archive.dir is not set: there is no archive.", "set it to a folder that is backed up.")
        parts = urlsplit(text)
        if parts.scheme not in {"", "file"} or parts.netloc not in {"", "localhost"}:
            raise UsageError(
                f"archive.dir is {text}: a file is made visible by renaming it, which only file systems have.",
                "name a folder, or a file: URI; mount what is elsewhere.",
            )
        return cls(Path(unquote(parts.path) if parts.scheme else text).absolute())

    def path(self, relative: str) -> Path:
        """Where a file is."""
        return self.root / relative

    def claim(self, archive_id: str, *, known_files: int) -> None:
        """Claim the folder for an index, or check that it belongs to the index.

        Raises
        ------
        TidemarkError
            It belongs to another index, whose files would all seem to be left over; or the index has files, and the
            folder was never claimed.
        """
        marker = self.root / MARKER
        if marker.is_file():
            known_id = json.loads(marker.read_text("utf-8"))["archive_id"]
            if known_id != archive_id:
                raise TidemarkError(
                    f"{self.root} is archive {known_id}, not {archive_id}, the archive of this database.",
                    "set archive.dir to another folder, or restore the database that belongs to this one.",
                )
            return
        if known_files:
            raise TidemarkError(
                f"{self.root} is not an archive, but the index has {known_files} files in it.",
                "mount or restore what archive.dir names.",
            )
        self.root.mkdir(parents=True, exist_ok=True)
        unfinished = self.root / f"{MARKER}{_UNFINISHED}"
        unfinished.write_text(json.dumps({"archive_id": archive_id}) + "\n", "utf-8")
        self.finish(unfinished, MARKER)

    def unfinished(self, topic: str, day: date, partition: int, first: int) -> Path:
        """Where to write a file whose last offset is not known yet; creates its folder."""
        folder = self.path(_folder(topic, day, partition))
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{first}{_UNFINISHED}"

    def finish(self, unfinished: Path, relative: str) -> None:
        """Make a written file visible under its name; after any crash it is complete."""
        target = self.path(relative)
        _sync(unfinished)
        unfinished.rename(target)
        # The names of new folders are entries of those above them.
        folder = target.parent
        while True:
            _sync(folder)
            if folder == self.root:
                return
            folder = folder.parent

    def files(self, topic: str) -> Iterator[str]:
        """All files of a topic, unfinished ones too."""
        top = self.root / f"topic={topic}"
        for path in sorted(top.rglob("*")):
            if path.is_file():
                yield path.relative_to(self.root).as_posix()

    def remove(self, relative: str) -> None:
        """Remove a file; nothing if it does not exist."""
        path = self.path(relative)
        path.unlink(missing_ok=True)
        if path.parent.is_dir():
            _sync(path.parent)

    def quarantine(self, relative: str) -> str:
        """Move a file into the quarantine; returns its new path."""
        quarantined = f"{QUARANTINE}/{relative}"
        self.path(quarantined).parent.mkdir(parents=True, exist_ok=True)
        self.path(relative).rename(self.path(quarantined))
        return quarantined


def file_name(topic: str, day: date, partition: int, first: int, last: int, version: int = 0) -> str:
    """Relative path of a file; a later version replaces the earlier one."""
    tail = f".{version}" if version else ""
    return f"{_folder(topic, day, partition)}/{first}-{last}{tail}{_SUFFIX}"


def version_of(relative: str) -> int:
    """Version of a file by its name."""
    parts = relative.rpartition("/")[2].removesuffix(_SUFFIX).split(".")
    return int(parts[1]) if parts[1:] else 0


def place_of(relative: str) -> tuple[int, int] | None:
    """Partition and first offset in the name of a file; None for an unfinished or foreign file."""
    parts = relative.split("/")
    first = parts[-1].partition("-")[0]
    if not relative.endswith(_SUFFIX) or len(parts) < 2 or not first.isdecimal():  # noqa: PLR2004
        return None
    partition = parts[-2].removeprefix("partition=")
    return (int(partition), int(first)) if partition.isdecimal() else None


def digest_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder(topic: str, day: date, partition: int) -> str:
    return f"topic={topic}/day={day.isoformat()}/partition={partition}"


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
