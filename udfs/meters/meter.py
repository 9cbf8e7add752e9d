"""Meters as the catalog has them; `udfs.meters.measuring` is what they do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from udfs.meters.levels import Per

# Versions without a bound; comparable with any 64-bit number of milliseconds.
BEGINNING_MS = -(2**63)
FOREVER_MS = 2**63 - 1
MAX_GROUP_BY = 8
# dims are part of primary keys: with three ids of 256 bytes they stay under the 2 704 bytes of a Postgres index row.
MAX_DIMS_BYTES = 1_024
# |change| of a level < 10^12: times an instant it still has room for 10^4 of its like in the DECIMAL(38,9) of a total.
MAX_LEVEL_DIGITS = 12
# What an event is counted under that meters take but none measures; meters of the catalog cannot be named so.
RESERVED_PREFIX = "tidemark."
UNMEASURED = "tidemark.unmeasured"

Aggregation = Literal["count", "sum", "min", "max", "avg", "latest", "unique", "percentile", "weighted_sum"]
# What can be taken back by an amount of the other sign.
ADDITIVE = frozenset({"count", "sum", "avg", "weighted_sum"})
# What adds the value alone.
_PLAIN = frozenset({"count", "sum", "min", "max", "avg"})


@dataclass(frozen=True, slots=True)
class Meter:
    """One version of a meter.

    Parameters
    ----------
    meter:
        Name, unique within a tenant; a tenant's own meter hides one for all tenants of the same name.
    event_types:
        Types of events it takes.
    aggregation:
        What becomes of the values: see `udfs.meters.measuring.measure`.
    group_by:
        Paths of the properties whose values split the totals, at most MAX_GROUP_BY.
    allow_negative:
        Whether values below zero are taken; `count`, `unique` and `weighted_sum` take them always.
    tenant_id:
        None for all tenants.
    value:
        `quantity`, which is 1 for an event without one, or the path of a property or of another field of the event.
    on_missing:
        What this meter does with an event without the property: refuse it, or leave it out.
    precision:
        What becomes of a value of more than 9 decimals: it is rounded half-even, or, `exact`, refused by this meter.
    filter:
        JSON text of the condition that events must meet (see `udfs.meters.filters`), '' for none.
    per:
        Unit of time of a `weighted_sum`: 1 for one hour is 1 per `hour`.
    valid_from_ms, valid_to_ms:
        Event times it holds for, half-open.
    """

    meter: str
    event_types: tuple[str, ...]
    aggregation: Aggregation
    group_by: tuple[str, ...] = ()
    allow_negative: bool = False
    unit: str = ""
    tenant_id: str | None = None
    value: str = "quantity"
    valid_from_ms: int = BEGINNING_MS
    valid_to_ms: int = FOREVER_MS
    on_missing: Literal["reject", "skip"] = "reject"
    filter: str = ""
    per: Per = "hour"
    precision: Literal["rounded", "exact"] = "rounded"
    # Whether every event it takes adds one measurement with nothing but an amount: the quantity, or 1.
    is_plain: bool = field(default=False, init=False, repr=False, compare=False)
    # Memos of `udfs.meters.measuring`: dims text by the raw JSON of the group-by values ...
    dims_memo: dict[tuple[bytes | None, ...], str] = field(default_factory=dict, init=False, repr=False, compare=False)
    # ... and how it measures, once worked out: a meter that cannot be used hurts only its own events.
    plan_memo: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        plain = self.aggregation in _PLAIN and self.value == "quantity" and not self.filter
        plain = plain and self.precision == "rounded"
        object.__setattr__(self, "is_plain", plain)
