"""The end of the hot path: running totals to Redis with the status of their limits, and candidates for alerts."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, NamedTuple

from tidemark_client.keys import heartbeat_key
from udfs.alerts import pipeline as pipeline_alerts
from udfs.alerts.event import Alert, Status
from udfs.limits.alerts import Counter
from udfs.limits.watch import LimitsUnknownError, LimitWatch
from udfs.live.counters import REFUSED, WRITTEN, LiveTotal, client, latest, limit_status_of, queue
from udfs.values import EXACT, MAX_RFC3339_MS, MIN_RFC3339_MS
from udfs.wire import LATEST, LIVE_CHANGE, LiveChange

# Meter of the rows that prove the way from Kafka to Redis; its event time is the instant they were sent.
HEARTBEAT = "tidemark.heartbeat"

_NUMBER = r"-?\d+(?:\.\d+)?(?:E[+-]?\d+)?"
_NUMBERS = re.compile(f"{_NUMBER} {_NUMBER} (?:{_NUMBER})? (?:{_NUMBER})?", re.ASCII)
# While Redis is lost the candidate for an alert is repeated this often.
FIRES_AGAIN_S = 30.0
# Lua counts in doubles.
_MOST_MEASUREMENTS = 2**53
_LATEST_SEPARATORS = len(LATEST.names) - 1


class Change(NamedTuple):
    """One row of `period_totals`: a running total, and what led to it.

    Parameters
    ----------
    total:
        The total up to and including this change; its limit status is not known yet.
    added:
        What the change added; zero for a reevaluation.
    at_ms:
        How far the event time of the counter has come, UTC epoch ms: limits are those that hold then.
    dims:
        Group-by values of the change, canonical JSON.
    """

    total: LiveTotal
    added: Decimal
    at_ms: int
    dims: str


def unpack_change(text: str) -> Change | None:
    """A change from its text (`udfs.wire.LIVE_CHANGE`); None where it is not one, whoever wrote what it was made of."""
    try:
        row = LIVE_CHANGE.unpack(text)
    except ValueError:
        return None
    if not _is_valid(row):
        return None
    total = LiveTotal(
        row.tenant_id, row.customer_id, row.meter, row.period_start_ms, row.period_end_ms, row.n, row.samples,
        row.total, row.lo, row.hi, row.latest,
    )  # fmt: skip
    return Change(total, Decimal(row.added), row.at_ms, row.dims)


def _is_valid(row: LiveChange) -> bool:
    return (
        _NUMBERS.fullmatch(f"{row.total} {row.added} {row.lo} {row.hi}") is not None
        and 0 <= row.n < _MOST_MEASUREMENTS
        and MIN_RFC3339_MS <= row.period_start_ms < row.period_end_ms <= MAX_RFC3339_MS
        and MIN_RFC3339_MS <= row.at_ms <= MAX_RFC3339_MS
        # An id with separators would push what follows it into the last field.
        and (not row.latest or row.latest.count(LATEST.separator) == _LATEST_SEPARATORS)
    )


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """How the hot path reaches Redis; picklable, and without the password.

    Parameters
    ----------
    redis_url:
        Redis without a password.
    prefix:
        First part of every key, with its colon.
    grace_ms:
        Added to the length of the period for the life of a counter.
    timeout_ms:
        Longest wait for a connection, and for an answer.
    retry_ms:
        After a failure nothing is tried for this long: counting loses at most one attempt per pause.
    password_file:
        File with the password, on the workers; empty for none.

    """

    redis_url: str
    prefix: str
    grace_ms: int
    timeout_ms: int
    retry_ms: int
    password_file: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the counters of one batch.

    Parameters
    ----------
    written, refused, dropped:
        Counters (not rows): written, refused by the guard because newer ones are stored, or given up. The Redis sync
        writes dropped ones from the stored totals.
    alerts:
        Candidates for alerts, row by row: the job drops those that are no news.
    unknown:
        Rows whose limits are unknown; the limit sync requests their reevaluation.
    invalid:
        Rows that are not valid; they are skipped.
    detail:
        Why counters were dropped; empty when none were.

    """

    written: int = 0
    refused: int = 0
    dropped: int = 0
    alerts: Sequence[Sequence[Alert]] = ()
    unknown: int = 0
    invalid: int = 0
    detail: str = ""


