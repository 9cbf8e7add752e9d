"""From which checkpoint or savepoint a job goes on, and whether it still may."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.own_files import refuse_foreign
from tidemark.core.places import Place, StoredFile, UnlistedError
from tidemark.core.settings import EventSettings, FlinkSettings, Settings

_LAST_WRITTEN = "/_metadata"
# A file of metadata begins with this, a version of 4 bytes, and the number of the checkpoint in 8.
_MAGIC = bytes.fromhex("4960672d")


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
    """

    path: str
    taken_at: float


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


def latest(settings: Settings, job: str) -> RestorePoint | None:
    """The newest complete restore point of a job, or None.

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
    # S3 knows the time of a file to the second. Within one the number decides: a job that was stopped leaves its last
    # checkpoints beside its savepoint, and removes them a little later.
    last_s = max((int(file.written_at) for _, file in files), default=0)
    newest = [(_number(folder, file), file) for folder, file in files if int(file.written_at) == last_s]
    _, found = max(newest, key=lambda one: (one[0], one[1].written_at), default=(0, None))
    return None if found is None else RestorePoint(found.uri.removesuffix(_LAST_WRITTEN), found.written_at)


def taken_at(settings: Settings, path: str) -> float | None:
    """Unix time in seconds at which a checkpoint or savepoint was complete; None where that cannot be read."""
    try:
        files = place(settings, path).files()
    except UnlistedError:
        return None
    return next((file.written_at for file in files if file.uri.endswith(_LAST_WRITTEN)), None)


def _number(folder: Place, file: StoredFile) -> int:
    """The number of a checkpoint or savepoint, which grows over both; -1 for one that has gone meanwhile."""
    try:
        with folder.open(file.name) as metadata:
            begin: bytes = metadata.read(16)
    except OSError:
        return -1
    return int.from_bytes(begin[8:16], "big") if begin.startswith(_MAGIC) else 0


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
