"""Closes billing periods whose end + grace lies behind the arrival watermark, and corrects closed ones that changed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import sql

from jobs.flink.rest import wait_until
from tidemark.billing import alarm, delta_index, guard, heartbeat, outbox, store
from tidemark.billing.decide import Wish, decide
from tidemark.billing.lines import PeriodKey
from tidemark.billing.messages import Context
from tidemark.billing.refusals import Letters, Refusal
from tidemark.billing.scope import Scope
from tidemark.billing.sources import Feed, Say, by_run, feeds_of, settled
from tidemark.billing.true_up import true_up
from tidemark.billing.watermark import committed, reached
from tidemark.core import rollup_views
from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.kafka import end_offsets
from tidemark.core.migrate import connect
from tidemark.core.service import logger, repeat
from tidemark.core.settings import Settings
from udfs.values import rfc3339

log = logger("close")

# Rows committed this long after they were stamped are still seen; `rollup` commits a batch within seconds.
OVERLAP = timedelta(seconds=60)
# A heartbeat is counted with the next checkpoint of `meter`.
HEARTBEAT_WAIT_S = 30.0
# Deltas that are indexed between two closes: a first time over a long topic may not hold up the next close for minutes.
INDEXED_AT_ONCE = 500_000

# Closed periods whose rollups were written since: by their start. A level reaches into all later periods.
_CHANGED = """
WITH written AS (
    SELECT u.tenant_id, u.customer_id, u.period_start, bool_or(k.aggregation = 'weighted_sum') AS held
    FROM {schema}.usage_period u
    JOIN {schema}.meter_kind k USING (tenant_id, meter)
    WHERE u.updated_at >= %s
    GROUP BY u.tenant_id, u.customer_id, u.period_start
)
SELECT DISTINCT s.tenant_id, s.customer_id, s.period_start, s.period_end
FROM {schema}.period_standing s
JOIN written w ON (w.tenant_id, w.customer_id) = (s.tenant_id, s.customer_id)
    AND (w.period_start = s.period_start OR (w.held AND w.period_start < s.period_start))
