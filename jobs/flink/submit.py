"""Start a job where its last state left off, and stop it behind a savepoint."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from jobs.flink.bounds import Bounds
from jobs.flink.damaged import await_restored, explained, refuse_damaged
from jobs.flink.output import check_output, refuse_running
from jobs.flink.positions import REMOVED, check_positions
from jobs.flink.rest import FlinkRest, known_cause
from jobs.flink.restore import check_age, latest, named, savepoint_dir, unseen
from jobs.flink.shape import MOST, changes, most_parallelism, refuse
from jobs.flink.submitted import of_job, record, recorded, values
from jobs.flink.surroundings import DATABASE, check, check_whole, surroundings
from tidemark.core import audit, postgres, rollup_views
from tidemark.core.errors import TidemarkError, UnavailableError, UsageError
from tidemark.core.kafka import committed_offsets, was_written
from tidemark.core.kafka.brokers import TRANSACTION_LIMIT, transaction_limit_ms
from tidemark.core.names import GROUPS
from tidemark.core.places import UnlistedError
from tidemark.core.settings import Settings
from tidemark.core.terminal import say

JOBS = ("meter", "rollup")
# Jobs that count, and those that look on: whoever wants them submits them.
ALL_JOBS = (*JOBS, "anomaly")
# Characters of what `flink run` printed.
_SHOWN = 2_000
_PORTS = {"http": 80, "https": 443}
# `flink run` takes half a minute, and longer on a busy machine.
TURN_S = 300
_SUBMITTED = re.compile(r"JobID ([0-9a-f]{32})")
# The turn ends with the process that has it. A client that lived on would start its job beside that of the next one.
_ENDS_WITH_SUBMITTER = ("setpriv", "--pdeathsig", "KILL")


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
    guarded:
        Whether it ends where Kafka has removed what it has not read.
    """

    job_id: str
    restored_from: str = ""
    already_running: bool = False
    guarded: bool = False


def submit(
    settings: Settings,
    job: str,
    bounds: Bounds | None = None,
    from_savepoint: str = "",
    accepted: Collection[str] = (),
    by: str = "",
    *,
    needs_state: bool = False,
    from_beginning: bool = False,
) -> Submission:
    """Submit `meter`, `rollup` or `anomaly`; safe to repeat.

    1. A job of that name that has not ended is left alone.
    2. The newest checkpoint or savepoint is restored, unless it is older than the outage promised. Where state cannot
       be listed, it must be named, unless the job has never completed a checkpoint.
    3. Nothing that was written after it may be committed, and nothing that it counts as written aborted; no other
       cluster may run the job.
    4. The settings that shape it must be those it was made with, but for those whose change is `accepted`; its topics
       must be the same, and the tables of `rollup` must have what it wrote; and Kafka must have all that the job has
       not read, unless `removed_records` are accepted.
    5. Without one, or `from_beginning`, a job that `needs_state` does not start, `meter` starts only if it never wrote:
       its deltas would be added a second time, and `rollup` only if its topic is whole.

    The views say what is final by the grace that `meter` was submitted with. Two of the same job take turns, so that
    the second finds the job of the first: both would write with the same transactional ids.

    Raises
    ------
    UsageError
        A setting that shapes the state differs, or `meter` has written deltas, but its state is gone; the state is not
        the last one, or the job runs elsewhere; or the run is a replay, which `tidemark replay` starts.
    TidemarkError
        The state is too old or damaged, records that were not read are gone, or Kafka has aborted its transactions; the
        brokers refuse such long ones, or Flink refused.
    """
    bounds = bounds or Bounds()
    _refuse_replay(settings)
    with _taking_turns(settings, job) as connection:
        wanted = Wanted(from_savepoint, from_beginning, needs_state)
        return _submit(connection, settings, job, bounds, wanted, accepted, by)


def check_restorable(settings: Settings, job: str, job_id: str) -> None:
    """Refuse what `submit` would refuse of the state that a running job leaves, while it still runs.

    Raises
    ------
    UsageError
        A setting that shapes the state differs from those the job was submitted with, or the run is a replay.
    """
    _refuse_replay(settings)
    refuse(job, changes(job, of_job(settings, job, job_id), values(settings, job, Bounds())), ())


