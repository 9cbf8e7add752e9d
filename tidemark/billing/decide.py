"""What a close may write: the periods that are due, less those that are refused, each with its reason."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import psycopg

from tidemark.billing import guard, periods, refusals, store
from tidemark.billing.lines import PeriodKey
from tidemark.billing.refusals import Letters, Refusal
from tidemark.billing.scope import Scope
from tidemark.billing.sources import Feed
from tidemark.core.settings import Settings
from tidemark.core.topics import has_create_time
from udfs.catalog.model import Pair
from udfs.values import rfc3339


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants closed.

    Parameters
    ----------
    scope:
        Which periods.
    accept:
        Customers whose dead letters are accepted.
    yes:
        Whether the watermark is right however far it jumped, and many periods are meant.
    """

    scope: Scope = field(default_factory=Scope)
    accept: Collection[Pair] = ()
    yes: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """Periods to be closed, those that stay open and why, dead letters of both, and the watermark to be remembered."""

    keys: tuple[PeriodKey, ...]
    refused: tuple[Refusal, ...]
    letters: Letters
    accepted: datetime | None


def decide(
    connection: psycopg.Connection, settings: Settings, feed: Feed | None, why: tuple[refusals.Cause, str] | None,
    wish: Wish,
) -> Decision:  # fmt: skip
    """Decide of each period that is due; writes nothing. `feed` and `why` are what `settled` says."""
    found = _due(connection, settings, feed, wish)
    refused = [Refusal("calendar", f"{'/'.join(pair)}: {text}", ()) for pair, text in sorted(found.broken.items())]
    watermark = feed.at if feed else None
    if why is not None or feed is None or watermark is None:
        # Without a clock to compare with, nobody can say what is due: said all the same.
        if why is not None and (found.keys or watermark is None):
            refused.append(Refusal(*why, tuple(sorted(found.keys))))
        return Decision((), tuple(refused), Letters({}, {}), None)
    before = guard.accepted(connection, settings.names)
    more, letters, accepted = _judged(connection, settings, watermark, before, found.keys, wish)
    refused += more
    kept = {key for one in refused for key in one.periods}
    return Decision(tuple(sorted(found.keys - kept)), tuple(refused), letters, accepted)


def _due(connection: psycopg.Connection, settings: Settings, feed: Feed | None, wish: Wish) -> periods.Due:
    """Periods due by the watermark, or by the clock: a period that waits for long is refused, not forgotten.

    Without a yes no more of a customer are looked for than show that there are too many.
    """
    scope = wish.scope
    grace = timedelta(seconds=settings.events.grace_s)
    cutoffs = [feed.at - grace] if feed and feed.at else []
    if not has_create_time(settings.kafka, settings.topics.events):
        patience = timedelta(seconds=settings.close.max_lag_s if feed and feed.at else 0)
        cutoffs.append(store.now(connection) - grace - patience)
    if not cutoffs:
        return periods.Due()
    catalog = periods.catalog_of(settings)
    most = None if wish.yes else settings.close.max_periods + 1
    found = periods.due(connection, settings, catalog, max(cutoffs), scope.tenant, scope.customer, most)
    if scope.until is not None:
        for some in store.batches(sorted(found.keys)):
            catalog.prefetch(key[:2] for key in some)
            found.keys -= {key for key in some if not scope.holds(catalog, key)}
    return found


def _judged(
    connection: psycopg.Connection, settings: Settings, watermark: datetime, before: datetime | None,
    keys: Collection[PeriodKey], wish: Wish,
) -> tuple[list[Refusal], Letters, datetime | None]:  # fmt: skip
    """Refusals, dead letters, and the watermark that the next one is held against; None leaves it as it is.

    1. What is due by the clock alone lags.
    2. What only a jump of the watermark makes due, and more of a customer than is closed at once, waits for a yes.
    3. Of the rest, dead letters and drift are looked at.
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
    jump = None if wish.yes else guard.jumped(settings, before, watermark, ready)
    ready = ready.difference(jump.periods if jump else ())
    many = None if wish.yes else guard.too_many(settings, ready)
    ready = ready.difference(many.periods if many else ())
    refused += [one for one in (jump, many) if one]
    # Step 3
    letters = refusals.count_letters(settings, ready) if ready else Letters({}, {})
    refused += refusals.over_bound(settings, letters, wish.accept)
    refused += refusals.drifting(connection, settings, ready)
    return refused, letters, None if jump else _accepted(wish.scope, before, watermark, grace, ready)


def _accepted(
    scope: Scope, before: datetime | None, watermark: datetime, grace: timedelta, ready: Collection[PeriodKey]
) -> datetime | None:
    """A close of some customers says nothing of the others, and one until a moment nothing of what comes later."""
    if not scope.everybody:
        return None
    if scope.until is None:
        return watermark
    upto = [key.end + grace for key in ready] + ([before] if before else [])
    return max(upto, default=None)
