"""The arrival watermark: the arrival up to which every event is in the stored totals; measured, never ahead of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobs.flink.rest import FlinkRest, Job, wait_until
from tidemark.core.errors import UnavailableError
from tidemark.core.kafka import GroupOffsets, end_offsets, last_records
from tidemark.core.names import GROUPS
from tidemark.core.settings import Settings
from tidemark.core.times import arrival_of
from tidemark.core.topics import has_create_time

# A checkpoint of `rollup` may follow a mini-batch, a flush and a restart.
TIMEOUT_S = 300.0
_OWN_OFFSETS = 2

Say = Callable[[str], None]
# Next offset by topic, then partition.
Offsets = dict[str, dict[int, int]]


class JobNotRunningError(UnavailableError):
    """A job that the totals depend on does not run, or was restarted during the check."""


@dataclass(frozen=True, slots=True)
class Watermark:
    """What the stored totals include.

    Parameters
    ----------
    at:
        Every event that arrived earlier was applied; None while a partition has no counted record, see `reason`.
    reason:
        Why there is no watermark, and what to do; empty otherwise.
    offsets:
        Next offset by topic and partition: every record before was applied.
    arrivals:
        Arrival of the last applied record of each partition of the events topic; None if there is no such record.
    """

    at: datetime | None
    reason: str
    offsets: Offsets
    arrivals: Mapping[int, datetime | None]


def drain(settings: Settings, progress: Say | None = None, timeout_s: float = TIMEOUT_S) -> Watermark:
    """Wait until all that `meter` has committed by now is in the stored totals; returns the watermark.

    docs/billing.md has the proof that the result never runs ahead of the totals.

    Raises
    ------
    JobNotRunningError
        `meter` or `rollup` does not run, or was restarted from an older state meanwhile.
    UnavailableError
        Kafka or Flink does not answer, or a step took longer than `timeout_s`.
    """
    say = progress or (lambda _: None)
    # Step 1: what a completed checkpoint of `meter` covers. Its tick may still buffer the deltas of these records.
    job = running(settings, "meter")
    running(settings, "rollup")
    begun = committed(settings)
    # Step 2: a checkpoint triggered so long after that one ended that every buffered tick has fired.
    say("waiting for a checkpoint of meter that covers every tick …")
    _await_checkpoint(settings, job, timeout_s)
    if any(now < begun[topic][part] for topic, part, now in _flat(committed(settings)) if part in begun[topic]):
        raise JobNotRunningError(f"{job.name} went back to an older state just now.", "call again.")
    # Step 3: every delta of these records lies below the ends that the topic has now.
    ends = end_offsets(settings.kafka, settings.names.deltas)
    # Step 4: the transactions below the ends are decided, and `rollup` has stored the last record below each end.
    say("waiting for rollup to store what meter has sent …")
    _await_rollup(settings, ends, timeout_s)
    return _watermark(settings, begun)


def reached(settings: Settings, offsets: Mapping[str, Mapping[int, int]], target: Offsets) -> bool:
    """Whether every record below `target` lies below `offsets`.

    A target may be the end of a topic, after transaction markers, which no reader ever commits: what counts is the last
    record below it.
    """
    for topic, ends in target.items():
        done = offsets.get(topic, {})
        behind = {part: end for part, end in ends.items() if done.get(part, 0) < end}
        last = last_records(settings.kafka, topic, "read_uncommitted", behind) if behind else {}
        if any(record.offset >= done.get(part, 0) for part, record in last.items()):
            return False
    return True


def as_text(offsets: Mapping[str, Mapping[int, int]]) -> dict[str, dict[str, int]]:
    """Offsets for JSON: partitions are text."""
    return {topic: {str(part): offset for part, offset in parts.items()} for topic, parts in offsets.items()}


def running(settings: Settings, job: str) -> Job:
    """The running job `meter` or `rollup` of this run; raises JobNotRunningError."""
    name = settings.names.job(job)
    active = FlinkRest(settings.flink).active(name)
    if active is None or active.state != "RUNNING":
        state = "not submitted" if active is None else active.state
        raise JobNotRunningError(f"{name} is {state}, not RUNNING.", f"`tidemark submit {job}`.")
    return active


def committed(settings: Settings) -> Offsets:
    """What completed checkpoints of `meter` cover: next offset by topic and partition."""
    topics = (settings.topics.events, settings.topics.redrive)
    with closing(GroupOffsets(settings.kafka, settings.names.group("meter"), settings.topics.events)) as group:
        offsets = group.by_topic()
    return {topic: offsets.get(topic, {}) for topic in topics}


def _flat(offsets: Offsets) -> list[tuple[str, int, int]]:
    return [(topic, part, offset) for topic, parts in offsets.items() for part, offset in parts.items()]


def _await_checkpoint(settings: Settings, job: Job, timeout_s: float) -> None:
    rest = FlinkRest(settings.flink)
    buffered_ms = settings.meter.longest_tick_ms + settings.close.settle_s * 1_000
    quiet_ms: int | None = None

    def passed() -> bool:
        nonlocal quiet_ms
        if (state := running(settings, "meter")).id != job.id:
            raise JobNotRunningError(f"{state.name} was submitted again just now.", "call again.")
        progress = rest.progress(job.id)
        if quiet_ms is None:
            # Read after the offsets: the checkpoint that committed them is this one or an earlier one.
            quiet_ms = progress.ended_ms
        # A restored job fires what it buffered; its delay starts at the restore.
        since_ms = max(quiet_ms or 0, progress.restored_ms or 0)
        return (
            quiet_ms is not None
            and progress.triggered_ms is not None
            and progress.triggered_ms >= since_ms + buffered_ms
        )

    wait_until(passed, timeout_s, f"a checkpoint of {job.name} triggered {buffered_ms / 1000:.2f} s after the last")


def _await_rollup(settings: Settings, ends: Mapping[int, int], timeout_s: float) -> None:
    names = settings.names
    group, topic = names.group(GROUPS["rollup"]), names.deltas

    def decided() -> bool:
        stable = end_offsets(settings.kafka, topic, "read_committed")
        return all(stable.get(part, 0) >= end for part, end in ends.items())

    wait_until(decided, timeout_s, f"the open transactions of {topic} below {dict(ends)}")
    # Transaction markers are not records: no consumer commits an offset after them before a record follows.
    last = {part: record.offset for part, record in last_records(settings.kafka, topic, "read_committed", ends).items()}

    rest = FlinkRest(settings.flink)
    with closing(GroupOffsets(settings.kafka, group, topic)) as offsets:

        def stored() -> bool:
            # A job that was submitted with older state, as after a restore of the tables, finds the offsets of the one
            # before it: its own are committed when its second checkpoint is complete.
            if rest.checkpoints(running(settings, "rollup").id)["completed"] < _OWN_OFFSETS:
                return False
            done = offsets.committed()
            return all(done.get(part, 0) > offset for part, offset in last.items())

        wait_until(stored, timeout_s, f"{group} to pass {last} of {topic}")


def _watermark(settings: Settings, committed: Offsets) -> Watermark:
    topic = settings.topics.events
    ends = end_offsets(settings.kafka, topic)
    last = last_records(
        settings.kafka, topic, "read_uncommitted", {part: committed[topic].get(part, 0) for part in ends}
    )
    # The broker's clock ascends; timestamps that producers set may come in any order within the bound.
    disorder = timedelta(seconds=settings.meter.bounded_disorder_s if has_create_time(settings.kafka, topic) else 0)
    arrivals: dict[int, datetime | None] = dict.fromkeys(sorted(ends))
    for part, record in last.items():
        arrivals[part] = arrival_of(record.timestamp_ms) - disorder
    silent = [part for part, arrival in arrivals.items() if arrival is None]
    at = None if silent else min((arrival for arrival in arrivals.values() if arrival is not None), default=None)
    return Watermark(at, _why(topic, silent), committed, arrivals)


def _why(topic: str, silent: list[int]) -> str:
    if not silent:
        return ""
    return (
        f"partitions {silent} of {topic} have no counted record, so their progress is not known: set "
        "heartbeat.tenant, or send `tidemark ledger heartbeat`."
    )