WHERE s.stands
"""


@dataclass(frozen=True, slots=True)
class Closed:
    """What one look did.

    Parameters
    ----------
    watermark:
        Arrival watermark; None when there is none.
    closes, corrections, told:
        Periods closed, corrections made, records sent.
    refused:
        Why periods that are due stay open.
    """

    watermark: datetime | None
    closes: int
    corrections: int
    told: int
    refused: tuple[Refusal, ...]


def close(settings: Settings, by: str, wish: Wish | None = None, *, progress: Say | None = None) -> Closed:
    """Close what is due, correct what changed, tell both.

    1. Send heartbeats into silent partitions, where a tenant for them is set.
    2. Settle: wait until what was committed by now is in the rollups.
    3. Correct closed periods whose rollups changed.
    4. Decide what is closed, and note by which watermark: a call that is killed after it goes on with the same.
    5. Close it, a transaction for each batch of periods.
    6. Tell Kafka; and raise or end the alarm of periods that wait for a yes, when everybody was looked at.

    Interrupted anywhere, it leaves whole periods behind, and the next call goes on. Of a tenant or customer, only its
    own periods are corrected and closed.

    Raises
    ------
    UnavailableError
        Postgres or Kafka does not answer. A job that does not run is a refusal.
    TidemarkError
        Another version of the rollups was promoted meanwhile; call again.
    """
    say, wish = progress or (lambda _: None), wish or Wish()
    # Step 1
    if heartbeat.wanted(settings) and (silent := heartbeat.silent(settings, datetime.now(UTC))):
        say(f"sending heartbeats into partitions {silent} …")
        heartbeat.beat(settings, partitions=silent)
        _await_counted(settings)
    # Step 2
    feed, why = settled(settings, say)
    with connect(settings.postgres) as connection:
        # Step 3
        corrections = correct(connection, settings, feed, by, wish.scope) if feed else 0
        # Step 4
        decision = decide(connection, settings, feed, why, wish)
        if decision.accepted is not None:
            guard.accept(connection, settings.names, decision.accepted)
        # Step 5
        closes = _close(connection, settings, feed, by, decision.keys, decision.letters, say) if feed else 0
        # Step 6
        told = outbox.tell(settings)
        if wish.scope.everybody and wish.scope.until is None and why is None:
            alarm.follow(connection, settings.names, decision.refused)
            alarm.announce(connection, settings)
    return Closed(feed.at if feed else None, closes, corrections, told, decision.refused)


def watch(settings: Settings, by: str, stop: threading.Event) -> None:
    """Close every `close.interval_s` until `stop` is set; failures are logged and tried again, never raised.

    The index of the deltas is brought up after each close, so that `explain` finds it there.
    """
    log("started", every_s=settings.close.interval_s, schema=settings.names.billing_schema)

    def step() -> Closed:
        found = close(settings, by)
        for run in feeds_of(settings):
            own = settings.with_changes({"run_id": run})
            delta_index.catch_up(own, settings.names, limit=INDEXED_AT_ONCE)
        return found

    repeat(step, every_s=settings.close.interval_s, stop=stop, log=log, report=_report)


def _await_counted(settings: Settings) -> None:
    """Give `meter` time to count the heartbeats, so that they are of use now; when it lags, they are later."""
    ends = {settings.topics.events: end_offsets(settings.kafka, settings.topics.events)}
    try:
        wait_until(lambda: reached(settings, committed(settings), ends), HEARTBEAT_WAIT_S, "the heartbeats")
    except UnavailableError as error:
        log("heartbeats not counted yet", error=str(error))


def _close(
    connection: psycopg.Connection, settings: Settings, feed: Feed, by: str, keys: Sequence[PeriodKey],
    letters: Letters, say: Say,
) -> int:  # fmt: skip
    done = 0
    for run, mine in by_run(settings, feed, keys).items():
        for part in store.batches(mine):
            done += bring_up(connection, settings, feed, run, by, part, letters)[0]
            say(f"closed {done:,} of {len(keys):,} periods")
    return done


def correct(connection: psycopg.Connection, settings: Settings, feed: Feed, by: str, scope: Scope | None = None) -> int:
    """Bring the ledger up to what the rollups say of closed periods that were written since the last look."""
    schema = sql.Identifier(settings.names.billing_schema)
    now = store.now(connection)
    done = 0
    for run, mine in by_run(settings, feed, changed(connection, settings, scope)).items():
        for part in store.batches(mine):
            done += bring_up(connection, settings, feed, run, by, part, Letters({}, {}))[1]
    if scope is None or scope.everybody:
        connection.execute(sql.SQL("UPDATE {}.close_look SET upto = %s WHERE upto < %s").format(schema), [now, now])
    return done


def changed(connection: psycopg.Connection, settings: Settings, scope: Scope | None = None) -> list[PeriodKey]:
    """Closed periods whose rollups were written since the last look at everybody."""
    schema = sql.Identifier(settings.names.billing_schema)
    upto = sql.SQL("SELECT nullif(upto, '-infinity') FROM {}.close_look").format(schema)
    since = connection.execute(upto).fetchall()[0][0]
    start = datetime(1, 1, 1, tzinfo=UTC) if since is None else since - OVERLAP
    keys = (PeriodKey(*row) for row in connection.execute(sql.SQL(_CHANGED).format(schema=schema), [start]))
    return sorted(key for key in keys if scope is None or scope.names(key))


def bring_up(
    connection: psycopg.Connection, settings: Settings, feed: Feed, run: str, by: str, keys: Sequence[PeriodKey],
    letters: Letters,
) -> tuple[int, int]:  # fmt: skip
    """Make the ledger say what the rollups of a run say of these periods, in one transaction.

    Returns how many were closed and how many corrected.

    Raises
    ------
    TidemarkError
        Other versions are read than the feed says.
    """
    names = settings.names
    with connection.transaction():
        store.take_turn(connection, names)
        if rollup_views.layers(connection, names) != feed.layers:
            raise TidemarkError("another version of the rollups was promoted or reverted just now.", "call again.")
        due = true_up(store.read_entries(connection, names, keys), store.wanted_lines(connection, names, keys))
        at = store.now(connection)
        context = Context(
            at=at, by=by, run_id=run, rests_on=feed.rests_on(run), watermark=feed.at or at,
            catalog_revision=store.catalog_revision(connection),
        )  # fmt: skip
        store.append(connection, names, due, context, dead_letters=letters.counts)
    return len(due.closes), len(due.corrections)


def _text(at: datetime | None) -> str:
    return "not known" if at is None else rfc3339(at)


def _report(found: Closed, failing: bool) -> None:
    for one in found.refused:
        log("refused", cause=one.cause, detail=one.detail, periods=len(one.periods))
    if failing or found.closes or found.corrections:
        at = _text(found.watermark)
        log("closed", closes=found.closes, corrections=found.corrections, told=found.told, watermark=at)
