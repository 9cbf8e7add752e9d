"""Decides what a close may write: the periods that are due, less those that are refused, each with its reason."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import psycopg

from tidemark.billing import guard, periods, refusals, store
from tidemark.billing.lines import PeriodKey
from tidemark.billing.refusals import DeadLetterCounts, Refusal
from tidemark.billing.scope import Scope
from tidemark.billing.sources import ActiveVersions
from tidemark.core.settings import Settings
from tidemark.core.topics import has_create_time
from udfs.catalog.model import Pair
from udfs.values import rfc3339


@dataclass(frozen=True, slots=True)
class CloseRequest:
    """What a caller wants closed.

    Parameters
    ----------
    scope:
        Which periods.
    accept:
        Customers whose dead letters are accepted.
    approved:
        Whether the caller approves a watermark however far it jumped, and many periods at once.
    """

    scope: Scope = field(default_factory=Scope)
    accept: Collection[Pair] = ()
    approved: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """Periods to close, periods that stay open and why, dead letters of both, and the watermark to store."""

    keys: tuple[PeriodKey, ...]
    refused: tuple[Refusal, ...]
    dead_letters: DeadLetterCounts
    accepted: datetime | None


def decide(
    connection: psycopg.Connection, settings: Settings, active: ActiveVersions | None,
    why: tuple[refusals.Cause, str] | None, request: CloseRequest,
) -> Decision:  # fmt: skip
    """Decide for each due period; writes nothing. `active` and `why` are the result of `drained`."""
    due = _due(connection, settings, active, request)
    refused = [Refusal("calendar", f"{'/'.join(pair)}: {text}", ()) for pair, text in sorted(due.broken.items())]
    watermark = active.at if active else None
    if why is not None or active is None or watermark is None:
        # Without a watermark nothing is known to be due: report the reason all the same.
        if why is not None and (due.keys or watermark is None):
            refused.append(Refusal(*why, tuple(sorted(due.keys))))
        return Decision((), tuple(refused), DeadLetterCounts({}, {}), None)
    before = guard.accepted(connection, settings.names)
    screened, counts, accepted = _screened(connection, settings, watermark, before, due.keys, request)
    refused += screened
    kept = {key for refusal in refused for key in refusal.periods}
    return Decision(tuple(sorted(due.keys - kept)), tuple(refused), counts, accepted)


def _due(
    connection: psycopg.Connection, settings: Settings, active: ActiveVersions | None, request: CloseRequest
) -> periods.Due:
    """Periods due by the watermark, or by the clock: a period that waits for long is refused, not forgotten.

    Without an approval the search stops, for each customer, at one period more than is closed at once.
    """
    scope = request.scope
    grace = timedelta(seconds=settings.events.grace_s)
    cutoffs = [active.at - grace] if active and active.at else []
    if not has_create_time(settings.kafka, settings.topics.events):
        patience = timedelta(seconds=settings.close.max_lag_s if active and active.at else 0)
        cutoffs.append(store.now(connection) - grace - patience)
    if not cutoffs:
        return periods.Due()
    catalog = periods.catalog_of(settings)
    most = None if request.approved else settings.close.max_periods + 1
    due = periods.due(connection, settings, catalog, max(cutoffs), scope.tenant, scope.customer, most)
    if scope.until is not None:
        for batch in store.batches(sorted(due.keys)):
            catalog.prefetch(key[:2] for key in batch)
            due.keys -= {key for key in batch if not scope.holds(catalog, key)}
    return due


def _screened(
    connection: psycopg.Connection, settings: Settings, watermark: datetime, before: datetime | None,
    keys: Collection[PeriodKey], request: CloseRequest,
) -> tuple[list[Refusal], DeadLetterCounts, datetime | None]:  # fmt: skip
    """Refusals, dead letters, and the watermark that the next one is compared with; None leaves it as it is.

    1. A period that is due by the clock alone lags.
    2. Periods that only a jump of the watermark makes due, and too many periods of a customer, wait for an approval.
    3. The rest is checked for dead letters and drift.
    """
    # Step 1
    grace = timedelta(seconds=settings.events.grace_s)
    late = tuple(sorted(key for key in keys if key.end > watermark - grace))
    refused = []
    if late:
        detail = f"the arrival watermark is {rfc3339(watermark)}, behind the clock: see `tidemark status`"
        refused.append(Refusal("lag", detail, late))
    ready = set(keys).difference(late)
    # Step 2
    jump = None if request.approved else guard.jumped(settings, before, watermark, ready)
    ready = ready.difference(jump.periods if jump else ())
    many = None if request.approved else guard.too_many(settings, ready)
    ready = ready.difference(many.periods if many else ())
    refused += [refusal for refusal in (jump, many) if refusal]
    # Step 3
    counts = refusals.count_dead_letters(connection, settings, ready) if ready else DeadLetterCounts({}, {})
    counts = refusals.with_accepted(settings, counts, request.accept)
    refused += refusals.over_bound(settings, counts)
    refused += refusals.drifting(connection, settings, ready)
    return refused, counts, None if jump else _accepted(request.scope, before, watermark, grace, ready)


def _accepted(
    scope: Scope, before: datetime | None, watermark: datetime, grace: timedelta, ready: Collection[PeriodKey]
) -> datetime | None:
    """A close of some customers accepts nothing for the others, nor a close until a moment for later periods."""
    if not scope.everybody:
        return None
    if scope.until is None:
        return watermark
    upto = [key.end + grace for key in ready] + ([before] if before else [])
    return max(upto, default=None)
