"""Start a job where its last state left off, and stop it behind a savepoint."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from jobs.flink.bounds import Bounds
from jobs.flink.rest import FlinkRest, short_cause
from jobs.flink.restore import check_age, latest, savepoint_dir
from jobs.flink.shape import changes, refuse
from jobs.flink.submitted import record, recorded, values
from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.kafka import was_written
from tidemark.core.settings import Settings

JOBS = ("meter", "rollup")
# Jobs that count, and those that look on: whoever wants them submits them.
ALL_JOBS = (*JOBS, "anomaly")
_SUBMITTED = re.compile(r"JobID ([0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class Submission:
    """What `submit` did.

    Parameters
    ----------
    job_id:
        Flink's id of the job.
    restored_from:
        Checkpoint or savepoint, empty for a start without state.
    already_running:
        Nothing was done, because the job was there.
    """

    job_id: str
    restored_from: str = ""
    already_running: bool = False


def submit(
    settings: Settings,
    job: str,
    bounds: Bounds | None = None,
    from_savepoint: str = "",
    accepted: Collection[str] = (),
) -> Submission:
    """Submit `meter`, `rollup` or `anomaly`; safe to repeat.

    1. A job of that name that has not ended is left alone.
    2. The newest checkpoint or savepoint is restored, unless it is older than the outage promised.
    3. The settings that shape it must be those it was made with, but for those whose change is `accepted`.
    4. Without one, `meter` starts from the beginning only if it never wrote: its deltas would be added a second time.

    Raises
    ------
    UsageError
        A setting that shapes the state differs, or `meter` has written deltas, but its state is gone.
    TidemarkError
        The state is too old, or Flink refused.
    """
    bounds = bounds or Bounds()
    name = settings.names.job(job)
    rest = FlinkRest(settings.flink.rest_url)
    # Step 1
    running = rest.active(name)
    if running is not None:
        return Submission(running.id, already_running=True)
    # Step 2
    restore = from_savepoint
    if not restore:
        point = latest(settings.flink, name)
        if point is not None:
            check_age(settings.events, point)
            restore = point.path
    # Step 3
    then = recorded(settings, job, restore) if restore else None
    refuse(job, changes(job, then or {}, values(settings, job, bounds)), accepted)
    # Step 4
    if not restore and job == "meter" and was_written(settings.kafka, settings.names.deltas):
        raise UsageError(
            f"{settings.names.deltas} has records, but {name} has no state to go on from: it would add them again.",
            "name the state with --from-savepoint, or rebuild with a run of its own: --run-id NAME.",
        )
    arguments = ["--run-id", settings.run_id, "--from", bounds.start, "--to", bounds.end]
    script = Path(__file__).parents[1] / job / "job.py"
    job_id = flink_run(settings, script, arguments, restore)
    record(settings, job, job_id, bounds)
    return Submission(job_id, restored_from=restore)


def submit_all(settings: Settings, bounds: Mapping[str, Bounds] | None = None) -> dict[str, Submission]:
    """Submit the jobs that count, at the same time, and wait until both make progress; safe to repeat.

    Parameters
    ----------
    settings:
        Of the run.
    bounds:
        Where a job begins and ends, of those that do not read everything.

    Raises
    ------
    TidemarkError
        As `submit`; the other job is submitted all the same.
    """
    ranges = bounds or {}
    with ThreadPoolExecutor(len(JOBS)) as pool:
        submissions = dict(zip(JOBS, pool.map(lambda job: submit(settings, job, ranges.get(job)), JOBS), strict=True))
    rest = FlinkRest(settings.flink.rest_url)
    for submission in submissions.values():
        rest.wait_running(submission.job_id)
    return submissions


def stop(settings: Settings, job: str, timeout_s: float = 120) -> str | None:
    """Stop a job behind a savepoint; the savepoint's path, or None when the job was not running."""
    name = settings.names.job(job)
    rest = FlinkRest(settings.flink.rest_url)
    running = rest.active(name)
    return rest.stop_with_savepoint(running.id, savepoint_dir(settings.flink, name), timeout_s) if running else None


def flink_environment(settings: Settings) -> dict[str, str]:
    """Environment of Flink's client: the pip package is a whole distribution."""
    spec = find_spec("pyflink")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError("apache-flink is not installed in this Python.", "run `make setup`.")
    environment = {**os.environ, "FLINK_HOME": os.environ.get("FLINK_HOME", spec.submodule_search_locations[0])}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    for key, value in (("FLINK_CONF_DIR", settings.flink.conf_dir), ("FLINK_LIB_DIR", settings.flink.lib_dir)):
        if value is not None:
            environment[key] = str(value)
    # The job must run with the settings of the submitter, also those given by flags.
    return environment | settings.environment()


def flink_run(settings: Settings, script: Path, arguments: Sequence[str], restore: str = "") -> str:
    """Run `flink run` on a Python job and return Flink's job id.

    Raises
    ------
    TidemarkError
        With the last lines of what `flink run` printed.
    """
    environment = flink_environment(settings)
    address = urlsplit(settings.flink.rest_url)
    command = [
        f"{environment['FLINK_HOME']}/bin/flink", "run", "--detached",
        f"-Drest.address={address.hostname}", f"-Drest.port={address.port}",
        "--pyClientExecutable", sys.executable, "--pyExecutable", sys.executable,
        *(["--fromSavepoint", restore] if restore else []),
        "--python", str(script), *arguments,
    ]  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = _SUBMITTED.search(done.stdout)
    if done.returncode or not found:
        cause = short_cause(_tail(done.stdout + done.stderr))
        raise TidemarkError(
            f"`flink run` of {script.parent.name}/{script.name} failed:\n{cause}",
            "see the Flink UI.",
        )
    return found.group(1)


def _tail(text: str, lines: int = 25) -> str:
    useful = [line for line in text.splitlines() if not line.startswith(("\tat ", "WARNING"))]
    return "\n".join(useful[-lines:])