def _refuse_replay(settings: Settings) -> None:
    if settings.names.is_replay and not settings.replay.late_until:
        raise UsageError(
            f"run {settings.run_id} is a replay, and what it measures is not in these settings.",
            "`tidemark replay resume ID` starts its jobs; a run of another kind has no `__` in its name.",
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """The state that was asked for: a checkpoint or savepoint by name, or none; otherwise the newest.

    Without any, a start that `needs` it is refused.
    """

    savepoint: str = ""
    none: bool = False
    needs: bool = False

    def found(self, settings: Settings, job: str) -> str:
        """Path of the state to restore; empty for a start without."""
        if self.savepoint and self.none:
            raise UsageError("a savepoint is named, and the start is to be without one.", "give one of the two.")
        return "" if self.none else self.savepoint or _newest_state(settings, job)


def _submit(
    connection: psycopg.Connection, settings: Settings, job: str, bounds: Bounds, wanted: Wanted,
    accepted: Collection[str], by: str,
) -> Submission:  # fmt: skip
    name = settings.names.job(job)
    rest = FlinkRest(settings.flink)
    # Step 1
    running = rest.active(name)
    if running is not None:
        return Submission(running.id, already_running=True)
    check_transactions(settings)
    # Step 2
    restore = wanted.found(settings, job)
    # Step 3
    if restore:
        _check_state(settings, job, restore)
    # Step 4
    then = (recorded(settings, job, restore) if restore else None) or {}
    refuse(job, changes(job, then, values(settings, job, bounds)), {*accepted} - {REMOVED, DATABASE})
    around = surroundings(connection, settings, job)
    if restore:
        check(connection, settings, restore, then, around, accepted)
    if restore and not wanted.savepoint and REMOVED not in accepted:
        check_positions(settings, job)
    # Step 5
    if not restore:
        _check_may_begin(settings, job, bounds, needs_state=wanted.needs)
    if job == "meter" and not bounds.bounded:
        # Before the job runs: nothing counts now, and a database that goes away must not leave a job with another one.
        rollup_views.count_by_grace(connection, settings.names, settings.events.grace_s)
    asked = {"from_savepoint": wanted.savepoint, "restored_from": restore, "accepted": [*accepted]}
    audit.record(
        connection, settings.run_id, "job.submit", job, by=by, **asked, start=bounds.start, end=bounds.end
    )  # fmt: skip
    arguments = ["--run-id", settings.run_id, "--from", bounds.start, "--to", bounds.end]
    guarded = bool(restore) and REMOVED not in accepted
    arguments += ["--restored"] if guarded else []
    script = Path(__file__).parents[1] / job / "job.py"
    try:
        job_id = flink_run(settings, script, arguments, restore)
    except TidemarkError as error:
        raise explained(settings, job, restore, error) from error
    is_known = not restore or f"{job}.parallelism" in then
    most = {MOST: most_parallelism(job, then, values(settings, job, bounds))} if is_known else {}
    record(settings, job, job_id, bounds, {**around, **most})
    return Submission(job_id, restored_from=restore, guarded=guarded)


def _check_may_begin(settings: Settings, job: str, bounds: Bounds, *, needs_state: bool) -> None:
    """Refuse to start a job without state that must go on, or that would add what it has added before."""
    name, deltas = settings.names.job(job), settings.names.deltas
    if needs_state:
        raise UsageError(
            f"{name} has run, and below {settings.flink.state_dir} there is no state of it to go on from.",
            f"look for it, and name it: `tidemark submit {job} --from-savepoint URI`. Nothing begins anew by itself.",
        )
    if job == "meter" and was_written(settings.kafka, deltas):
        raise UsageError(
            f"{deltas} has records, but {name} has no state to go on from: it would add them again.",
            "name the state with --from-savepoint, or replay: docs/operations.md#state-is-lost.",
        )
    if job == "rollup" and not bounds.start:
        check_whole(settings)


@contextmanager
def _taking_turns(settings: Settings, job: str) -> Iterator[psycopg.Connection]:
    name = f"tidemark submit {settings.names.job(job)}"
    with postgres.connect(settings.postgres.ops) as connection:
        connection.execute(f"SET lock_timeout = '{TURN_S}s'".encode())
        try:
            postgres.lock(connection, name)
        except psycopg.errors.LockNotAvailable as error:
            raise TidemarkError(
                f"another submit of {settings.names.job(job)} has not ended within {TURN_S} s.",
                f"wait for it, or end it: pg_locks shows who holds the advisory lock of {name!r}.",
            ) from error
        yield connection


def _newest_state(settings: Settings, job: str) -> str:
    try:
        point = latest(settings, settings.names.job(job))
    except UnlistedError:
        # Offsets are committed with each checkpoint: without any there is no state to go on from.
        if committed_offsets(settings.kafka, settings.names.group(GROUPS[job]), _read_by(settings, job)):
            raise
        return ""
    if point is None:
        return ""
    check_age(settings.events, point)
    return point.path


def _check_state(settings: Settings, job: str, path: str) -> None:
    """Refuse state from which the job would not go on exactly; what cannot be listed from here is Flink's to judge."""
    try:
        # First: a job that runs elsewhere removes the checkpoint that was its newest.
        refuse_running(settings, job, getattr(settings, job).checkpoint_interval_ms)
        point = named(settings, path)
    except UnlistedError:
        point = unseen(path)
    else:
        refuse_damaged(settings, job, point)
    check_output(settings, job, point)


def check_transactions(settings: Settings) -> None:
    """Refuse brokers that would refuse the transactions of the sinks; the job would start and fail for ever.

    Raises
    ------
    TidemarkError
        Names both time-outs.
    """
    limit_ms, needed_ms = transaction_limit_ms(settings.kafka), settings.events.transaction_timeout_ms
    if limit_ms is not None and limit_ms < needed_ms:
        raise TidemarkError(
            f"{TRANSACTION_LIMIT} of the brokers is {limit_ms}, and the sinks need {needed_ms}: events.outage_s and an "
            "hour.",
            f"set {TRANSACTION_LIMIT}={needed_ms} on every broker, or a shorter events.outage_s.",
        )


def _read_by(settings: Settings, job: str) -> str:
    return settings.topics.events if job == "meter" else settings.names.deltas


def start_again(settings: Settings, job: str, by: str = "") -> Submission:
    """Stop a running job and submit it from its savepoint, so that it is guarded. Raises as `stop` and `submit` do.

    Only a job that goes on from state ends where Kafka has removed what it has not read (`Bounds.restored`): one that
    started without would pass over it, for as long as it runs.
    """
    stop(settings, job, by=by)
    return submit(settings, job, by=by)


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
    for job, submission in submissions.items():
        await_restored(settings, job, submission.job_id, submission.restored_from)
    return submissions


def stop(settings: Settings, job: str, timeout_s: float = 120, by: str = "") -> str | None:
    """Stop a job behind a savepoint; the savepoint's path, or None when the job was not running.

    It stops also while Postgres is down, and then says that the audit does not have it: a stopped job loses nothing.
    One that was not running is in the audit too: the role `resubmit` must not bring it back.

    Raises
    ------
    UnavailableError
        Flink did not say whether it runs.
    TidemarkError
        The savepoint failed, or was not there in time; the job may still run.
    """
    name = settings.names.job(job)
    rest = FlinkRest(settings.flink)
    running = rest.active(name)
    try:
        audit.record_before(settings, "job.stop", job, by=by, job_id=running.id if running else "")
    except TidemarkError as error:
        say(f"stopping {name} is not in the audit: {error.what}")
    if running is None:
        return None
    try:
        return rest.stop_with_savepoint(running.id, savepoint_dir(settings.flink, name), timeout_s)
    except UnavailableError as error:
        # It ran: whoever stops jobs before an upgrade takes that exit code for "there is no Flink, so no job".
        raise TidemarkError(
            f"{name} may still run: {error.what}",
            f"`tidemark status` says whether it does; then `tidemark stop {job}` again.",
        ) from error


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
    command = [
        *_ENDS_WITH_SUBMITTER, f"{environment['FLINK_HOME']}/bin/flink", "run", "--detached",
        *rest_options(settings.flink.rest_url),
        "--pyClientExecutable", sys.executable, "--pyExecutable", sys.executable,
        *(["--fromSavepoint", restore] if restore else []),
        "--python", str(script), *arguments,
    ]  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = _SUBMITTED.search(done.stdout)
    if done.returncode or not found:
        printed = done.stdout + done.stderr
        cause = known_cause(printed) or _tail(printed)[:_SHOWN]
        raise TidemarkError(
            f"`flink run` of {script.parent.name}/{script.name} failed:\n{cause}",
            "see the Flink UI.",
        )
    return found.group(1)


def rest_options(url: str) -> list[str]:
    """Options of Flink's client for the address of the JobManager: host, port, path and TLS."""
    address = urlsplit(url)
    options = {"rest.address": address.hostname, "rest.port": address.port or _PORTS[address.scheme]}
    if address.path.strip("/"):
        options["rest.path"] = address.path.rstrip("/")
    if address.scheme == "https":
        options["security.ssl.rest.enabled"] = "true"
    return [f"-D{name}={value}" for name, value in options.items()]


def _tail(text: str, lines: int = 25) -> str:
    useful = [line for line in text.splitlines() if not line.startswith(("\tat ", "WARNING"))]
    return "\n".join(useful[-lines:])
