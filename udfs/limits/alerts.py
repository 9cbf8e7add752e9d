"""A crossing as an alert: what it says, how bad it is, and the name of its condition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from udfs.alerts.event import Alert, Severity, fingerprint
from udfs.alerts.pipeline import METER_SOURCE
from udfs.limits.rule import Limit
from udfs.limits.status import CAP, Crossing, exhaustion_ms, share_of_cap
from udfs.values import EXACT, plain, rfc3339, rounded

Why = Literal["usage", "rule"]
_HOUR_MS = Decimal(3_600_000)


@dataclass(frozen=True, slots=True)
class Counter:
    """Whose total it is, in which period, and how far its event time has come (UTC epoch ms)."""

    tenant: str
    customer: str
    meter: str
    period_start_ms: int
    period_end_ms: int
    at_ms: int


def alert_of(
    crossing: Crossing, counter: Counter, total: Decimal, *, why: Why, seen_ms: int, evidence: Mapping[str, Any]
) -> Alert:
    """The alert of a crossing.

    Parameters
    ----------
    crossing, counter, total:
        What was crossed, by whose total, and the total itself.
    why:
        `usage` when the total moved, `rule` when the limit did.
    seen_ms:
        When it was seen, UTC epoch ms.
    evidence:
        More figures, see `$defs.limit` of the schema.
    """
    limit = crossing.limit
    return Alert(
        type=_type(crossing),
        status=crossing.status,
        severity=_severity(crossing),
        summary=_summary(crossing, counter, total, why),
        suggested_action=_action(crossing),
        runbook=f"docs/alerts.md#limit-{'exceeded' if crossing.threshold == CAP else 'threshold'}",
        at_ms=seen_ms,
        source=METER_SOURCE,
        fingerprint=condition(crossing, counter),
        tenant_id=counter.tenant,
        customer_id=counter.customer,
        meter=counter.meter,
        value=plain(total),
        threshold=plain(crossing.amount),
        period_ms=(counter.period_start_ms, counter.period_end_ms),
        rule=f"{limit.scope}:{limit.scope_id}:{limit.meter}" if limit.scope_id else f"tenant:{limit.meter}",
        rule_version=limit.version.rpartition("@")[2],
        evidence={"threshold": crossing.threshold, **_figures(limit, counter, total, why), **evidence},
    )


def condition(crossing: Crossing, counter: Counter) -> str:
    """Fingerprint of a customer, meter, period, threshold and version of the limit.

    The end of the period is no part of it: a change of calendar moves it.
    """
    limit = crossing.limit
    whose = counter.tenant, counter.customer, counter.meter, str(counter.period_start_ms)
    return fingerprint("limit", *whose, limit.version, crossing.threshold, plain(crossing.amount))


def per_hour(used: Decimal, elapsed_ms: int) -> str:
    """A rate per hour as text, to 6 decimals."""
    return plain(rounded(EXACT.divide(EXACT.multiply(used, _HOUR_MS), Decimal(elapsed_ms)), 6))


def _type(crossing: Crossing) -> str:
    if crossing.status == "resolved":
        return "limit.resolved"
    return "limit.exceeded" if crossing.threshold == CAP else "limit.threshold"


def _severity(crossing: Crossing) -> Severity:
    if crossing.threshold != CAP:
        return "info"
    return "critical" if crossing.limit.mode == "hard" else "warning"


def _summary(crossing: Crossing, counter: Counter, total: Decimal, why: Why) -> str:
    whose, what = f"{counter.customer} of {counter.tenant}", _crossed(crossing)
    used = f"{plain(total)} {counter.meter} used"
    if crossing.status == "firing":
        return f"{whose}: {used}, reached {what}{'' if why == 'usage' else ' since the limit changed'}."
    if why == "usage":
        return f"{whose}: {used}, below {what} again."
    return f"{whose}: {what} of {counter.meter} no longer holds."


def _crossed(crossing: Crossing) -> str:
    """What was crossed, first as an amount and then as it was stated."""
    amount, cap, stated = plain(crossing.amount), plain(crossing.limit.cap), crossing.threshold
    if stated == CAP:
        return f"its cap of {amount}"
    if stated.endswith("%"):
        return f"the threshold of {amount} ({stated} of the cap {cap})"
    return f"the threshold of {amount} ({'' if stated == amount else f'{stated}; '}the cap is {cap})"


def _action(crossing: Crossing) -> str:
    if crossing.status == "resolved":
        return "Lift what was done when it began."
    if crossing.threshold != CAP:
        return "Tell the customer how much is left, or offer a larger plan."
    if crossing.limit.mode == "hard":
        return "Usage is refused now: raise the cap or move the customer to a larger plan, if it should go on."
    return "Usage goes on above the cap: bill it as overage, or talk to the customer."


def _figures(limit: Limit, counter: Counter, total: Decimal, why: Why) -> dict[str, Any]:
    share = share_of_cap(limit, total)
    figures = {"cap": plain(limit.cap), "mode": limit.mode, "share": "" if share is None else plain(share), "why": why}
    elapsed_ms = counter.at_ms - counter.period_start_ms
    if elapsed_ms > 0:
        figures["rate_per_hour"] = per_hour(total, elapsed_ms)
    reached_ms = exhaustion_ms(limit, total, (counter.period_start_ms, counter.period_end_ms), counter.at_ms)
    if reached_ms is not None:
        figures["projected_exhaustion_at"] = rfc3339(reached_ms)
    return figures
