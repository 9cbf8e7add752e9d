"""What a job was submitted with, kept beside its state: the values of the settings that shape it, a file a job id."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from jobs.flink.bounds import Bounds
from jobs.flink.restore import checkpoint_dir, place
from jobs.flink.shape import BOUNDED, SHAPING
from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.places import Place, UnlistedError
from tidemark.core.settings import Settings

_SUFFIX = ".settings.json"
_NOTHING: Mapping[str, Any] = MappingProxyType({})
# Flink puts checkpoints into a folder of the job's id, and savepoints into one that begins with its first six digits.
_CHECKPOINT = re.compile(r"/([0-9a-f]{32})/chk-\d+/?$")
_SAVEPOINT = re.compile(r"/savepoint-([0-9a-f]{6})-[0-9a-f]+/?$")


def values(settings: Settings, job: str, bounds: Bounds) -> dict[str, Any]:
    """The values of the settings that shape the state of a job, by name."""
    names = [one.setting for one in SHAPING[job] if one.setting != BOUNDED]
    return {BOUNDED: bounds.bounded, **{name: attrgetter(name)(settings) for name in names}}


def record(settings: Settings, job: str, job_id: str, bounds: Bounds, around: Mapping[str, Any] = _NOTHING) -> None:
    """Keep what a job was submitted with, and beside which topics and tables.

    Nothing on a file system that this machine cannot use.

    Raises
    ------
    TidemarkError
        The folder of the state cannot be written.
    """
    folder = _folder(settings, job)
    if folder is None:
        return
    try:
        folder.write(f"{job_id}{_SUFFIX}", json.dumps({**values(settings, job, bounds), **around}, indent=1) + "\n")
    except UnavailableError as error:
        raise TidemarkError(
            f"job {job_id} runs, but what it was submitted with was not kept: {error.what}",
            "let who submits write into state_dir: the next submit compares with this file.",
        ) from error


def recorded(settings: Settings, job: str, state: str) -> dict[str, Any] | None:
    """What the job was submitted with that made this checkpoint or savepoint; None when that is not known."""
    folder, found = _folder(settings, job), _CHECKPOINT.search(state) or _SAVEPOINT.search(state)
    if folder is None or found is None:
        return None
    names = {file.uri.rpartition("/")[2]: file.written_at for file in folder.files() if file.uri.endswith(_SUFFIX)}
    newest = max((name for name in names if name.startswith(found[1])), key=lambda name: names[name], default=None)
    if newest is None:
        return None
    read: dict[str, Any] = json.loads(folder.read(newest))
    return read


def of_job(settings: Settings, job: str, job_id: str) -> dict[str, Any]:
    """What a job was submitted with; empty when that is not known."""
    folder, name = _folder(settings, job), f"{job_id}{_SUFFIX}"
    if folder is None or folder.size(name) is None:
        return {}
    read: dict[str, Any] = json.loads(folder.read(name))
    return read


def _folder(settings: Settings, job: str) -> Place | None:
    try:
        return place(settings, checkpoint_dir(settings.flink, settings.names.job(job)))
    except UnlistedError:
        return None
