"""Starts a replay, resumes one that was interrupted, and reports its progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta

from jobs.flink.bounds import Bounds
from jobs.flink.submit import JOBS, stop, submit_all
from tidemark.archive.publish import publish
from tidemark.billing import store
from tidemark.billing.watermark import Watermark, as_text, drain, reached
from tidemark.catalog import history
from tidemark.core import access, audit, migrate, postgres, topics
from tidemark.core.errors import TidemarkError, UnavailableError, UsageError
from tidemark.core.kafka import Record, committed_offsets, last_records, offsets_at
from tidemark.core.service import logger
from tidemark.core.settings import Settings
from tidemark.core.times import arrival_of
from tidemark.replay import record
from tidemark.replay.record import Offsets, Replay, run_settings
from udfs.values import EPOCH, rfc3339

log = logger("replay")

_POLL_S = 1.0
# Longest time without any record read: a restart of a TaskManager takes at most 45 s.
STALL_S = 300.0


@dataclass(frozen=True, slots=True)
class Request:
    """The options of `replay start`.

    Parameters
    ----------
    replay_id, by:
        Its name, and who starts it.
    start, end:
        Half-open range of event time; `end` None: it follows the live stream.
    tenants:
        None: all.
    catalog_at:
        Measure by the catalog as it was known at this instant.
    from_archive:
        Read the archive instead of the topic.
    events_per_s:
        Most events a second; 0: no bound.
    counts_late:
        Whether what was too late when it arrived is counted.
    """

    replay_id: str
    by: str
    start: datetime
    end: datetime | None = None
    tenants: Sequence[str] = ()
    catalog_at: datetime | None = None
    from_archive: bool = False
    events_per_s: int = 0
    counts_late: bool = True


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a replay: records read, records to read, and the rate.

    Parameters
    ----------
    done, total:
        Records.
    per_s:
        Records a second since the first poll; None at the first poll.
    """

    done: int
    total: int
    per_s: float | None = None

    @property
    def left_s(self) -> float | None:
        """Seconds left at this rate; None while there is no rate."""
        return (self.total - self.done) / self.per_s if self.per_s else None


def start(settings: Settings, request: Request) -> Replay:
    """Insert a replay and start its jobs; after a failure `resume` continues.

    Raises
    ------
    UsageError
        The name is taken, the range is empty or not final yet, or another replay covers some of it.
    """
    check(settings, request)
    replay = _planned(settings, request)
    with postgres.connect(settings.postgres.owner) as connection, connection.transaction():
        store.lock_ledger(connection, settings.names)
        record.insert(connection, settings.names, replay)
        scope = {"from": rfc3339(request.start), "to": rfc3339(request.end) if request.end else None}
        audit.record(
            connection, settings.run_id, "replay.start", request.replay_id, by=request.by, **scope,
            tenants=[*request.tenants], from_archive=request.from_archive,
        )  # fmt: skip
    return resume(settings, replay)


def check(settings: Settings, request: Request) -> None:
    """Refuse what `start` would refuse, changing nothing; raises as it does."""
    _check_request(settings, request)
    with postgres.connect(settings.postgres.owner) as connection:
        record.refuse(connection, settings.names, request.replay_id, request.start, request.end, tuple(request.tenants))


def reads_from(settings: Settings, start: datetime) -> datetime | None:
    """Arrival from which a replay of event times from `start` on reads the topic; None: from its first record.

    Copies of an event lie within the lifetime of its dedupe key: from here on the first copy is known.
    """
    horizon = start - record.MARGIN - timedelta(milliseconds=settings.events.dedupe_ttl_ms)
    return None if horizon < EPOCH else horizon


def resume(settings: Settings, replay: Replay) -> Replay:
    """Start the missing parts of a replay, its jobs from their newest state; returns the replay.

    Raises
    ------
    UsageError
        It was discarded.
    """
    if replay.state == "discarded":
        raise UsageError(f"replay {replay.replay_id!r} was discarded.", "start another one.")
    if replay.bounded and replay.state != "running":
        return replay
    run = run_settings(settings, replay)
    if replay.catalog_at is not None:
        with access.connect_owner(settings.postgres) as connection:
            history.materialize(connection, replay.catalog_at, run.catalog.schema_name)
    if replay.from_archive and not replay.target:
        replay = _from_archive(settings, run, replay)
    loads_history = replay.from_archive or topics.has_create_time(settings.kafka, settings.topics.events)
    topics.apply(run, create_time=loads_history, ledger=False)
    migrate.migrate(run, ledger=False)
    bounds = Bounds(replay.read_from.isoformat() if replay.read_from else "")
    submit_all(run, {"meter": bounds})
    return replay


def finish(settings: Settings, replay: Replay, progress: Callable[[Progress], None] | None = None) -> Replay:
    """Wait until a replay has applied its target; stop its jobs if it has an end; returns the replay.

    Raises
    ------
    TidemarkError
        Nothing was read for STALL_S.
    """
    if replay.state != "running":
        return replay
    run = run_settings(settings, replay)
    _wait_read(run, replay, progress)
    watermark = applied(run, replay.starts, replay.target)
    if replay.bounded:
        for job in JOBS:
            stop(run, job)
    with postgres.connect(settings.postgres.owner) as connection:
        record.update(
            connection, settings.names, replay.replay_id, state="caught_up", reached=as_text(watermark.offsets),
            watermark=watermark.at, caught_up_at=datetime.now(UTC),
        )  # fmt: skip
        return record.find(connection, settings.names, replay.replay_id)


