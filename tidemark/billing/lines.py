"""The content of a billing period: lines per meter and dimensions, and the hash that identifies a state of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any, NamedTuple

from udfs.values import plain, rfc3339


class PeriodKey(NamedTuple):
    """A billing period of a customer; half-open, instants with a zone. A different end is a different period."""

    tenant_id: str
    customer_id: str
    start: datetime
    end: datetime


class LineKey(NamedTuple):
    """A meter of a period, and its group-by values as canonical JSON ('' for none)."""

    meter: str
    dims: str


@dataclass(frozen=True, slots=True)
class Line:
    """The value of one meter.

    Parameters
    ----------
    aggregation, unit:
        How the meter adds up, and the unit of `value`.
    n:
        Measurements applied, voids too; 0 for a level that no event changed.
    samples:
        Measurements, less those taken back by voids.
    value:
        Exact, at most nine decimals.
    """

    aggregation: str
    unit: str
    n: int
    samples: int
    value: Decimal


Lines = Mapping[LineKey, Line]


def content_hash(key: PeriodKey, lines: Lines) -> str:
    """SHA-256 (hexadecimal) of a period and its lines, the same whatever their order and trailing zeros.

    Of the JSON array [tenant, customer, start, end, [[meter, dims, unit, samples, value], …]] without spaces, lines in
    the order of their keys, instants in RFC 3339 UTC with seconds, value as plain decimal text without trailing zeros.
    """
    rows = [[*at, line.unit, line.samples, plain(line.value)] for at, line in sorted(lines.items())]
    document = [key.tenant_id, key.customer_id, rfc3339(key.start), rfc3339(key.end), rows]
    return sha256(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def same(before: Lines, after: Lines) -> bool:
    """Whether two states bill the same: equal values, samples and units; the number of events may differ."""
    return stated(before) == stated(after)


def stated(lines: Lines) -> dict[LineKey, tuple[Any, ...]]:
    """What the lines bill, for comparing."""
    return {at: (line.aggregation, line.unit, line.samples, line.value) for at, line in lines.items()}
