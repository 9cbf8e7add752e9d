"""Where a total stands under its limit, and which thresholds a change of it crosses; exact decimals throughout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from udfs.limits.rule import Limit, Threshold
from udfs.values import EXACT, rounded

Status = Literal["firing", "resolved"]
CAP = "cap"
# Steps of a recurring threshold that one change may pass, each reported: beyond them only the highest are.
MAX_STEPS = 100


@dataclass(frozen=True, slots=True)
class Crossing:
    """One amount that was reached (`firing`), or is not any more (`resolved`).

    Parameters
    ----------
    limit:
        The limit that states it.
    threshold:
        `cap`, or the canonical text of the threshold.
    amount:
        The amount itself; of a recurring threshold the multiple.
    """

    limit: Limit
    threshold: str
    amount: Decimal
    status: Status


def is_denied(limit: Limit, total: Decimal) -> bool:
    """Whether a reader must refuse more: reached means `>=`."""
    return limit.mode == "hard" and total >= limit.cap


def remaining(limit: Limit, total: Decimal) -> Decimal:
    """What may still be used: never below zero."""
    return max(EXACT.subtract(limit.cap, total), Decimal(0))


def share_of_cap(limit: Limit, total: Decimal) -> Decimal | None:
    """Total as a share of the cap, to 4 decimals; None for a cap of zero."""
    return None if not limit.cap else rounded(EXACT.divide(total, limit.cap), 4)


def exhaustion_ms(limit: Limit, total: Decimal, period_ms: tuple[int, int], at_ms: int) -> int | None:
    """When the cap is reached at the mean rate of the period so far, UTC epoch ms.

    None when it is reached already, will not be before the period ends, or nothing was used.
    """
    start_ms, end_ms = period_ms
    if total <= 0 or total >= limit.cap or at_ms <= start_ms:
        return None
    needed_ms = EXACT.divide(EXACT.multiply(Decimal(at_ms - start_ms), limit.cap), total)
    reached_ms = start_ms + int(needed_ms)
    return reached_ms if reached_ms < end_ms else None


def crossings(limit: Limit, before: Decimal, total: Decimal) -> list[Crossing]:
    """What a change of the total crosses, ascending where it grows; nothing when it stays."""
    if before == total:
        return []
    found = [*_steps_passed(limit, before, total)]
    for threshold, amount in _once(limit):
        if (before >= amount) != (total >= amount):
            found.append(Crossing(limit, threshold, amount, "firing" if total >= amount else "resolved"))
    return sorted(found, key=lambda one: one.amount, reverse=total < before)


def levels(limit: Limit, total: Decimal) -> list[Crossing]:
    """Everything that a total has reached; of a recurring threshold the highest multiple alone."""
    found = [Crossing(limit, text, amount, "firing") for text, amount in _once(limit) if total >= amount]
    for step in _recurring(limit):
        found += [Crossing(limit, step.text, one, "firing") for one in _multiples(step, 0, total)][-1:]
    return sorted(found, key=lambda one: one.amount)


def ended(limit: Limit, total: Decimal) -> list[Crossing]:
    """The end of everything a total can have reached under a limit that holds no more."""
    found = [Crossing(limit, text, amount, "resolved") for text, amount in _once(limit)]
    for step in _recurring(limit):
        found += [Crossing(limit, step.text, amount, "resolved") for amount in _multiples(step, 0, total)]
    return found


def quiet_range(limit: Limit, total: Decimal) -> tuple[Decimal, Decimal]:
    """[floor, ceiling) around a total in which it crosses nothing."""
    amounts = [amount for _, amount in _once(limit)]
    for step in _recurring(limit):
        count = _floor(total, step.amount)
        amounts += [EXACT.multiply(step.amount, max(count, 0)), EXACT.multiply(step.amount, max(count + 1, 1))]
    below = [amount for amount in amounts if amount <= total]
    above = [amount for amount in amounts if amount > total]
    return max(below, default=Decimal("-Infinity")), min(above, default=Decimal("Infinity"))


def _once(limit: Limit) -> list[tuple[str, Decimal]]:
    """The amounts that are reported once, the cap first; a threshold at the cap itself says nothing more."""
    thresholds = [(one.text, one.amount) for one in limit.watched if not one.recurring and one.amount != limit.cap]
    return [(CAP, limit.cap), *thresholds]


def _recurring(limit: Limit) -> list[Threshold]:
    return [one for one in limit.watched if one.recurring]


def _steps_passed(limit: Limit, before: Decimal, total: Decimal) -> Iterator[Crossing]:
    low, high, status = (before, total, "firing") if total > before else (total, before, "resolved")
    for step in _recurring(limit):
        for amount in _multiples(step, _floor(low, step.amount), high):
            yield Crossing(limit, step.text, amount, status)  # type: ignore[arg-type]


def _multiples(step: Threshold, above: int, upto: Decimal) -> Iterator[Decimal]:
    last = _floor(upto, step.amount)
    for count in range(max(above, 0, last - MAX_STEPS) + 1, last + 1):
        yield EXACT.multiply(step.amount, Decimal(count))


def _floor(total: Decimal, step: Decimal) -> int:
    whole = int(EXACT.divide_int(total, step))
    # divide_int goes towards zero.
    return whole - 1 if total < 0 and EXACT.multiply(Decimal(whole), step) != total else whole