def applied(run: Settings, starts: Offsets, target: Offsets) -> Watermark:
    """Drain a run until its rollups include every record from `starts` up to `target`.

    Raises
    ------
    UnavailableError
        A job of the run does not run, or the target is not reached in STALL_S.
    """
    wanted = needed(starts, target)
    deadline = time.monotonic() + STALL_S
    while True:
        watermark = drain(run)
        if reached(run, watermark.offsets, wanted):
            return watermark
        if time.monotonic() > deadline:
            raise UnavailableError(
                f"run {run.run_id!r} includes the records below {watermark.offsets}, not all below {wanted}.",
                "see the Flink UI for its jobs, then call again.",
            )


def needed(starts: Offsets, target: Offsets) -> dict[str, dict[int, int]]:
    """Target offsets of the partitions in which there is anything to read."""
    return {
        topic: {int(part): end for part, end in ends.items() if end > starts.get(topic, {}).get(part, 0)}
        for topic, ends in target.items()
    }


def missing(starts: Offsets, target: Offsets, read: Offsets) -> int:
    """Records from `starts` up to `target` that are not below `read`."""
    return sum(
        max(0, end - max(read.get(topic, {}).get(part, 0), starts.get(topic, {}).get(part, 0)))
        for topic, ends in target.items()
        for part, end in ends.items()
    )


def poll(run: Settings, replay: Replay, before: tuple[float, Progress] | None = None) -> Progress:
    """Progress of a replay by its newest checkpoint; with an earlier poll (monotonic clock, progress) also the rate."""
    group = run.names.group("meter")
    read = as_text({topic: committed_offsets(run.kafka, group, topic) for topic in replay.target})
    total = missing(replay.starts, replay.target, {})
    done = total - missing(replay.starts, replay.target, read)
    if before is None:
        return Progress(done, total)
    return Progress(done, total, (done - before[1].done) / max(time.monotonic() - before[0], 0.001))


def _wait_read(run: Settings, replay: Replay, progress: Callable[[Progress], None] | None) -> None:
    first = time.monotonic(), poll(run, replay)
    moved = first
    while True:
        now = poll(run, replay, first)
        if progress is not None:
            progress(now)
        if now.done >= now.total:
            return
        if now.done > moved[1].done:
            moved = time.monotonic(), now
        elif time.monotonic() - moved[0] > STALL_S:
            raise TidemarkError(
                f"replay {replay.replay_id!r} has read {now.done} of {now.total} records and none for {STALL_S:.0f} s.",
                f"see the Flink UI, then `tidemark replay resume {replay.replay_id}`.",
            )
        time.sleep(_POLL_S)


def _check_request(settings: Settings, request: Request) -> None:
    settings.names.replay(request.replay_id)
    if request.end is None:
        if request.from_archive:
            raise UsageError("a replay from the archive needs an end.", "add --to.")
        return
    if request.start >= request.end:
        raise UsageError(f"--from {request.start} is not before --to {request.end}.", "give an earlier --from.")
    final = request.end + timedelta(seconds=settings.events.grace_s + settings.events.redrive_window_s)
    if final > datetime.now(UTC):
        raise UsageError(
            f"usage before {rfc3339(request.end)} may still change until {rfc3339(final)} (grace and redrive "
            "window), and a replay with an end would miss that.",
            "leave --to out, so that the replay follows the live stream; or give an earlier end.",
        )


def _planned(settings: Settings, request: Request) -> Replay:
    read_from = None if request.from_archive else reads_from(settings, request.start)
    last = _last(settings)
    newest_ms = max((newest.timestamp_ms for newest in last[settings.topics.events].values()), default=0)
    archived = f"{settings.topics.events}.archive.{request.replay_id}"
    starts, target = ({}, {}) if request.from_archive else _range(settings, read_from, last)
    return Replay(
        replay_id=request.replay_id, state="running", scope_start=request.start, scope_end=request.end,
        tenants=tuple(request.tenants), from_archive=request.from_archive,
        events_topic=archived if request.from_archive else settings.topics.events,
        catalog_at=request.catalog_at, events_per_s=request.events_per_s, read_from=read_from,
        # Whether the present records were too late was decided when they arrived.
        late_until=min(arrival_of(newest_ms + 1), _most_ahead(settings)) if request.counts_late else EPOCH,
        starts=starts, target=target, reached=None, watermark=None,
        started_at=datetime.now(UTC), started_by=request.by, caught_up_at=None,
    )  # fmt: skip


def _most_ahead(settings: Settings) -> datetime:
    """Latest instant at which a record that is there now can have arrived, by a clock that is ahead."""
    return datetime.now(UTC) + timedelta(seconds=settings.events.future_tolerance_s)


def _last(run: Settings) -> dict[str, dict[int, Record]]:
    """The last record of each partition of the sources."""
    return {
        topic: last_records(run.kafka, topic, "read_committed") for topic in (run.topics.events, run.topics.redrive)
    }


def _range(
    run: Settings, read_from: datetime | None, last: Mapping[str, Mapping[int, Record]]
) -> tuple[Offsets, Offsets]:
    """The offset at which each partition of the sources is read first, and the offset after its last record."""
    starts = {topic: offsets_at(run.kafka, topic, read_from) for topic in last}
    ends = {topic: {part: newest.offset + 1 for part, newest in records.items()} for topic, records in last.items()}
    return as_text(starts), as_text(ends)


def _from_archive(settings: Settings, run: Settings, replay: Replay) -> Replay:
    for source, topic in ((settings.topics.events, run.topics.events), (settings.topics.redrive, run.topics.redrive)):
        for gap in publish(settings, source, topic).lost:
            # Records that neither Kafka nor the archive has cannot be counted; log them, they may be outside the scope.
            log("lost", replay=replay.replay_id, **asdict(gap))
    starts, target = _range(run, None, _last(run))
    with postgres.connect(settings.postgres.owner) as connection:
        record.update(connection, settings.names, replay.replay_id, starts=starts, target=target)
    return replace(replay, starts=starts, target=target)
