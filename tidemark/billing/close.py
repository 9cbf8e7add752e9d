"""Closes billing periods whose end + grace lies behind the arrival watermark, and corrects closed ones that changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import sql

from jobs.flink.rest import wait_until
from tidemark.billing import alarm, audited, dead_letter_index, delta_index, guard, heartbeat, outbox, store
from tidemark.billing.decide import CloseRequest, decide
from tidemark.billing.lines import PeriodKey
from tidemark.billing.messages import Context
from tidemark.billing.refusals import DeadLetterCounts, Refusal
from tidemark.billing.scope import Scope
from tidemark.billing.sources import ActiveVersions, Say, by_run, drained, open_runs
from tidemark.billing.true_up import true_up
from tidemark.billing.watermark import committed, reached
from tidemark.core import audit, rollup_views
from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.kafka import end_offsets
from tidemark.core.postgres import connect, run_once
from tidemark.core.service import Service, Stateless, logger
from tidemark.core.settings import Settings
from udfs.values import rfc3339

log = logger("close")

# Rows committed this long after they were stamped are still seen; `rollup` commits a batch within seconds.
OVERLAP = timedelta(seconds=60)
# A heartbeat is counted with the next checkpoint of `meter`.
HEARTBEAT_WAIT_S = 30.0
# Deltas that are indexed between two closes: the first pass over a long topic must not delay the next close by minutes.
INDEXED_AT_ONCE = 500_000

# Closed periods whose rollups were written since, by their start. A level lasts into all later periods.
_CHANGED = """
WITH written AS (
    SELECT u.tenant_id, u.customer_id, u.period_start, bool_or(k.aggregation = 'weighted_sum') AS is_level
    FROM {schema}.usage_period u
    JOIN {schema}.meter_kind k USING (tenant_id, meter)
    WHERE u.updated_at >= %s
    GROUP BY u.tenant_id, u.customer_id, u.period_start
)
SELECT DISTINCT s.tenant_id, s.customer_id, s.period_start, s.period_end
FROM {schema}.period_status s
JOIN written w ON (w.tenant_id, w.customer_id) = (s.tenant_id, s.customer_id)
    AND (w.period_start = s.period_start OR (w.is_level AND w.period_start < s.period_start))
