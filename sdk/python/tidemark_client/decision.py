"""The decision of one check: pure, so that the synchronous and the asynchronous reader cannot answer differently."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Context, Decimal, InvalidOperation
from typing import Literal, Union

from tidemark_client.stored import Counter, Limit, Mode, OnUnknown, Stored, Suspension

Reason = Literal[
    "within_limit",  # allowed: used + wanted stays at or below the cap
    "no_limit",  # allowed: nothing limits this meter of this customer
    "soft_limit_reached",  # allowed: the cap is reached and only tells
    "would_exceed_soft",  # allowed: what is wanted would pass the cap, which only tells
    "limit_reached",  # denied: used >= cap
    "would_exceed",  # denied: used + wanted > cap
    "suspended",  # denied: every meter of the customer is
    "redis_unreachable",  # by the policy: no connection, or no answer in time
    "redis_error",  # by the policy: an error (loading, not allowed, wrong type), or values that are none
    "not_rebuilt",  # by the policy: Redis lost its data, and this counter or its limit was not written since
    "stale",  # by the policy: the pipeline has not been seen to move for longer than max_age_s
]
Trouble = Literal["redis_unreachable", "redis_error"]
Doubt = Literal["not_rebuilt", "stale"]
Wanted = Union[Decimal, int, str]

# None: as the failure policy says.
ALLOWS: dict[Reason, bool | None] = {
    "within_limit": True, "no_limit": True, "soft_limit_reached": True, "would_exceed_soft": True,
    "limit_reached": False, "would_exceed": False, "suspended": False,
    "redis_unreachable": None, "redis_error": None, "not_rebuilt": None, "stale": None,
}  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# Two amounts of DECIMAL(38, 9) differ by no more than this.
EXACT = Context(prec=60)
_NOTHING = Decimal(0)
# How the rule of a limit begins that a tenant has for each of its customers.
TENANT_RULE = "tenant/"


@dataclass(frozen=True)
class Decision:
    """Whether a customer may use more; true where it allows.

    Parameters
    ----------
    allowed, reason:
        The answer and why; `Reason` lists all there are.
    known:
        Whether the figures are those of a pipeline that moves. If not, they are the last ones, or None.
    used, limit, remaining:
        In the unit of the meter, exact; `remaining` is never below zero. None: unknown, or nothing limits.
    wanted:
        What was asked for.
    period_start, period_end:
        Half-open, UTC; None before the first usage of a period.
    projected_exhaustion_at:
        When the cap is reached at the present rate, UTC; None: not within the period.
    age_s:
        Seconds since the pipeline was last seen to move; None: never, or unknown.
    rule, mode:
        The limit that decided; None where none did.
    detail:
        For logs: what was wrong with Redis, or why the customer is suspended, and by whom.
    """

    allowed: bool
    reason: Reason
    known: bool
    used: Decimal | None
    limit: Decimal | None
    remaining: Decimal | None
    wanted: Decimal
    period_start: datetime | None
    period_end: datetime | None
    projected_exhaustion_at: datetime | None
    age_s: float | None
    rule: str | None
    mode: Mode | None
    detail: str = ""

    def __bool__(self) -> bool:
        # `if reader.check(…)` must not be true whatever the answer is.
        return self.allowed


def amount_of(wanted: Wanted) -> Decimal:
    """What is asked for, as a number.

    Raises
    ------
    ValueError
        It is a float, a bool or no number, not finite, or below zero.
    """
    try:
        number = Decimal("NaN") if isinstance(wanted, (bool, float)) else Decimal(wanted)
    except (InvalidOperation, TypeError):
        number = Decimal("NaN")
    if not number.is_finite() or number < 0:
        raise ValueError(f"wanted is {wanted!r}: give a finite Decimal, int or decimal text of 0 or more.")
    return number


def decide(stored: Stored, wanted: Decimal, *, policy: OnUnknown, now_ms: int, max_age_s: float | None) -> Decision:
    """The decision on what Redis holds.

    Parameters
    ----------
    stored, wanted:
        What Redis holds; how much is asked for, 0: only whether the cap is reached.
    policy:
        What to answer where usage is unknown.
    now_ms:
        Epoch ms of the reader's clock.
    max_age_s:
        Seconds for which the pipeline may not have moved; None: any.
    """
    age_s = None if stored.heartbeat_ms is None else max(0, now_ms - stored.heartbeat_ms) / 1_000
    doubt = _doubt(stored, age_s, max_age_s)
    counter = _current(stored, now_ms)
    limit, used = counter.limit, None if stored.counter is None and doubt == "not_rebuilt" else counter.used
    held = stored.suspension if _suspended(stored.suspension, now_ms) else None
    reason: Reason = "suspended" if held else doubt or _by_limit(counter.used, wanted, limit)
    return Decision(
        allowed=_allows(reason, policy),
        reason=reason,
        known=doubt is None,
        used=used,
        limit=limit.cap if limit else None,
        remaining=max(EXACT.subtract(limit.cap, used), _NOTHING) if limit and used is not None else None,
        wanted=wanted,
        period_start=_instant(counter.start_ms),
        period_end=_instant(counter.end_ms),
        projected_exhaustion_at=_instant(counter.exhausted_at_ms),
        age_s=age_s,
        rule=limit.rule if limit else None,
        mode=limit.mode if limit else None,
        detail=": ".join(filter(None, (held.by, held.reason))) if held else "",
    )


def without_redis(reason: Trouble, detail: str, wanted: Decimal, policy: OnUnknown) -> Decision:
    """The decision where Redis says nothing that can be used."""
    return Decision(
        allowed=_allows(reason, policy),
        reason=reason,
        known=False,
        used=None,
        limit=None,
        remaining=None,
        wanted=wanted,
        period_start=None,
        period_end=None,
        projected_exhaustion_at=None,
        age_s=None,
        rule=None,
        mode=None,
        detail=detail,
    )


def _allows(reason: Reason, policy: OnUnknown) -> bool:
    answer = ALLOWS[reason]
    return policy == "fail_open" if answer is None else answer


def _doubt(stored: Stored, age_s: float | None, max_age_s: float | None) -> Doubt | None:
    # A counter that says nothing of limits was written while they were unknown; none at all means no usage only where
    # nothing is missing.
    known = stored.rebuilt if stored.counter is None else stored.counter.limits_known
    if not known:
        return "not_rebuilt"
    if max_age_s is not None and (age_s is None or age_s > max_age_s):
        return "stale"
    return None


def _current(stored: Stored, now_ms: int) -> Counter:
    counter = stored.counter
    if counter is None:
        return Counter(None, None, _NOTHING, stored.default, None)
    if counter.end_ms is not None and now_ms >= counter.end_ms:
        # The period ended and nothing was used since; a period that has not begun yet is taken as it is, because
        # the clocks of events may be ahead. The limit of a plan or customer is kept up to date in the counter; that of
        # the tenant is not, once its period is over.
        named = counter.limit is not None and not (counter.limit.rule or "").startswith(TENANT_RULE)
        return Counter(None, None, _NOTHING, counter.limit if named else stored.default, None)
    return counter


def _suspended(suspension: Suspension | None, now_ms: int) -> bool:
    return suspension is not None and (suspension.until_ms is None or now_ms < suspension.until_ms)


def _by_limit(used: Decimal, wanted: Decimal, limit: Limit | None) -> Reason:
    if limit is None:
        return "no_limit"
    if used >= limit.cap:
        return "limit_reached" if limit.mode == "hard" else "soft_limit_reached"
    # Not used + wanted: whatever is wanted, the difference is exact, and so is a comparison.
    if wanted > EXACT.subtract(limit.cap, used):
        return "would_exceed" if limit.mode == "hard" else "would_exceed_soft"
    return "within_limit"


def _instant(at_ms: int | None) -> datetime | None:
    return None if at_ms is None else _EPOCH + timedelta(milliseconds=at_ms)
