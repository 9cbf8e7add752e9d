"""Severity by impact: worse for a customer that carries much of its tenant, milder for one that hardly counts."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from udfs.alerts.event import SEVERITIES, Alert, Severity

# A tenth of a tenant's usage or revenue is an incident of the tenant, whatever the limit was meant for.
RAISED_FROM = Decimal("0.1")
# One customer in a thousand like it would not be noticed on an invoice of the tenant.
LOWERED_BELOW = Decimal("0.001")
# A customer that is denied is shut out, however small it is.
DENIED_FLOOR: Severity = "warning"


@dataclass(frozen=True, slots=True)
class Weight:
    """How much of its tenant a customer is, 0 to 1; None where it is not known.

    Parameters
    ----------
    usage_share:
        Of the tenant's usage of the meter in the billing period.
    revenue_weight:
        Of the tenant's revenue, as the catalog declares it.
    """

    usage_share: Decimal | None = None
    revenue_weight: Decimal | None = None

    @property
    def share(self) -> Decimal | None:
        """The greater of the two: either is reason enough to care."""
        return max((share for share in (self.usage_share, self.revenue_weight) if share is not None), default=None)


def severity_by_impact(alert: Alert, weight: Weight) -> Severity:
    """One step up from RAISED_FROM on, one down below LOWERED_BELOW, as sent in between and where nothing is known.

    A hard limit that was reached is never lowered below DENIED_FLOOR.
    """
    share, step = weight.share, SEVERITIES.index(alert.severity)
    if alert.customer_id is None or share is None:
        return alert.severity
    if share >= RAISED_FROM:
        return SEVERITIES[min(step + 1, len(SEVERITIES) - 1)]
    if share < LOWERED_BELOW:
        lowest = SEVERITIES.index(DENIED_FLOOR) if is_denial(alert) else 0
        return SEVERITIES[max(step - 1, min(step, lowest))]
    return alert.severity


def is_denial(alert: Alert) -> bool:
    """Whether a hard limit was reached, so that the customer is denied."""
    return alert.type == "limit.exceeded" and alert.evidence.get("mode") == "hard"
