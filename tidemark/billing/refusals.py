"""Reasons why a due period is not closed: lag, checkpoints, drift, dead letters, a broken calendar."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import psycopg

from jobs.flink.rest import FlinkRest
from tidemark.billing import dead_letter_index
from tidemark.billing.drift import Drift, open_drift
from tidemark.billing.lines import PeriodKey
from tidemark.billing.watermark import running
from tidemark.core.settings import Settings
from udfs.catalog.model import Pair
from udfs.values import rfc3339

Cause = Literal[
    "jobs", "checkpoints", "watermark", "lag", "watermark_jump", "max_periods", "drift", "dead_letters", "calendar"
]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Due periods that stay open, with the cause, a description, and what to do."""

    cause: Cause
    detail: str
    periods: tuple[PeriodKey, ...]


@dataclass(frozen=True, slots=True)
class DeadLetterCounts:
    """Dead letters of the due periods: all, and those that may still be redriven and counted.

    `accepted` are periods with more open ones than is allowed, which somebody accepts.
    """

    counts: Mapping[PeriodKey, int]
    open: Mapping[PeriodKey, int]
    accepted: Collection[PeriodKey] = ()


def failed_checkpoints(settings: Settings) -> str:
    """Which job failed its last checkpoint, as text; empty for none."""
    rest = FlinkRest(settings.flink)
    failed = [job for job in ("meter", "rollup") if rest.progress(running(settings, job).id).last_failed]
    return f"the last checkpoint of {' and '.join(failed)} failed: see `tidemark status`" if failed else ""


def count_dead_letters(
    connection: psycopg.Connection, settings: Settings, keys: Collection[PeriodKey]
) -> DeadLetterCounts:  # fmt: skip
    """Dead letters by period, without those that were redriven and counted; indexes what is new of them first.

    A dead letter belongs to the period of its event time or, if that cannot be read, of its arrival. A partial one
    counts like any other: its meter is missing the event. `too_late` ones are counted, but are not open: a final
    period excludes them, and only a replay counts them.
    """
    dead_letter_index.catch_up(settings)
    found = dead_letter_index.counts(connection, settings, keys)
    return DeadLetterCounts(
        Counter({key: every for key, (every, _) in found.items()}),
        Counter({key: still_open for key, (_, still_open) in found.items() if still_open}),
    )


def with_accepted(settings: Settings, counts: DeadLetterCounts, accepted: Collection[Pair]) -> DeadLetterCounts:
    """The counts, and which of the periods over the bound are of the customers that somebody accepts."""
    return replace(counts, accepted=frozenset(key for key in _over(settings, counts) if key[:2] in accepted))


def over_bound(settings: Settings, counts: DeadLetterCounts) -> list[Refusal]:
    """A refusal for each customer that has more open dead letters in a period than is allowed, and not accepted."""
    over: dict[Pair, list[PeriodKey]] = {}
    for key in _over(settings, counts):
        if key not in counts.accepted:
            over.setdefault(key[:2], []).append(key)
    return [_too_many(settings, counts, pair, keys) for pair, keys in over.items()]


def drifting(connection: psycopg.Connection, settings: Settings, keys: Collection[PeriodKey]) -> list[Refusal]:
    """Refusals for differences that reconciliation found and nobody explained, by tenant and customer.

    A period is refused by the first difference that concerns it.
    """
    of_scope: dict[tuple[str | None, str | None], list[Drift]] = {}
    for drift in open_drift(connection, settings.names) if keys else ():
        of_scope.setdefault((drift.tenant_id, drift.customer_id), []).append(drift)
    refused, left = [], set(keys)
    for (tenant, customer), drifts in of_scope.items():
        hit = {key for key in left if tenant in {None, key.tenant_id} and customer in {None, key.customer_id}}
        if hit:
            more = f", and {len(drifts) - 1:,} more" if len(drifts) > 1 else ""
            detail = f"{drifts[0].text}{more}; `tidemark reconcile drift`"
            refused.append(Refusal("drift", detail, tuple(sorted(hit))))
            left -= hit
    return refused


def _over(settings: Settings, counts: DeadLetterCounts) -> list[PeriodKey]:
    return [key for key, count in sorted(counts.open.items()) if count > settings.close.max_dead_letters]


def _too_many(settings: Settings, counts: DeadLetterCounts, pair: Pair, keys: list[PeriodKey]) -> Refusal:
    numbers = ", ".join(f"{counts.open[key]:,} in the period from {rfc3339(key.start)}" for key in keys)
    name = "/".join(pair)
    detail = (
        f"dead letters of {name}: {numbers}, over close.max_dead_letters {settings.close.max_dead_letters}; check with "
        f"`tidemark dlq list --tenant {pair[0]} --customer {pair[1]}`, redrive them, or `--accept-dead-letters {name}`"
    )
    return Refusal("dead_letters", detail, tuple(keys))
