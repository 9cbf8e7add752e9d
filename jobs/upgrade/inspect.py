"""The state that jobs would be restored from, beside the operators of this version: read by a Flink client."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jobs.flink.restore import place
from jobs.flink.submit import flink_environment
from jobs.upgrade.fit import Kept, misfits
from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.settings import Settings

_LIMIT_S = 300


@dataclass(frozen=True, slots=True)
class Inspected:
    """A job: bytes of its state, and what of it has no place in the plan."""

    size_bytes: int
    misfits: tuple[str, ...]


def inspect(settings: Settings, states: Mapping[str, str]) -> dict[str, Inspected]:
    """Compare states with the plans of this version.

    Parameters
    ----------
    settings:
        Of the run.
    states:
        URI or path of the checkpoint or savepoint, by job.

    Raises
    ------
    TidemarkError
        A plan cannot be made, or a checkpoint cannot be read, with the last lines of what said so.
    UnlistedError
        The state is on a file system that this machine cannot read.
    UnavailableError
        A checkpoint was removed meanwhile.
    """
    with TemporaryDirectory() as folder:
        files = {job: _fetched(settings, state, Path(folder, job)) for job, state in states.items()}
        found = _ask(settings, files, Path(folder, "operators.json"))
    return {job: _inspected(settings, job, document) for job, document in found.items()}


def _inspected(settings: Settings, job: str, document: Mapping[str, Any]) -> Inspected:
    kept = [Kept(**one) for one in document["kept"]]
    parallelism = getattr(settings, job).parallelism
    return Inspected(sum(one.size_bytes for one in kept), tuple(misfits(kept, document["planned"], parallelism)))


def _fetched(settings: Settings, state: str, folder: Path) -> Path:
    """The metadata of a checkpoint in a folder of this machine: they alone name the operators."""
    folder.mkdir()
    file = folder / "_metadata"
    try:
        with place(settings, state).open("_metadata") as stream:
            file.write_bytes(stream.read())
    except OSError as error:
        raise UnavailableError(f"{state} is gone: a newer checkpoint has replaced it.", "call again.") from error
    return file


def _ask(settings: Settings, files: Mapping[str, Path], into: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "jobs.upgrade", "--run-id", settings.run_id, "--into", str(into)]
    command += [f"{job}={file}" for job, file in files.items()]
    done = subprocess.run(
        command, env=flink_environment(settings), capture_output=True, text=True, check=False, timeout=_LIMIT_S
    )
    if done.returncode:
        lines = "\n".join(done.stderr.splitlines()[-5:])
        raise TidemarkError(
            f"the plans cannot be compared with the state:\n{lines}", "the plans are made by a Flink client."
        )
    answer: dict[str, Any] = json.loads(into.read_text("utf-8"))
    return answer