class LivePublisher:
    """Publishes changes; a Redis that is down costs one short attempt per pause, and delays no alert.

    Parameters
    ----------
    settings:
        Where and how long to try.
    watch:
        What knows the limits; None leaves them alone.
    password:
        Password of Redis, if it has one.
    clock, wall_clock:
        Seconds that only grow; seconds since the epoch.

    """

    def __init__(
        self,
        settings: LiveSettings,
        watch: LimitWatch | None = None,
        password: str | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._watch = watch
        self._client = client(settings.redis_url, password, timeout_s=settings.timeout_ms / 1_000)
        self._clock = clock
        self._wall_clock = wall_clock
        # None until the first attempt: the subtask before this one may have said that Redis was lost.
        self._down: bool | None = None
        self._next_attempt_at = float("-inf")
        self._dropped_while_down = 0
        self._fires_again_at = float("-inf")

    def publish(self, changes: Sequence[Change | None]) -> Outcome:
        """Compare each change with its limit, and write the newest of each counter; never raises, never tries twice.

        None stands for a row that is not valid.
        """
        alerts: list[list[Alert]] = [[] for _ in changes]
        rows: list[LiveTotal] = []
        heartbeat_ms, unknown = 0, 0
        if self._watch is not None:
            self._watch.prepare({(change.total.tenant, change.total.customer) for change in changes if change})
        for change, candidates in zip(changes, alerts, strict=True):
            if change is None:
                continue
            if change.total.meter == HEARTBEAT:
                heartbeat_ms = max(heartbeat_ms, change.at_ms)
                continue
            rows.append(self._compared(change, candidates))
            unknown += rows[-1].limit_status is None
        outcome = self._write(latest(rows), heartbeat_ms, alerts[0] if alerts else [])
        return replace(outcome, alerts=alerts, unknown=unknown, invalid=changes.count(None))

    def close(self) -> None:
        """Give the connection back."""
        self._client.close()

    def _compared(self, change: Change, candidates: list[Alert]) -> LiveTotal:
        row = change.total
        if self._watch is None:
            return row
        period_ms = row.period_start_ms, row.period_end_ms
        total = Decimal(row.total)
        counter = Counter(row.tenant, row.customer, row.meter, *period_ms, change.at_ms)
        try:
            limit, alerts = self._watch.see(counter, EXACT.subtract(total, change.added), total, change.dims)
        except LimitsUnknownError:
            return row
        candidates += alerts
        status = limit_status_of(limit, total, period_ms, change.at_ms)
        return row.with_limit(status, self._watch.revision_of(row.tenant, row.customer))

    def _write(self, rows: Sequence[LiveTotal], heartbeat_ms: int, candidates: list[Alert]) -> Outcome:
        if not rows and not heartbeat_ms:
            return Outcome()
        if self._clock() < self._next_attempt_at:
            self._dropped_while_down += len(rows)
            return Outcome(dropped=len(rows), detail="waiting before the next attempt")
        try:
            replies = self._attempt(rows, heartbeat_ms)
        except Exception as error:  # noqa: BLE001  whatever goes wrong here must not stop the counting
            return self._failed(Outcome(dropped=len(rows), detail=_describe(error)), candidates)
        return self._written(replies, len(rows), candidates)

    def _attempt(self, rows: Sequence[LiveTotal], heartbeat_ms: int) -> list[Any]:
        settings = self._settings
        pipeline = self._client.pipeline(transaction=False)
        now_ms = int(self._wall_clock() * 1_000)
        queue(pipeline, settings.prefix, rows, now_ms=now_ms, grace_ms=settings.grace_ms, strict=False)
        if heartbeat_ms:
            pipeline.set(heartbeat_key(settings.prefix), heartbeat_ms)
        replies: list[Any] = pipeline.execute(raise_on_error=False)
        return replies

    def _written(self, replies: Sequence[Any], rows: int, candidates: list[Alert]) -> Outcome:
        # The first is that of the script; a heartbeat that was refused says as much as a counter.
        results = replies[1 : 1 + rows]
        written, refused = results.count(WRITTEN), results.count(REFUSED)
        errors = [reply for reply in replies if isinstance(reply, Exception)]
        dropped = len(results) - written - refused
        if errors:
            # An answer, but not a usable one: out of memory, still loading, a read-only replica.
            return self._failed(Outcome(written, refused, dropped, detail=_describe(errors[0])), candidates)
        outcome = Outcome(written, refused, dropped, detail="a key is not a counter" if dropped else "")
        if self._down is not False:
            self._changed("resolved", outcome, candidates)
        return outcome

    def _failed(self, outcome: Outcome, candidates: list[Alert]) -> Outcome:
        self._next_attempt_at = self._clock() + self._settings.retry_ms / 1_000
        # A connection that failed half-way may still hold replies of this batch.
        self._client.connection_pool.disconnect()
        self._dropped_while_down += outcome.dropped
        # All subtasks share one condition, because none knows its own number: one that recovers ends it for the others,
        # and those that have not say so again. What is no news is sent to nobody.
        if self._down is not True or self._clock() >= self._fires_again_at:
            self._fires_again_at = self._clock() + FIRES_AGAIN_S
            self._changed("firing", outcome, candidates)
        return outcome

    def _changed(self, status: Status, outcome: Outcome, candidates: list[Alert]) -> None:
        evidence = {"detail": outcome.detail, "dropped": self._dropped_while_down}
        at_ms = int(self._wall_clock() * 1_000)
        candidates.append(pipeline_alerts.live_counters(status, at_ms=at_ms, evidence=evidence))
        self._down = status == "firing"
        if not self._down:
            self._dropped_while_down = 0


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]
