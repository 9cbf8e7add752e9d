"""Values and their one text: decimals that are never rounded unseen, and instants in UTC to the millisecond."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation, localcontext
from typing import NamedTuple

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
# The years 1 to 9999.
MIN_RFC3339_MS, MAX_RFC3339_MS = -62_135_596_800_000, 253_402_300_799_999
_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII)

# The default context rounds to 28 digits; totals have up to 38, products of two of them 76.
EXACT = Context(prec=80, rounding=ROUND_HALF_EVEN)

# Of a total, 9 of them decimals.
_MOST_DIGITS = 38
_NUMBER = re.compile(r"([+-]?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?)0*(\d+))?", re.ASCII)
# An exponent of more digits is as good as this one: no two numbers that are distinguished differ by it.
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


def exact_sum(values: Iterable[Decimal]) -> Decimal:
    """The sum of decimals, not rounded to the 28 digits of `sum`."""
    with localcontext(EXACT):
        return sum(values, Decimal(0))


def total_of(text: str | None) -> Decimal | None:
    """A number that a total can be; None for anything else, which only a foreign record says."""
    try:
        number = Decimal(text) if text is not None else None
    except InvalidOperation:
        return None
    return number if number is not None and number.is_finite() and abs(number.adjusted()) < _MOST_DIGITS else None


def rounded(value: Decimal, places: int) -> Decimal:
    """Half-even to `places` decimals."""
    return EXACT.quantize(value, Decimal(1).scaleb(-places))


def instant(ms: int) -> datetime:
    """UTC epoch milliseconds as an instant, exact.

    Raises
    ------
    OverflowError
        It is outside the years 1 to 9999.
    """
    # Seconds as a binary fraction would lose the last millisecond of instants far ahead.
    return EPOCH + ms * MILLISECOND


def epoch_ms(at: datetime) -> int:
    """UTC epoch milliseconds of an instant with a zone, rounded down."""
    return (at - EPOCH) // MILLISECOND


def rfc3339(at: datetime | int) -> str:
    """An instant (with a zone, or UTC epoch ms) in the one form in which it is printed: RFC 3339 in UTC with a Z.

    Three digits of milliseconds, or none where they are zero: `2026-01-31T00:00:00Z`, `2026-01-31T00:00:00.250Z`.
    OverflowError outside the years 1 to 9999.
    """
    moment = instant(at) if isinstance(at, int) else at.astimezone(UTC)
    text = moment.isoformat(timespec="milliseconds" if moment.microsecond >= 1_000 else "seconds")  # noqa: PLR2004
    return text.replace("+00:00", "Z")


def parse_rfc3339(text: str) -> datetime:
    """The instant of RFC 3339 text, which says its offset.

    Raises
    ------
    ValueError
        Any other text, or a date that no calendar has.
    """
    if not _RFC3339.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not an RFC 3339 instant such as 2026-01-31T00:00:00Z.")
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise ValueError(f"{text[:40]!r} is not an instant: {error}.") from None
