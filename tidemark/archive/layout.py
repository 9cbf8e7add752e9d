"""The layout of the archive: folders by topic, day and partition, and a marker file with the id of the archive."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import urlsplit
from weakref import finalize

from tidemark.archive.disk import written
from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.places import LOCAL, S3, Place
from tidemark.core.settings import Settings

MARKER = "archive.json"
# Files in no index that may be the only copy of their records are moved here, never removed.
QUARANTINE = "quarantine"
_SUFFIX = ".parquet"
# A file that is being written; never read.
_UNFINISHED = ".unfinished"


class Folder:
    """The folder of an archive, on this machine or in S3; all names it gives and takes are relative to it.

    A file is written on this machine under an unfinished name. It becomes visible whole: by renaming it, or by one
    upload, which S3 refuses where there is a file of that name.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._spool: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> Folder:
        """The folder that the settings name.

        Raises
        ------
        UsageError
            No folder is named, or one that is neither on this machine nor in S3.
        """
        text = settings.archive.dir
        if not text:
            raise UsageError("archive.dir is not set: there is no archive.", "set it to a folder that is backed up.")
        parts = urlsplit(text)
        if parts.scheme not in (*LOCAL, *S3) or (parts.scheme in LOCAL and parts.netloc not in {"", "localhost"}):
            raise UsageError(
                f"archive.dir is {text}: a file is made visible by renaming it or by a conditional upload, which only "
                "file systems and S3 have.",
                "name a folder, a file: or an s3: URI; mount what is elsewhere.",
            )
        return cls(Place(text, settings.s3, "archive.dir"))

    def claim(self, archive_id: str, *, known_files: int) -> None:
        """Claim the folder for an index, or check that it belongs to the index.

        Raises
        ------
        TidemarkError
            It belongs to another index, whose files would all seem to be left over; or the index has files, and the
            folder was never claimed.
        """
        where = self.place.uri
        if self.place.size(MARKER) is not None:
            known_id = self.archive_id()
            if known_id != archive_id:
                raise TidemarkError(
                    f"{where} is archive {known_id}, not {archive_id}, the archive of this database.",
                    "set archive.dir to another folder, or restore the database that belongs to this one.",
                )
            return
        if known_files:
            raise TidemarkError(
                f"{where} is not an archive, but the index has {known_files} files in it.",
                "mount or restore what archive.dir names.",
            )
        unfinished = self._written_to() / f"{MARKER}{_UNFINISHED}"
        with written(unfinished):
            unfinished.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(json.dumps({"archive_id": archive_id}) + "\n", "utf-8")
        self.finish(unfinished, MARKER)

    def archive_id(self) -> str:
        """Id of the archive that the folder has; it was claimed."""
        return str(json.loads(self.place.read(MARKER))["archive_id"])

    def unfinished(self, topic: str, day: date, partition: int, first: int) -> Path:
        """Where to write a file whose last offset is not known yet; creates its folder."""
        folder = self._written_to() / _folder(topic, day, partition)
        with written(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{first}{_UNFINISHED}"

    def finish(self, unfinished: Path, relative: str) -> None:
        """Make a written file visible under its name; after any crash it is complete.

        Raises
        ------
        TidemarkError
            In S3, where there is a file of that name: another process writes this archive.
        UnavailableError
            S3 does not answer, or the disk takes no more.
        """
        if self.place.is_local:
            with written(unfinished):
                _rename(unfinished, Path(self.place.path), relative)
        else:
            self.place.put_new(unfinished, relative)
            unfinished.unlink()

    def files(self, topic: str) -> Iterator[str]:
        """All files of a topic, unfinished ones too."""
        top = f"topic={topic}"
        return (file.name for file in self.place.files(top))

    def remove(self, relative: str) -> None:
        """Remove a file; nothing if it does not exist."""
        self.place.remove(relative)
        if self.place.is_local and (folder := Path(self.place.path, relative).parent).is_dir():
            _sync(folder)

    def quarantine(self, relative: str) -> str:
        """Move a file into the quarantine; returns its new name."""
        quarantined = f"{QUARANTINE}/{relative}"
        self.place.move(relative, quarantined)
        return quarantined

    def _written_to(self) -> Path:
        # A file of this machine is renamed, so it is written beside its place.
        if self.place.is_local:
            return Path(self.place.path)
        if self._spool is None:
            self._spool = Path(mkdtemp(prefix="tidemark-archive-"))
            finalize(self, shutil.rmtree, self._spool, ignore_errors=True)
        return self._spool


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


def _rename(unfinished: Path, root: Path, relative: str) -> None:
    target = root / relative
    _sync(unfinished)
    unfinished.rename(target)
    # The names of new folders are entries of those above them.
    folder = target.parent
    while True:
        _sync(folder)
        if folder == root:
            return
        folder = folder.parent


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
