"""Whether what a job has written fits the state it is to go on from: nothing of its exactly-once sinks twice or lost.

Flink commits the transactions of a checkpoint once it is complete, so Kafka knows how far the output of a job has got,
whatever state is found or named. A job that goes on from an older one would write again what was committed since; one
whose transactions Kafka has aborted meanwhile would go on as if they were written: Flink only logs that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from jobs.flink.restore import RestorePoint, latest
from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.kafka.transactions import ABORTED, COMMITTED, Transaction, above, transactions
from tidemark.core.settings import Settings
from tidemark.core.terminal import say

# Jobs that write to Kafka. What `rollup` writes it may write again: rows are absolute, and guarded by their version.
TRANSACTIONAL = frozenset({"meter", "anomaly"})
# Transactions that end with a checkpoint began behind the one before it, or earlier where checkpoints failed.
_PENDING = 100
# A job that runs elsewhere completes another checkpoint within these intervals and seconds.
_INTERVALS, _SLACK_S, _POLL_S = 3, 2.0, 0.25
_SHOWN = 3

REPLAY = "rebuild by a replay, which is exact: docs/operations.md#state-that-cannot-be-restored."


def check_output(settings: Settings, job: str, point: RestorePoint) -> None:
    """Refuse a restore point from which a job would write something twice, or without what Kafka has aborted.

    Raises
    ------
    UsageError
        Kafka has committed what the job wrote after it.
    TidemarkError
        Kafka has aborted what it counts as written.
    """
    if job not in TRANSACTIONAL:
        return
    name = settings.names.job(job)
    if point.number < 0:
        say(f"{point.path} cannot be read from here: whether {name} has written more since then is not known.")
        return
    pending = transactions(settings.kafka, name, numbers="|".join(map(str, _ending(point.number + 1))))
    if not pending:
        say(f"Kafka lists no transactions of {name}: this user may not describe them, or it has forgotten them.")
    refuse_later(name, point, written_later(settings, job, point))
    refuse_aborted(name, point, pending)


def written_later(settings: Settings, job: str, point: RestorePoint) -> list[Transaction]:
    """Committed transactions that a job began behind a restore point; raises UnavailableError."""
    return transactions(settings.kafka, settings.names.job(job), COMMITTED, above(point.number))


def refuse_later(name: str, point: RestorePoint, found: Collection[Transaction]) -> None:
    """Refuse a restore point behind which transactions are committed; raises UsageError."""
    later = [one for one in found if one.state in COMMITTED and one.number > point.number]
    if later:
        raise UsageError(
            f"{name} has written more since checkpoint {point.number} ({point.path}): Kafka has committed "
            f"{_shown(later)}. From there it would count those events again.",
            f"go on from its newest state: submit without --from-savepoint. Where that is lost or damaged, {REPLAY}",
        )


def refuse_aborted(name: str, point: RestorePoint, found: Collection[Transaction]) -> None:
    """Refuse a restore point whose transactions were aborted before they could be committed; raises TidemarkError."""
    lost = [one for one in found if one.state in ABORTED and one.number in _ending(point.number)]
    if lost:
        raise TidemarkError(
            f"what {name} had counted up to checkpoint {point.number} ({point.path}) was not committed in time: Kafka "
            f"has aborted {_shown(lost)}. From there it would be missing for ever.",
            REPLAY,
        )


def _ending(number: int) -> range:
    return range(max(number - _PENDING, 0) + 1, number + 1)


def _shown(found: Collection[Transaction]) -> str:
    names = [one.id for one in found][:_SHOWN]
    return ", ".join(names) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")


def refuse_running(settings: Settings, job: str, interval_ms: int) -> None:
    """Refuse a job that is at work on another cluster: watch whether a newer checkpoint than the newest is completed.

    Nothing is waited for behind a savepoint: `stop` ended the job with it.

    Raises
    ------
    UsageError
        It is at work: two would count everything twice.
    """
    name = settings.names.job(job)
    first = latest(settings, name)
    if job not in TRANSACTIONAL or first is None or not first.of_running:
        return
    newer = _newer(lambda: latest(settings, name), first, _INTERVALS * interval_ms / 1_000 + _SLACK_S)
    if newer is not None:
        raise UsageError(
            f"{name} runs on another cluster: it has just completed checkpoint {newer.number} ({newer.path}). Both "
            "would count everything.",
            f"stop that one: `tidemark stop {job}` with flink.rest_url of its cluster, then submit again.",
        )


def _newer(read: Callable[[], RestorePoint | None], first: RestorePoint, within_s: float) -> RestorePoint | None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        point = read()
        if point is not None and point.number > first.number:
            return point
        time.sleep(_POLL_S)
    return None
