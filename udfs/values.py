"""Decimals that are never rounded unseen: a context wide enough for DECIMAL(38, 9) times another, and plain text."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import NamedTuple

# The default context rounds to 28 digits; totals have up to 38, products of two of them 76.
EXACT = Context(prec=80, rounding=ROUND_HALF_EVEN)

_NUMBER = re.compile(r"([+-]?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?)0*(\d+))?", re.ASCII)
# An exponent of more digits is as good as this one: no two numbers that are told apart differ by it.
_EXPONENT_DIGITS = 9
_BEYOND = 10**12
# Zeros that only make up the place of the point; a number with more is written with an exponent.
_MAX_PADDING = 100
# JSON numbers that are their own canonical text.
_canonical = re.compile(rb"(?:-?[1-9]\d*|0)(?:\.\d*[1-9])?|-0\.\d*[1-9]").fullmatch
_PADDED = b"0" * 20


class Parts(NamedTuple):
    """A number as written: (-1)^negative * digits * 10^exponent; `digits` without outer zeros, '' for zero."""

    negative: bool
    digits: str
    exponent: int

    @property
    def places_before(self) -> int:
        """Digits before the point: 1 for 1 to 9, 0 for tenths, -1 for hundredths."""
        return len(self.digits) + self.exponent


def parts_of(text: str) -> Parts | None:
    """The parts of a decimal number in ASCII; None for any other text."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    sign, whole, decimals, exponent_sign, exponent = match.groups(default="")
    written = (whole + decimals).lstrip("0")
    digits = written.rstrip("0")
    if not digits:
        return Parts(False, "", 0)
    size = int(exponent or "0") if len(exponent) <= _EXPONENT_DIGITS else _BEYOND
    scale = len(written) - len(digits) - len(decimals)
    return Parts(sign == "-", digits, scale - size if exponent_sign == "-" else scale + size)


def canonical(raw: bytes) -> str:
    """One text for all JSON numbers of one value: 1, 1.0 and 1e0 are `1`, -0 is `0`; there is no exponent.

    A number that would need over 100 zeros to put its point is its digits and an exponent: 1e400 is `1E400`.
    """
    if _canonical(raw) is not None and _PADDED not in raw:
        return raw.decode()
    parts = parts_of(raw.decode())
    assert parts is not None  # noqa: S101 - the grammar of JSON is part of that of `parts_of`
    negative, digits, exponent = parts
    sign = "-" if negative else ""
    if not digits:
        return "0"
    if exponent > _MAX_PADDING or -parts.places_before > _MAX_PADDING:
        return f"{sign}{digits}E{exponent}"
    if exponent >= 0:
        return f"{sign}{digits}{'0' * exponent}"
    digits = digits.rjust(1 - exponent, "0")
    return f"{sign}{digits[:exponent]}.{digits[exponent:]}"


def plain(value: Decimal) -> str:
    """A decimal as text: no exponent, no zeros at its end, no negative zero."""
    text = format(value or Decimal(0), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def rounded(value: Decimal, places: int) -> Decimal:
    """Half-even to `places` decimals."""
    return EXACT.quantize(value, Decimal(1).scaleb(-places))
