"""What a job was submitted with, kept beside its state: the values of the settings that shape it, a file a job id."""

from __future__ import annotations

import json
import re
from operator import attrgetter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jobs.flink.bounds import Bounds
from jobs.flink.restore import checkpoint_dir
from jobs.flink.shape import BOUNDED, SHAPING
from tidemark.core.errors import TidemarkError
from tidemark.core.settings import Settings

# Flink puts checkpoints into a folder of the job's id, and savepoints into one that begins with its first six digits.
_CHECKPOINT = re.compile(r"/([0-9a-f]{32})/chk-\d+/?$")
_SAVEPOINT = re.compile(r"/savepoint-([0-9a-f]{6})-[0-9a-f]+/?$")


def values(settings: Settings, job: str, bounds: Bounds) -> dict[str, Any]:
    """The values of the settings that shape the state of a job, by name."""
    names = [one.setting for one in SHAPING[job] if one.setting != BOUNDED]
    return {BOUNDED: bounds.bounded, **{name: attrgetter(name)(settings) for name in names}}


def record(settings: Settings, job: str, job_id: str, bounds: Bounds) -> None:
    """Keep what a job was submitted with; nothing where this machine cannot write beside the state.

    Raises
    ------
    TidemarkError
        The folder of the state cannot be written.
    """
    folder = _folder(settings, job)
    if folder is None:
        return
    file = folder / f"{job_id}.settings.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values(settings, job, bounds), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise TidemarkError(
            f"job {job_id} runs, but {file} cannot be written: {error.strerror}.",
            "let who submits write into state_dir: the next submit compares with this file.",
        ) from error


def recorded(settings: Settings, job: str, state: str) -> dict[str, Any] | None:
    """What the job was submitted with that made this checkpoint or savepoint; None when that is not known."""
    folder, found = _folder(settings, job), _CHECKPOINT.search(state) or _SAVEPOINT.search(state)
    if folder is None or found is None:
        return None
    files = sorted(folder.glob(f"{found[1]}*.settings.json"), key=lambda file: file.stat().st_mtime)
    if not files:
        return None
    read: dict[str, Any] = json.loads(files[-1].read_text(encoding="utf-8"))
    return read


def _folder(settings: Settings, job: str) -> Path | None:
    split = urlsplit(checkpoint_dir(settings.flink, settings.names.job(job)))
    return Path(split.path) if split.scheme in {"", "file"} else None
