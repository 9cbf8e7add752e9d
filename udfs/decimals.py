"""Decimals that are never rounded unseen: a context wide enough for DECIMAL(38, 9) times another, and plain text."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal

# The default context rounds to 28 digits; totals have up to 38, products of two of them 76.
EXACT = Context(prec=80, rounding=ROUND_HALF_EVEN)


def plain(value: Decimal) -> str:
    """A decimal as text: no exponent, no zeros at its end, no negative zero."""
    text = format(value or Decimal(0), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def rounded(value: Decimal, places: int) -> Decimal:
    """Half-even to `places` decimals."""
    return EXACT.quantize(value, Decimal(1).scaleb(-places))
