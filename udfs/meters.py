"""Meters: which events they take, and the amount and group-by values they make of one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal

import msgspec
from msgspec import UNSET, Raw

from udfs.events import Event, quantity_of
from udfs.reasons import Reason, Rejected, shown

# Versions without a bound; comparable with any 64-bit number of milliseconds.
BEGINNING_MS = -(2**63)
FOREVER_MS = 2**63 - 1
# dims are part of primary keys: with three ids of 256 bytes they stay under the 2 704 bytes of a Postgres index row.
MAX_DIMS_BYTES = 1_024
_DIMS_MEMO_LIMIT = 10_000

Aggregation = Literal["count", "sum"]


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
        `count`: every event counts 1; `sum`: its `value`, the quantity.
    group_by:
        Property names whose values split the totals.
    allow_negative:
        Whether a `sum` takes quantities below zero.
    tenant_id:
        None for all tenants.
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
    value: Literal["quantity"] = "quantity"
    valid_from_ms: int = BEGINNING_MS
    valid_to_ms: int = FOREVER_MS
    # dims text by the raw JSON of the group-by values.
    _dims: dict[tuple[bytes | None, ...], str] = field(default_factory=dict, init=False, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one event adds to one meter: plain decimal text, and canonical JSON of the group-by values ('' for none)."""

    amount: str
    dims: str


def measure(event: Event, meter: Meter) -> Measurement:
    """What an event adds to a meter that takes its type.

    Raises
    ------
    Rejected
        Its quantity or its group-by values are not acceptable.
    """
    return Measurement(amount_of(quantity_of(event), meter), dims_of(event, meter))


def amount_of(quantity: str, meter: Meter) -> str:
    """The amount for a meter, given the event's quantity as `quantity_of` returns it."""
    if meter.aggregation == "count":
        return "1"
    if quantity[0] == "-" and not meter.allow_negative:
        raise Rejected(Reason.NEGATIVE_QUANTITY, f"quantity is {quantity}; meter {meter.meter} takes none below 0.")
    return quantity


def dims_of(event: Event, meter: Meter) -> str:
    """Canonical JSON of the group-by values: sorted keys, no spaces, UTF-8 as it is; '' for a meter without group-by.

    Strings stay as they are, numbers and booleans become their JSON text, a missing or null value the empty string.
    """
    names = meter.group_by
    if not names:
        return ""
    properties = {} if event.properties is UNSET else event.properties
    values = tuple([bytes(properties[name]) if name in properties else None for name in names])
    dims = meter._dims.get(values)  # noqa: SLF001 - the memo belongs to this function
    return _remember_dims(meter, values) if dims is None else dims


def _remember_dims(meter: Meter, values: tuple[bytes | None, ...]) -> str:
    document = {name: _text_of(name, value) for name, value in zip(meter.group_by, values, strict=True)}
    dims = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if (size := len(dims.encode())) > MAX_DIMS_BYTES:
        raise Rejected(
            Reason.DIMENSION_TOO_LONG,
            f"group-by values of meter {meter.meter} have {size} bytes as JSON; the limit is {MAX_DIMS_BYTES}.",
        )
    memo = meter._dims  # noqa: SLF001 - see dims_of
    if len(memo) >= _DIMS_MEMO_LIMIT:
        memo.clear()
    memo[values] = dims
    return dims


def _text_of(name: str, value: bytes | None) -> str:
    if value is None or value == b"null":
        return ""
    if value[0] == ord('"'):
        return msgspec.json.decode(value, type=str)
    if value[0] in b"{[":
        kind = "an object" if value[0] == ord("{") else "an array"
        raise Rejected(Reason.WRONG_TYPE, f"property {shown(name)} is {kind}, and a meter groups by it.")
    return value.decode()


__all__ = [
    "BEGINNING_MS",
    "FOREVER_MS",
    "MAX_DIMS_BYTES",
    "Aggregation",
    "Measurement",
    "Meter",
    "Raw",
    "amount_of",
    "dims_of",
    "measure",
]
