"""Reasons why a due period is not closed: lag, checkpoints, drift, dead letters, a broken calendar."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import psycopg

from jobs.flink.rest import FlinkRest
from tidemark.billing.drift import Drift, open_drift
from tidemark.billing.lines import PeriodKey
from tidemark.billing.watermark import running
from tidemark.core.settings import Settings
from tidemark.dead_letters.log import collecting_rejected, read_log, source_of
from tidemark.dead_letters.part import event_of
from tidemark.dead_letters.records import DeadLetter, Position, arrival_ms, read_dead_letters
from tidemark.dead_letters.validate import read_event, time_of
from udfs.catalog.model import Pair
from udfs.events.reasons import Reason
from udfs.values import epoch_ms, rfc3339

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
    """Dead dead_letters of the due periods: all, and those that may still be redriven and counted."""

    counts: Mapping[PeriodKey, int]
    open: Mapping[PeriodKey, int]


def failed_checkpoints(settings: Settings) -> str:
    """Which job failed its last checkpoint, as text; empty for none."""
    rest = FlinkRest(settings.flink.rest_url)
    failed = [job for job in ("meter", "rollup") if rest.progress(running(settings, job).id).last_failed]
    return f"the last checkpoint of {' and '.join(failed)} failed: see `tidemark status`" if failed else ""


def count_dead_letters(settings: Settings, keys: Iterable[PeriodKey]) -> DeadLetterCounts:
    """Dead dead_letters by period, without those that were redriven and counted.

    A dead letter belongs to the period of its event time or, if that cannot be read, of its arrival. A partial one
    counts like any other: its meter is missing the event. `too_late` ones are counted, but are not open: a final
    period excludes them, and only a replay counts them.
    """
    of_pair: dict[Pair, list[PeriodKey]] = {}
    for key in keys:
        of_pair.setdefault(key[:2], []).append(key)
    counts: Counter[PeriodKey] = Counter()
    still_open: Counter[PeriodKey] = Counter()
    for dead_letter, key in _still_rejected(settings, of_pair):
        counts[key] += 1
        still_open[key] += dead_letter["reason"] != Reason.TOO_LATE
    return DeadLetterCounts(counts, still_open)


def over_bound(settings: Settings, counts: DeadLetterCounts, accepted: Collection[Pair]) -> list[Refusal]:
    """A refusal for each customer that has more open dead letters in a period than is allowed."""
    bound = settings.close.max_dead_letters
    over: dict[Pair, list[PeriodKey]] = {}
    for key, count in sorted(counts.open.items()):
        if count > bound and key[:2] not in accepted:
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


def _too_many(settings: Settings, counts: DeadLetterCounts, pair: Pair, keys: list[PeriodKey]) -> Refusal:
    numbers = ", ".join(f"{counts.open[key]:,} in the period from {rfc3339(key.start)}" for key in keys)
    name = "/".join(pair)
    detail = (
        f"dead letters of {name}: {numbers}, over close.max_dead_letters {settings.close.max_dead_letters}; check with "
        f"`tidemark dlq list --tenant {pair[0]} --customer {pair[1]}`, redrive them, or `--accept-dead-letters {name}`"
    )
    return Refusal("dead_letters", detail, tuple(keys))


def _still_rejected(settings: Settings, of_pair: Mapping[Pair, list[PeriodKey]]) -> list[tuple[DeadLetter, PeriodKey]]:
    """Dead letters of these periods that are not counted yet; what failed again after a redrive is there once."""
    rejected: set[Position] = set()
    found = []
    for dead_letter in collecting_rejected(read_dead_letters(settings), settings.topics.redrive, rejected):
        keys = of_pair.get((dead_letter.get("tenant_id") or "", dead_letter.get("customer_id") or ""), [])
        # An event that is rejected as a whole in the redrive topic has a second dead letter.
        again = dead_letter["topic"] == settings.topics.redrive and not dead_letter.get("partial")
        if keys and not again and (key := _period_of(settings, dead_letter, keys)):
            found.append((dead_letter, key))
    if not found:
        return []
    log = read_log(settings, rejected)
    return [one for one in found if log.already_redriven(source_of(one[0]), None, log.part_of(one[0])) is None]


def _period_of(settings: Settings, dead_letter: DeadLetter, keys: Iterable[PeriodKey]) -> PeriodKey | None:
    at_ms = _time_ms(settings, dead_letter)
    if at_ms is None:
        return None
    return next((key for key in keys if epoch_ms(key.start) <= at_ms < epoch_ms(key.end)), None)


def _time_ms(settings: Settings, dead_letter: DeadLetter) -> int | None:
    arrived_ms, raw = arrival_ms(dead_letter), event_of(dead_letter, settings.topics.redrive)
    event = read_event(raw, arrived_ms or 0, settings.events.default_tenant)
    at_ms = None if event is None else time_of(event)
    return arrived_ms if at_ms is None else at_ms
