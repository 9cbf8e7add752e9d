"""Where usage will be at the end of a period. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from udfs.values import EXACT, parse_rfc3339, plain, rounded

# What grows with time; the others of a period say nothing about its end.
_GROWS = frozenset({"count", "sum"})
_DECIMALS = 9


def projected(meter: Mapping[str, Any], now: datetime) -> str | None:
    """Value of a meter at the end of its running period, as plain text; None where none can be said.

    `meter` is one of `tidemark.live.usage.Usage.document`.
    """
    side = meter["live"] or meter["stored"]
    if side is None:
        return None
    start, end = parse_rfc3339(side["period_start"]), parse_rfc3339(side["period_end"])
    if not start < now < end:
        return None
    if meter["aggregation"] not in _GROWS:
        level: str | None = (meter["stored"] or side)["projected"]
        return level
    passed, whole = (Decimal((at - start) // _MICROSECOND) for at in (now, end))
    return plain(rounded(EXACT.divide(EXACT.multiply(Decimal(side["value"]), whole), passed), _DECIMALS))


_MICROSECOND = datetime.resolution
