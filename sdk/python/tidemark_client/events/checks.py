"""What of an event can be wrong at the call: ids, amounts and properties; the server's parser has the same rules."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from typing import Any, Union

Quantity = Union[int, Decimal, float, str]

MAX_ID_BYTES = 256
MAX_PROPERTIES = 256
# Absolute amounts stay below this, so that 10^11 events fit into one total.
QUANTITY_LIMIT = 10**18
# Totals have 9 decimals; what is longer than this may not fit into an event.
MAX_QUANTITY_CHARACTERS = 256
# Values that nobody can change after the call, and that JSON can always say.
PLAIN = frozenset({str, int, bool, type(None)})
# Control characters, separators of lines, marks that turn the direction of text: ids that differ by them look the same.
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def check_id(name: str, value: Any) -> None:
    """Raise ValueError for what is no id: 1 to 256 bytes of UTF-8 without control characters."""
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}: give a text.")  # noqa: TRY004  one error for every id that is not valid
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{name} {value!r} is no Unicode: it holds half of a surrogate pair.") from None
    if not 0 < size <= MAX_ID_BYTES:
        raise ValueError(f"{name} has {size} bytes: give 1 to {MAX_ID_BYTES}.")
    if not value.isprintable() and (match := _UNSHOWN.search(value)):
        raise ValueError(f"{name} {value!r} has the control character U+{ord(match[0]):04X}: leave it out.")


def amount(quantity: Quantity) -> int | str:
    """A quantity as the event carries it: an int, or the exact decimal text of anything else.

    Raises
    ------
    ValueError
        It is no finite number, 10^18 or more either way, or longer than 256 characters.
    """
    if isinstance(quantity, bool):
        raise ValueError(f"quantity is {quantity!r}: give a number.")  # noqa: TRY004  as above
    try:
        # A float is read as it is written: 0.1 is a tenth. A class of its own, as numpy's, may be written otherwise.
        number = Decimal(float.__repr__(quantity) if isinstance(quantity, float) else quantity)
    except (InvalidOperation, TypeError, ValueError):
        raise ValueError(f"quantity is {quantity!r}: give an int, a Decimal, a float or decimal text.") from None
    if not number.is_finite() or not -QUANTITY_LIMIT < number < QUANTITY_LIMIT:
        raise ValueError(f"quantity is {quantity!r}: give a finite number below 10^18 either way.")
    if isinstance(quantity, int):
        return int(quantity)
    text = str(number)
    if len(text) > MAX_QUANTITY_CHARACTERS:
        raise ValueError(f"quantity has {len(text)} characters: give at most {MAX_QUANTITY_CHARACTERS}.")
    return text


def frozen(properties: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of properties, with what they hold, that later changes by the caller do not reach.

    Raises
    ------
    ValueError
        One is no JSON value, a Decimal or an instant, or there are more than 256.
    """
    if len(properties) > MAX_PROPERTIES:
        raise ValueError(f"an event has {len(properties)} properties: give at most {MAX_PROPERTIES}.")
    try:
        copied: dict[str, Any] = json.loads(json.dumps(dict(properties), allow_nan=False, default=_other))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"properties are no JSON: {error}.") from error
    return copied


def instant_ns(at: datetime) -> int:
    """An instant in epoch ns; ValueError where it has no zone or lies before 1970."""
    if at.utcoffset() is None:
        raise ValueError(f"at is {at!r}, which has no zone: give datetime.now(timezone.utc), or another with a zone.")
    since = at - _EPOCH
    if since.days < 0:
        raise ValueError(f"at is {at!r}: give an instant from 1970 on.")
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000


def positive(name: str, value: float) -> float:
    """A setting above 0 and finite; ValueError for any other."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name} is {value!r}: give a number above 0.")
    return value


def _other(value: Any) -> str:
    if isinstance(value, Decimal) and value.is_finite():
        return str(value)
    if isinstance(value, datetime) and value.utcoffset() is not None:
        return value.isoformat()
    raise TypeError(f"{value!r} is a {type(value).__name__}")