WHERE s.is_current
"""


@dataclass(frozen=True, slots=True)
class Closed:
    """What one close did.

    Parameters
    ----------
    watermark:
        Arrival watermark; None when there is none.
    closes, corrections, published:
        Periods closed, corrections made, records sent.
    refused:
        Why due periods stay open.
    """

    watermark: datetime | None
    closes: int
    corrections: int
    published: int
    refused: tuple[Refusal, ...]


def close(settings: Settings, by: str, request: CloseRequest | None = None, *, progress: Say | None = None) -> Closed:
    """Close what is due, correct what changed, publish both.

    1. Send heartbeats into silent partitions, if a heartbeat tenant is set.
    2. Drain: wait until what was committed by now is in the rollups.
    3. Correct closed periods whose rollups changed.
    4. Decide what is closed, and store by which watermark: a call after a crash continues with the same watermark.
    5. Close it, a transaction for each batch of periods.
    6. Publish to Kafka; if all customers were checked, start or end the alarm of periods that wait for an approval.

    An interrupted call leaves only whole periods, and the next call continues. If the request names a tenant or
    customer, only its periods are corrected and closed.

    Raises
    ------
    UnavailableError
        Postgres or Kafka does not answer. A job that does not run is reported as a refusal.
    UsageError
        The settings have another grace than the job that counts.
    TidemarkError
        Another version of the rollups was promoted meanwhile; call again. Or the topics have what the ledger has not.
    """
    say, request = progress or (lambda _: None), request or CloseRequest()
    run_once(
        settings.postgres.ledger,
        "close",
        lambda db: rollup_views.check_grace(db, settings.names, settings.events.grace_s),
    )
    # Step 1
    if heartbeat.wanted(settings) and (silent := heartbeat.silent(settings, datetime.now(UTC))):
        say(f"sending heartbeats into partitions {silent} …")
        heartbeat.beat(settings, partitions=silent)
        _await_counted(settings)
    # Step 2
    active, why = drained(settings, say)
    with connect(settings.postgres.ledger) as connection:
        outbox.refuse_behind(connection, settings)
        # Step 3
        corrections = correct(connection, settings, active, by, request.scope) if active else 0
        # Step 4
        decision = decide(connection, settings, active, why, request)
        if decision.accepted is not None:
            _accept(connection, settings, by, request, decision.accepted)
        # Step 5
        closes = _close(connection, settings, active, by, decision.keys, decision.dead_letters, say) if active else 0
        # Step 6
        published = outbox.publish(settings)
        if request.scope.everybody and request.scope.until is None and why is None:
            alarm.follow(connection, settings.names, decision.refused)
            alarm.announce(connection, settings)
    return Closed(active.at if active else None, closes, corrections, published, decision.refused)


def service(settings: Settings, by: str) -> Service[Stateless, Closed]:
    """Closes every `close.interval_s`, and brings two indexes up after it, also where it had no need of them.

    `explain` finds the deltas there, and SQL and dashboards the dead letters.
    """

    def step(_: Stateless) -> Closed:
        found = close(settings, by)
        dead_letter_index.catch_up(settings)
        for run in open_runs(settings):
            own = settings.with_changes({"run_id": run})
            delta_index.catch_up(own, settings.names, limit=INDEXED_AT_ONCE)
        return found

    return Service("close", settings.close.interval_s, Stateless, step, log, _report)


def _await_counted(settings: Settings) -> None:
    """Give `meter` time to count the heartbeats for this close; if it lags, a later close benefits from them."""
    ends = {settings.topics.events: end_offsets(settings.kafka, settings.topics.events)}
    try:
        wait_until(lambda: reached(settings, committed(settings), ends), HEARTBEAT_WAIT_S, "the heartbeats")
    except UnavailableError as error:
        log("heartbeats not counted yet", error=str(error))


def _accept(
    connection: psycopg.Connection, settings: Settings, by: str, request: CloseRequest, watermark: datetime
) -> None:
    with connection.transaction():
        guard.accept(connection, settings.names, watermark)
        if request.approved:
            audit.record(connection, settings.run_id, "close.approve", rfc3339(watermark), by=by)


def _close(
    connection: psycopg.Connection, settings: Settings, active: ActiveVersions, by: str, keys: Sequence[PeriodKey],
    dead_letters: DeadLetterCounts, say: Say,
) -> int:  # fmt: skip
    done = 0
    for run, run_keys in by_run(settings, active, keys).items():
        for batch in store.batches(run_keys):
            done += update_ledger(connection, settings, active, run, by, batch, dead_letters)[0]
            say(f"closed {done:,} of {len(keys):,} periods")
    return done


def correct(
    connection: psycopg.Connection, settings: Settings, active: ActiveVersions, by: str, scope: Scope | None = None
) -> int:
    """Correct the closed periods whose rollups were written since the last check.

    Those that the watermark has not passed wait: a run that counts its topics anew has a part of them so far.
    """
    schema = sql.Identifier(settings.names.billing_schema)
    now = store.now(connection)
    done = 0
    written = changed(connection, settings, scope)
    whole = [key for key in written if _is_whole(settings, key, active.at)]
    for run, run_keys in by_run(settings, active, whole).items():
        for batch in store.batches(run_keys):
            done += update_ledger(connection, settings, active, run, by, batch, DeadLetterCounts({}, {}))[1]
    if len(whole) == len(written) and (scope is None or scope.everybody):
        connection.execute(sql.SQL("UPDATE {}.close_progress SET upto = %s WHERE upto < %s").format(schema), [now, now])
    return done


def _is_whole(settings: Settings, key: PeriodKey, watermark: datetime | None) -> bool:
    """Whether all that can belong to a closed period is counted: it was when it was closed."""
    return watermark is not None and key.end + timedelta(seconds=settings.events.grace_s) <= watermark


def changed(connection: psycopg.Connection, settings: Settings, scope: Scope | None = None) -> list[PeriodKey]:
    """Closed periods whose rollups were written since the last check of all customers."""
    schema = sql.Identifier(settings.names.billing_schema)
    upto = sql.SQL("SELECT nullif(upto, '-infinity') FROM {}.close_progress").format(schema)
    since = connection.execute(upto).fetchall()[0][0]
    start = datetime(1, 1, 1, tzinfo=UTC) if since is None else since - OVERLAP
    keys = (PeriodKey(*row) for row in connection.execute(sql.SQL(_CHANGED).format(schema=schema), [start]))
    return sorted(key for key in keys if scope is None or scope.names(key))


def update_ledger(
    connection: psycopg.Connection, settings: Settings, active: ActiveVersions, run: str, by: str,
    keys: Sequence[PeriodKey], dead_letters: DeadLetterCounts,
) -> tuple[int, int]:  # fmt: skip
    """Bring these periods of the ledger in line with the rollups of a run, in one transaction.

    Returns how many were closed and how many corrected.

    Raises
    ------
    TidemarkError
        The active versions are no longer those of `active`.
    """
    names = settings.names
    with connection.transaction():
        store.lock_ledger(connection, names)
        if rollup_views.overlays(connection, names) != active.overlays:
            raise TidemarkError("another version of the rollups was promoted or reverted just now.", "call again.")
        due = true_up(store.read_entries(connection, names, keys), store.wanted_lines(connection, names, keys))
        at = store.now(connection)
        context = Context(
            at=at, by=by, run_id=run, rests_on=active.rests_on(run), watermark=active.at or at,
            catalog_revision=store.catalog_revision(connection),
        )  # fmt: skip
        store.append(connection, names, due, context, dead_letters=dead_letters.counts)
        audited.record(connection, names, by, due, dead_letters)
    return len(due.closes), len(due.corrections)


def _text(at: datetime | None) -> str:
    return "not known" if at is None else rfc3339(at)


def _report(closed: Closed, failing: bool) -> None:
    for refusal in closed.refused:
        log("refused", cause=refusal.cause, detail=refusal.detail, periods=len(refusal.periods))
    if failing or closed.closes or closed.corrections:
        at = _text(closed.watermark)
        log("closed", closes=closed.closes, corrections=closed.corrections, published=closed.published, watermark=at)
