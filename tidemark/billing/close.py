"""Closes billing periods whose end + grace lies behind the arrival watermark, and corrects closed ones that changed."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import sql

from jobs.flink.rest import wait_until
from tidemark.billing import heartbeat, outbox, periods, refusals, store
from tidemark.billing.lines import PeriodKey, rfc3339
from tidemark.billing.messages import Context
from tidemark.billing.refusals import Letters, Refusal
from tidemark.billing.sources import Feed, Say, by_run, settled
from tidemark.billing.true_up import true_up
from tidemark.billing.watermark import committed, reached
from tidemark.core import rollup_views
from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.kafka import end_offsets
from tidemark.core.migrate import connect
from tidemark.core.service import logger, repeat
from tidemark.core.settings import Settings
from tidemark.core.topics import has_create_time
from udfs.catalog.model import Pair

log = logger("close")

# Rows committed this long after they were stamped are still seen; `rollup` commits a batch within seconds.
OVERLAP = timedelta(seconds=60)
# A heartbeat is counted with the next checkpoint of `meter`.
HEARTBEAT_WAIT_S = 30.0

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


def close(settings: Settings, by: str, *, accept: Collection[Pair] = (), progress: Say | None = None) -> Closed:
    """Close what is due, correct what changed, tell both.

    1. Send heartbeats into silent partitions, where a tenant for them is set.
    2. Settle: wait until what was committed by now is in the rollups.
    3. Correct closed periods whose rollups changed.
    4. Close what is due and not refused, a transaction for each batch of periods.
    5. Tell Kafka.

    Interrupted anywhere, it leaves whole periods behind, and the next call goes on.

    Raises
    ------
    UnavailableError
        Postgres or Kafka does not answer. A job that does not run is a refusal.
    TidemarkError
        Another version of the rollups was promoted meanwhile; call again.
    """
    say = progress or (lambda _: None)
    # Step 1
    if heartbeat.wanted(settings) and (silent := heartbeat.silent(settings, datetime.now(UTC))):
        say(f"sending heartbeats into partitions {silent} …")
        heartbeat.beat(settings, partitions=silent)
        _await_counted(settings)
    # Step 2
    feed, why = settled(settings, say)
    with connect(settings) as connection:
        # Step 3
        corrections = correct(connection, settings, feed, by) if feed else 0
        # Step 4
        found = _due(connection, settings, feed)
        refused = _judge(connection, settings, feed, found, why, accept)
        kept = {key for one in refused.all for key in one.periods}
        closes = _close(connection, settings, feed, by, sorted(found.keys - kept), refused.letters, say) if feed else 0
    # Step 5
    told = outbox.tell(settings)
    return Closed(feed.at if feed else None, closes, corrections, told, tuple(refused.all))


def watch(settings: Settings, by: str, stop: threading.Event) -> None:
    """Close every `close_interval_s` until `stop` is set; failures are logged and tried again, never raised."""
    log("started", every_s=settings.close_interval_s, schema=settings.names.billing_schema)
    repeat(lambda: close(settings, by), every_s=settings.close_interval_s, stop=stop, log=log, report=_report)


def _await_counted(settings: Settings) -> None:
    """Give `meter` time to count the heartbeats, so that they are of use now; when it lags, they are later."""
    ends = {settings.events_topic: end_offsets(settings, settings.events_topic)}
    try:
        wait_until(lambda: reached(settings, committed(settings), ends), HEARTBEAT_WAIT_S, "the heartbeats")
    except UnavailableError as error:
        log("heartbeats not counted yet", error=str(error))


@dataclass(frozen=True, slots=True)
class _Judged:
    all: list[Refusal]
    letters: Letters


def _due(connection: psycopg.Connection, settings: Settings, feed: Feed | None) -> periods.Due:
    """Periods due by the watermark, or by the clock: a period that waits for long is refused, not forgotten."""
    grace = timedelta(seconds=settings.grace_s)
    cutoffs = [feed.at - grace] if feed and feed.at else []
    if not has_create_time(settings, settings.events_topic):
        patience = timedelta(seconds=settings.close_max_lag_s if feed and feed.at else 0)
        cutoffs.append(store.now(connection) - grace - patience)
    if not cutoffs:
        return periods.Due()
    return periods.due(connection, settings, periods.catalog_of(settings), max(cutoffs))


def _judge(
    connection: psycopg.Connection, settings: Settings, feed: Feed | None, found: periods.Due,
    why: tuple[refusals.Cause, str] | None, accept: Collection[Pair],
) -> _Judged:  # fmt: skip
    """Refusals, each with its periods."""
    keys = found.keys
    refused = [Refusal("calendar", f"{'/'.join(pair)}: {text}", ()) for pair, text in sorted(found.broken.items())]
    if why is not None:
        # Without a clock to compare with, nobody can say what is due: said all the same.
        if keys or feed is None or feed.at is None:
            refused.append(Refusal(*why, tuple(sorted(keys))))
        return _Judged(refused, Letters({}, {}))
    cutoff = _cutoff(settings, feed)
    late = tuple(sorted(key for key in keys if cutoff is None or key.end > cutoff))
    if late:
        detail = f"the arrival watermark is {_text(feed.at if feed else None)}, behind the clock: see `tidemark status`"
        refused.append(Refusal("lag", detail, late))
    ready = keys.difference(late)
    letters = refusals.count_letters(settings, ready) if ready else Letters({}, {})
    refused += refusals.over_bound(settings, letters, accept)
    refused += refusals.drifting(connection, settings, ready)
    return _Judged(refused, letters)


def _cutoff(settings: Settings, feed: Feed | None) -> datetime | None:
    return feed.at - timedelta(seconds=settings.grace_s) if feed and feed.at else None


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


def correct(connection: psycopg.Connection, settings: Settings, feed: Feed, by: str) -> int:
    """Bring the ledger up to what the rollups say of closed periods that were written since the last look."""
    schema = sql.Identifier(settings.names.billing_schema)
    now = store.now(connection)
    upto = sql.SQL("SELECT nullif(upto, '-infinity') FROM {}.close_look").format(schema)
    since = connection.execute(upto).fetchall()[0][0]
    start = datetime(1, 1, 1, tzinfo=UTC) if since is None else since - OVERLAP
    rows = connection.execute(sql.SQL(_CHANGED).format(schema=schema), [start]).fetchall()
    done = 0
    for run, mine in by_run(settings, feed, sorted(PeriodKey(*row) for row in rows)).items():
        for part in store.batches(mine):
            done += bring_up(connection, settings, feed, run, by, part, Letters({}, {}))[1]
    connection.execute(sql.SQL("UPDATE {}.close_look SET upto = %s WHERE upto < %s").format(schema), [now, now])
    return done


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
