"""What a meter makes of an event: amounts, parts and group-by values."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Context, Decimal
from hashlib import sha256
from typing import Any, NamedTuple

from msgspec import UNSET

from udfs.events.fields import decimals_of
from udfs.events.parse import MAX_DECIMALS, Event, amount_text, nanos_of, quantity_of
from udfs.events.reasons import Reason, Rejected, shown
from udfs.meters.filters import Predicate, filter_of
from udfs.meters.meter import ADDITIVE, MAX_DIMS_BYTES, MAX_LEVEL_DIGITS, Aggregation, Meter
from udfs.meters.paths import Path, path_of, text_of
from udfs.meters.sketch import bin_of
from udfs.wire import LATEST

# Aggregations whose amounts may be of any sign, whatever `allow_negative` says.
_SIGNED = frozenset({"count", "unique", "weighted_sum"})
# Part of a void of which nothing can be subtracted, where the meter has no rows without a part.
VOID_PART = "v"
_DIMS_MEMO_LIMIT = 10_000
_NOT_FOUND = [None]


class Measurement(NamedTuple):
    """What one event adds to one series of a meter: see `udfs.meters.packing.Packed` for the fields."""

    amount: str
    dims: str
    part: str = ""
    samples: int = 1
    latest: str = ""


# From value, dims, event, event time and the event's bytes to what is added.
_Emit = Callable[[str, str, Event, int, bytes], list[Measurement]]


class _Plan(NamedTuple):
    """A meter made ready: its filter, its value and the paths of its group-by rule."""

    accepts: Predicate | None
    # None for an event without the value.
    value: Callable[[Event], str | None]
    emit: _Emit
    paths: tuple[Path, ...]
    # Names of the group-by properties that answer before anything else can, where that is so for each.
    first_names: tuple[str, ...] | None


def measure(event: Event, meter: Meter, event_ms: int, void: bool, raw: bytes) -> list[Measurement]:
    """What an event adds to a meter that takes its type; nothing if the filter excludes it or its value may be missing.

    ============ ===============================================================================================
    count        1
    sum, min,    the value
    max, avg
    latest       the value, with `latest` text whose greatest wins: by event time (ns), then by source, then by event id
    unique       1, with the hash of the value's text as part: the count is the number of parts
    percentile   the value, with its bin as part
    weighted_sum the value, a change of a level; and as part `m` the value times the event time (ms)
    ============ ===============================================================================================

    Parameters
    ----------
    event, meter:
        As parsed, and as the catalog has it at the event time.
    event_ms:
        Event time, UTC epoch ms.
    void:
        Whether it takes back an equal event: what is ADDITIVE is negated, of the others only the taking back is noted.
    raw:
        The bytes that it was parsed from.

    Raises
    ------
    Rejected
        Its value or its group-by values are not acceptable.
    ValueError
        The meter itself cannot be used: its filter is not valid.
    """
    plan = meter.plan_memo[0] if meter.plan_memo else _planned(meter)
    if plan.accepts is not None and not plan.accepts(event):
        return []
    value = plan.value(event)
    if value is None:
        return []
    added = plan.emit(value, dims_of(event, meter), event, event_ms, raw)
    return _taken_back(meter, added) if void else added


def amount_of(event: Event, meter: Meter, quantity: str) -> str:
    """The amount that an event adds to a meter that `is_plain`, given its quantity as `quantity_of` returns it."""
    if meter.aggregation == "count":
        return "1"
    if quantity[0] == "-" and not meter.allow_negative:
        raise _negative(event.QUANTITY, quantity, meter)
    return quantity


def unmeasured(void: bool = False) -> Measurement:
    """What an event adds to UNMEASURED when no meter measures it."""
    return Measurement("-1", "", samples=-1) if void else Measurement("1", "")


def _planned(meter: Meter) -> _Plan:
    paths = tuple(path_of(text) for text in meter.group_by)
    names = tuple(path.first_name for path in paths)
    first_names = names if all(names) else None
    accepts = filter_of(meter.filter) if meter.filter else None
    plan = _Plan(accepts, _value_of(meter), _EMIT[meter.aggregation], paths, first_names)
    meter.plan_memo[:] = (plan,)
    return plan


def _taken_back(meter: Meter, added: list[Measurement]) -> list[Measurement]:
    if meter.aggregation not in ADDITIVE:
        part = VOID_PART if added[0].part else ""
        return [Measurement("0", added[0].dims, part, samples=0)]
    return [Measurement(_negated(one.amount), one.dims, one.part, -one.samples) for one in added]


def _negated(amount: str) -> str:
    if amount[0] == "-":
        return amount[1:]
    # Zero may be written with decimals.
    return f"-{amount}" if amount.strip("0.") else amount


# --- values -----------------------------------------------------------------------------------------------------------


def _value_of(meter: Meter) -> Callable[[Event], str | None]:
    """How a meter reads its value: decimal text, any text for `unique`."""
    if meter.aggregation == "count":
        return lambda _: "1"
    if meter.value != "quantity":
        read = _property_reader(meter)
    elif meter.aggregation == "unique":
        read = _quantity_as_sent
    else:
        read = quantity_of if meter.precision == "rounded" else _exact_quantity_reader(meter)
    if meter.aggregation == "weighted_sum":
        return lambda event: _checked_level(event, meter, read(event))
    if meter.allow_negative or meter.aggregation in _SIGNED:
        return read

    def not_negative(event: Event) -> str | None:
        value = read(event)
        if value is not None and value[0] == "-":
            raise _negative(_value_name(event, meter), value, meter)
        return value

    return not_negative


def _value_name(event: Event, meter: Meter) -> str:
    return event.QUANTITY if meter.value == "quantity" else f"property {shown(meter.value)}"


def _negative(name: str, value: str, meter: Meter) -> Rejected:
    return Rejected(Reason.NEGATIVE_QUANTITY, f"{name} is {value}; meter {meter.meter} takes none below 0.")


def _quantity_as_sent(event: Event) -> str | None:
    text = quantity_of(event)
    return text if event.quantity is UNSET else text_of(bytes(event.quantity))


def _exact_quantity_reader(meter: Meter) -> Callable[[Event], str | None]:
    def read(event: Event) -> str:
        amount = quantity_of(event)
        return amount if event.quantity is UNSET else _exact(bytes(event.quantity), amount, event.QUANTITY, meter)

    return read


def _exact(raw: bytes, amount: str, name: str, meter: Meter) -> str:
    """An amount, unless it was rounded."""
    if (decimals := decimals_of(raw)) <= MAX_DECIMALS:
        return amount
    detail = f"{name} {shown(raw.decode())} has {decimals} decimals; meter {meter.meter} takes {MAX_DECIMALS}, exactly"
    raise Rejected(Reason.QUANTITY_TOO_PRECISE, f"{detail}: send it rounded, or leave out `precision: exact`.")


def _property_reader(meter: Meter) -> Callable[[Event], str | None]:
    find, name = path_of(meter.value).find, f"property {shown(meter.value)}"
    as_text, exact = meter.aggregation == "unique", meter.precision == "exact"

    def read(event: Event) -> str | None:
        raw = find(event)
        if raw is not None:
            if as_text:
                return _scalar(raw, name, meter)
            amount = amount_text(raw, name)
            return _exact(raw, amount, name, meter) if exact else amount
        if meter.on_missing == "skip":
            return None
        raise Rejected(Reason.MISSING_VALUE, f"{name} is missing, and meter {meter.meter} measures it.")

    return read


def _scalar(raw: bytes, name: str, meter: Meter) -> str:
    text = text_of(raw)
    if text is None:
        raise Rejected(Reason.WRONG_TYPE, f"{name} is {_kind(raw)}, and meter {meter.meter} counts its values.")
    return text


def _kind(raw: bytes) -> str:
    return "an object" if raw[0] == ord("{") else "an array"


def _checked_level(event: Event, meter: Meter, value: str | None) -> str | None:
    if value is not None and len(value.partition(".")[0].lstrip("-")) > MAX_LEVEL_DIGITS:
        limit = f"+-1E+{MAX_LEVEL_DIGITS}, the limit of meter {meter.meter}"
        raise Rejected(Reason.QUANTITY_OUT_OF_RANGE, f"{_value_name(event, meter)} {value} is not within {limit}.")
    return value


# --- what is added ----------------------------------------------------------------------------------------------------


def _plain(value: str, dims: str, *_: object) -> list[Measurement]:
    return [Measurement(value, dims)]


def _latest(value: str, dims: str, event: Event, event_ms: int, raw: bytes) -> list[Measurement]:
    time_ns = f"{event_ms:015d}{nanos_of(event, raw):06d}"
    return [Measurement(value, dims, latest=LATEST.pack(time_ns, event.source or "", event.event_id, value))]


def _unique(value: str, dims: str, *_: object) -> list[Measurement]:
    return [Measurement("1", dims, "u" + sha256(value.encode()).hexdigest()[:32])]


def _percentile(value: str, dims: str, *_: object) -> list[Measurement]:
    return [Measurement(value, dims, bin_of(value))]


# 12 digits, 9 decimals and an instant of 13 digits: never rounded.
_EXACT = Context(prec=60)


def _weighted_sum(value: str, dims: str, _event: Event, event_ms: int, _raw: bytes) -> list[Measurement]:
    moment = format(_EXACT.multiply(Decimal(value), Decimal(event_ms)), "f")
    if "." in moment:
        moment = moment.rstrip("0").rstrip(".")
    # At the epoch itself a negative change has a negative zero.
    return [Measurement(value, dims), Measurement("0" if moment == "-0" else moment, dims, "m")]


_EMIT: dict[Aggregation, _Emit] = {
    "count": _plain,
    "sum": _plain,
    "min": _plain,
    "max": _plain,
    "avg": _plain,
    "latest": _latest,
    "unique": _unique,
    "percentile": _percentile,
    "weighted_sum": _weighted_sum,
}

# --- group-by values --------------------------------------------------------------------------------------------------


def dims_of(event: Event, meter: Meter) -> str:
    """Canonical JSON of the group-by values: sorted keys, no spaces, UTF-8 as it is; '' for a meter without group-by.

    Strings stay as they are, equal numbers become one text, booleans their JSON text, a missing or null value the empty
    string.
    """
    if not meter.group_by:
        return ""
    plan = meter.plan_memo[0] if meter.plan_memo else _planned(meter)
    names, properties = plan.first_names, event.properties
    found: list[Any] = [*map(properties.get, names)] if names and properties else _NOT_FOUND
    values = tuple([path.find(event) for path in plan.paths]) if None in found else tuple(map(bytes, found))
    dims = meter.dims_memo.get(values)
    return _remember_dims(meter, values) if dims is None else dims


def _remember_dims(meter: Meter, values: tuple[bytes | None, ...]) -> str:
    document = {name: _group_text(name, value) for name, value in zip(meter.group_by, values, strict=True)}
    dims = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if (size := len(dims.encode())) > MAX_DIMS_BYTES:
        raise Rejected(
            Reason.DIMENSION_TOO_LONG,
            f"group-by values of meter {meter.meter} have {size} bytes as JSON; the limit is {MAX_DIMS_BYTES}.",
        )
    memo = meter.dims_memo
    if len(memo) >= _DIMS_MEMO_LIMIT:
        memo.clear()
    memo[values] = dims
    return dims


def _group_text(name: str, value: bytes | None) -> str:
    if value is None or value == b"null":
        return ""
    text = text_of(value)
    if text is None:
        raise Rejected(Reason.WRONG_TYPE, f"property {shown(name)} is {_kind(value)}, and a meter groups by it.")
    return text
