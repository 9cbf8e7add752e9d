"""Bars as rectangles of an SVG: numbers alone, which the template draws. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

WIDTH, HEIGHT = 1_000, 200
_GAP = 0.2
# A value above zero is seen.
_LEAST = 2.0


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle, in units of the drawing, with what it says."""

    x: float
    y: float
    width: float
    height: float
    label: str
    value: str


def bars(points: Sequence[tuple[str, str]]) -> list[Bar]:
    """A bar for each label and plain decimal, side by side; values below zero have none."""
    top = max((Decimal(value) for _, value in points), default=Decimal(0))
    step = WIDTH / max(len(points), 1)
    return [_bar(place, step, point, top) for place, point in enumerate(points)]


def every_day(first: date, last: date, values: dict[str, str]) -> list[tuple[str, str]]:
    """A point for each day from one to another, both included; 0 for those without a value."""
    days = (first + timedelta(days=place) for place in range((last - first).days + 1))
    return [(day.isoformat(), values.get(day.isoformat(), "0")) for day in days]


def _bar(place: int, step: float, point: tuple[str, str], top: Decimal) -> Bar:
    label, value = point
    share = float(Decimal(value) / top) if top > 0 else 0.0
    height = max(share * HEIGHT, _LEAST) if share > 0 else 0.0
    return Bar(
        round((place + _GAP / 2) * step, 2), round(HEIGHT - height, 2), round((1 - _GAP) * step, 2), round(height, 2),
        label, value,
    )  # fmt: skip
