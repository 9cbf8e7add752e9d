"""Panels as HTML: series as a chart in SVG, rows as a table; pure."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

WIDTH, HEIGHT = 560, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 8, 8, 22
_COLOURS = ("#3366cc", "#dc3912", "#109618", "#ff9900", "#990099", "#0099c6", "#dd4477", "#66aa00")
# A picture holds so much that can be read.
MOST_SERIES, MOST_ROWS, MOST_TEXT = 8, 8, 40
_UNITS = {"s": " s"}
_STEPS = (1, 2, 2.5, 5, 10)
_DAY_S = 86_400
# Where along the axis a time is written, and how it is aligned there.
_TIMES = ((0.0, "start"), (0.5, "middle"), (1.0, "end"))


@dataclass(frozen=True, slots=True)
class Series:
    """A line: its name, and its points (epoch seconds, value)."""

    name: str
    points: Sequence[tuple[float, float]]


def chart(series: Sequence[Series], unit: str) -> str:
    """Lines over time, the greatest first, with a legend; some of them where they are many."""
    shown = sorted(series, key=lambda one: -max((value for _, value in one.points), default=0))[:MOST_SERIES]
    points = [point for one in shown for point in one.points]
    begin, end = min(at for at, _ in points), max(at for at, _ in points)
    top, step = _scale(max(0.0, *(value for _, value in points)))
    bottom = min(0.0, *(value for _, value in points))
    bottom = math.floor(bottom / step) * step

    def x(at: float) -> float:
        return _LEFT + ((at - begin) / (end - begin) if end > begin else 0.5) * (WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return HEIGHT - _BOTTOM - (value - bottom) / ((top - bottom) or 1) * (HEIGHT - _TOP - _BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    marks = round((top - bottom) / step)
    for mark in (bottom + step * number for number in range(marks + 1)):
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(mark):.1f}" y2="{y(mark):.1f}"/>')
        parts.append(f'<text x="{_LEFT - 4}" y="{y(mark) + 4:.1f}" text-anchor="end">{_number(mark, unit)}</text>')
    for share, anchor in _TIMES if end > begin else _TIMES[1:2]:
        at = begin + share * (end - begin)
        parts.append(
            f'<text x="{x(at):.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{_instant(at, end - begin)}</text>'
        )
    for number, one in enumerate(shown):
        parts.append(_line(one, _COLOURS[number], x, y))
    legend = "".join(
        f'<span><i style="background:{_COLOURS[number]}"></i>{_text(one.name)} '
        f"<b>{_number(one.points[-1][1], unit)}</b></span>"
        for number, one in enumerate(shown)
    )
    more = f"<span>and {len(series) - len(shown)} more</span>" if len(series) > len(shown) else ""
    return "".join(parts) + f'</svg><div class="legend">{legend}{more}</div>'


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """The first rows, numbers at the right."""
    head = "".join(f"<th>{_text(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows[:MOST_ROWS])
    more = f"<p>and {len(rows) - MOST_ROWS} more rows</p>" if len(rows) > MOST_ROWS else ""
    return f"<table><tr>{head}</tr>{body}</table>{more}"


def _line(series: Series, colour: str, x: Any, y: Any) -> str:
    if len(series.points) == 1:
        ((at, value),) = series.points
        return f'<circle cx="{x(at):.1f}" cy="{y(value):.1f}" r="3" fill="{colour}"/>'
    path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in series.points)
    return f'<polyline points="{path}" stroke="{colour}"/>'


def _scale(greatest: float) -> tuple[float, float]:
    """Top of a scale from 0 and the step between its marks: round numbers, four marks or so."""
    if greatest <= 0:
        return 1.0, 0.25
    rough = greatest / 4
    power = 10 ** math.floor(math.log10(rough))
    step = next(one * power for one in _STEPS if one * power >= rough * (1 - 1e-9))
    return math.ceil(greatest / step - 1e-9) * step, step


def _number(value: float, unit: str) -> str:
    value, sign = (100 * value, "%") if unit == "percentunit" else (value, _UNITS.get(unit, ""))
    for least, divisor, suffix in ((1e9, 1e9, " G"), (1e6, 1e6, " M"), (1e4, 1e3, " k"), (1e3, 1, "")):
        if abs(value) >= least:
            return f"{value / divisor:,.4g}{suffix}{sign}" if suffix else f"{value:,.0f}{sign}"
    return f"{value:.3g}{sign}"


def _instant(at: float, span_s: float) -> str:
    # Points a day apart are at midnight.
    days = span_s > 2 * _DAY_S or (not span_s and not at % _DAY_S)
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d" if days else "%H:%M:%S")


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return f"<td>{value.astimezone(UTC):%Y-%m-%d %H:%M}</td>"
    if isinstance(value, int | float | Decimal):
        return f'<td class="number">{value:,}</td>'
    return f"<td>{_text(value)}</td>"


def _text(value: Any) -> str:
    text = "" if value is None else str(value)
    return html.escape(text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…")
