"""From which checkpoint or savepoint a job goes on, and whether it still may."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.own_files import refuse_foreign
from tidemark.core.places import Place, StoredFile, UnlistedError
from tidemark.core.settings import EventSettings, FlinkSettings, Settings

_LAST_WRITTEN = "/_metadata"
_CHECKPOINT = re.compile(r"/chk-([0-9]+)/?$")
# A file of metadata begins with this, a version of 4 bytes, and the number of the checkpoint in 8.
_MAGIC = bytes.fromhex("4960672d")
_HEADER = 16


def checkpoint_dir(flink: FlinkSettings, job: str) -> str:
    """URI below which Flink keeps the checkpoints of one job."""
    return f"{_state_dir(flink)}/checkpoints/{job}"


def savepoint_dir(flink: FlinkSettings, job: str) -> str:
    """URI below which `stop` keeps the savepoints of one job."""
    return f"{_state_dir(flink)}/savepoints/{job}"


def _state_dir(flink: FlinkSettings) -> str:
    if not flink.state_dir:
        raise UsageError(
            "flink.state_dir is not set: jobs keep their totals there.",
            "name a folder that Flink's nodes share and nobody else writes, as file:///var/lib/tidemark or s3://bucket/state.",
        )
    return flink.state_dir.rstrip("/")


@dataclass(frozen=True, slots=True)
class RestorePoint:
    """A complete checkpoint or savepoint.

    Parameters
    ----------
    path:
        What `flink run -s` takes.
    taken_at:
        Unix time in seconds.
    number:
        Grows over the checkpoints and savepoints of a job, whatever a clock says; -1 where it cannot be read.
    """

    path: str
    taken_at: float
    number: int = -1

    @property
    def of_running(self) -> bool:
        """Whether it is a checkpoint, behind which the job may go on; a savepoint stops it."""
        return bool(_CHECKPOINT.search(self.path))


def place(settings: Settings, uri: str) -> Place:
    """A folder of state.

    Raises
    ------
    UnlistedError
        It is on a file system that this machine cannot read.
    """
    try:
        return Place(uri, settings.s3, "flink.state_dir")
    except UnlistedError as error:
        fix = f"{error.fix.rstrip('.')}; elsewhere name the state: `tidemark submit JOB --from-savepoint URI`."
        raise UnlistedError(error.what, fix) from error


def restore_points(settings: Settings, job: str) -> list[RestorePoint]:
    """The complete restore points of a job, the newest first.

    Raises
    ------
    UnlistedError
        The state is on a file system that this machine cannot read.
    UnavailableError
        It cannot be read now.
    UsageError
        Another user could have put state there.
    """
    flink = settings.flink
    _check_own(flink)
    folders = [place(settings, uri) for uri in (checkpoint_dir(flink, job), savepoint_dir(flink, job))]
    # Flink writes _metadata last: a folder that has it is complete.
    files = [(folder, file) for folder in folders for file in folder.files() if file.uri.endswith(_LAST_WRITTEN)]
    return newest_first([_point(folder, file) for folder, file in files])


def newest_first(points: Sequence[RestorePoint]) -> list[RestorePoint]:
    """Order restore points by their numbers: the clocks of two machines, or of one that was set back, may differ.

    One whose number cannot be read, because the file is damaged, is where its time puts it.
    """
    known = sorted((one for one in points if one.number >= 0), key=lambda one: (one.number, one.taken_at), reverse=True)
    for damaged in sorted((one for one in points if one.number < 0), key=lambda one: one.taken_at):
        older = (place for place, one in enumerate(known) if one.taken_at <= damaged.taken_at)
        known.insert(next(older, len(known)), damaged)
    return known


def latest(settings: Settings, job: str) -> RestorePoint | None:
    """The newest complete restore point of a job, or None; raises as `restore_points` does."""
    return next(iter(restore_points(settings, job)), None)


def named(settings: Settings, path: str) -> RestorePoint:
    """The restore point of a path; raises as `restore_points` does, and UsageError where there is none."""
    folder = place(settings, path)
    files = {file.name: file for file in folder.files()}
    if _LAST_WRITTEN[1:] not in files:
        raise UsageError(f"{path} is no complete checkpoint or savepoint.", "name a folder with a file _metadata.")
    return _point(folder, files[_LAST_WRITTEN[1:]])


def local_path(state: str) -> str:
    """A path or URI of state in one form, so that two can be compared: of a file its path, else the URI."""
    address = urlsplit(state)
    return (address.path if address.scheme == "file" else state).rstrip("/")


def unseen(path: str) -> RestorePoint:
    """The restore point of a path that cannot be listed from here: of a checkpoint the path has the number."""
    checkpoint = _CHECKPOINT.search(path)
    return RestorePoint(path, 0, int(checkpoint[1]) if checkpoint else -1)


def is_readable(settings: Settings, point: RestorePoint) -> bool:
    """Whether its metadata begin as Flink's do."""
    return _header(place(settings, point.path), _LAST_WRITTEN[1:]).startswith(_MAGIC)


def _point(folder: Place, file: StoredFile) -> RestorePoint:
    path = file.uri.removesuffix(_LAST_WRITTEN)
    checkpoint = _CHECKPOINT.search(path)
    return RestorePoint(path, file.written_at, int(checkpoint[1]) if checkpoint else _number(folder, file))


def _number(folder: Place, file: StoredFile) -> int:
    """The number of a savepoint; -1 of one that is damaged, or has gone meanwhile."""
    begin = _header(folder, file.name)
    return int.from_bytes(begin[8:16], "big") if begin.startswith(_MAGIC) and len(begin) == _HEADER else -1


def _header(folder: Place, name: str) -> bytes:
    try:
        with folder.open(name) as metadata:
            begin: bytes = metadata.read(_HEADER)
    except OSError:
        return b""
    return begin


def _check_own(flink: FlinkSettings) -> None:
    """State is read as code is: who may write it decides what is billed, and what Java runs."""
    address = urlsplit(_state_dir(flink))
    if address.scheme in {"", "file"}:
        for folder in ("", "checkpoints", "savepoints"):
            refuse_foreign(Path(address.path) / folder, "the folder of state", flink.state_user)


def check_age(events: EventSettings, point: RestorePoint, now: float | None = None) -> None:
    """Refuse a restore point older than the longest outage promised.

    By then dedupe keys may have expired that duplicates still in the topic need, and Kafka may have aborted the
    transactions that the checkpoint counts as written.

    Raises
    ------
    TidemarkError
        Names the age, the limit and the way out.
    """
    age_s = (time.time() if now is None else now) - point.taken_at
    if age_s > events.outage_s:
        raise TidemarkError(
            f"the newest state is {age_s / 3600:.1f} h old, and {events.outage_s / 3600:.1f} h is the longest "
            f"outage after which a restore is exact ({point.path}).",
            "rebuild with a run of its own: `tidemark submit meter --run-id NAME`, then compare and switch.",
        )
