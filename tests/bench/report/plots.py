"""Bars as SVG: medians with a line from the least to the greatest run."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from tests.bench.report.quantities import QUANTITIES, written
from tests.bench.report.stats import Spread

_WIDTH, _LEFT, _ROW = 720, 190, 26
_RIGHT = 90


def bars(title: str, quantity: str, spreads: Mapping[str, Spread]) -> str:
    """A picture with a bar per subject."""
    scale = (_WIDTH - _LEFT - _RIGHT) / max(spread.most for spread in spreads.values())
    height = 40 + _ROW * len(spreads)
    heading = f"{title}: {QUANTITIES[quantity].heading}"
    rows = [_bar(index, subject, quantity, spread, scale) for index, (subject, spread) in enumerate(spreads.items())]
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"',
            ' font-family="sans-serif" font-size="13">',
            f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
            f'<text x="8" y="20" font-weight="bold">{escape(heading)}</text>',
            *rows,
            "</svg>\n",
        )
    )


def _bar(index: int, subject: str, quantity: str, spread: Spread, scale: float) -> str:
    top = 34 + index * _ROW
    middle = top + 8
    end = _LEFT + spread.median * scale
    least, most = _LEFT + spread.least * scale, _LEFT + spread.most * scale
    return (
        f'<text x="{_LEFT - 8}" y="{top + 13}" text-anchor="end">{escape(subject)}</text>'
        f'<rect x="{_LEFT}" y="{top}" width="{end - _LEFT:.1f}" height="16" fill="#4878a8"/>'
        f'<line x1="{least:.1f}" x2="{most:.1f}" y1="{middle}" y2="{middle}" stroke="#222" stroke-width="2"/>'
        f'<text x="{max(end, most) + 6:.1f}" y="{top + 13}">{written(quantity, spread.median)}</text>'
    )
