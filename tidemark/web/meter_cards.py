"""What runs now, a card a meter: used, limit, projection, and when it is final. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from tidemark.web.shown import percent
from udfs.values import parse_rfc3339

# A meter of events that no other meter measures: nothing that a customer is billed.
INTERNAL = "tidemark."


@dataclass(frozen=True, slots=True)
class Card:
    """A meter of the running period of a customer; amounts are plain decimals.

    Parameters
    ----------
    meter, unit, aggregation:
        As the catalog has it.
    used, limit, projected:
        So far, at most, and at the end of the period if use goes on; None where not known, or nothing limits.
    used_percent, projected_percent:
        Of the limit.
    start, end, runs:
        The period, RFC 3339, and whether it is now.
    state:
        `over`, `near` (80 % of the limit), `will_be_over` (projected) or `fine`.
    exhausted_at:
        When the limit is reached at this rate; None: not in this period.
    status:
        Whether it is final: `estimate, final at …`.
    """

    meter: str
    unit: str
    aggregation: str
    used: str | None
    limit: str | None
    projected: str | None
    start: str
    end: str
    runs: bool
    exhausted_at: str | None
    final_at: str | None
    is_final: bool

    @property
    def used_percent(self) -> Decimal | None:
        """Share of the limit that is used."""
        return percent(self.used, self.limit)

    @property
    def projected_percent(self) -> Decimal | None:
        """Share of the limit that will be used."""
        return percent(self.projected, self.limit)

    @property
    def state(self) -> str:
        """How it stands with the limit, as a word for styles and readers."""
        used, ahead = self.used_percent, self.projected_percent
        if self.used is not None and self.limit is not None and Decimal(self.used) >= Decimal(self.limit):
            return "over"
        if ahead is not None and ahead > _FULL:
            return "will_be_over"
        return "near" if used is not None and used >= _NEAR else "fine"


_FULL, _NEAR = Decimal(100), Decimal(80)


def cards(current: Mapping[str, Any], periods: Sequence[Mapping[str, Any]], now: datetime) -> list[Card]:
    """A card for each meter of a document of `/v1/usage/current`, with what its periods say of their end."""
    ends = {(row["meter"], row["period_start"]): row for row in periods}
    return [
        card(one, ends, now)
        for one in current["meters"]
        if not one["meter"].startswith(INTERNAL) and (one["live"] or one["stored"])
    ]


def card(one: Mapping[str, Any], ends: Mapping[tuple[str, str], Mapping[str, Any]], now: datetime) -> Card:
    """The card of a meter that has a value."""
    side = one["live"] or one["stored"]
    start, end, limit = side["period_start"], side["period_end"], one["limit"]
    runs = parse_rfc3339(start) <= now < parse_rfc3339(end)
    period = ends.get((one["meter"], start), {})
    # What limits is of the period that the counter counts.
    limited = limit["limit"] if limit["period_start"] in {None, start} else None
    return Card(
        one["meter"], one["unit"], one["aggregation"], side["value"], limited, one["projected"], start, end, runs,
        limit["projected_exhaustion_at"] if runs else None, period.get("final_at"), bool(period.get("final")),
    )  # fmt: skip
