"""Durations as people say them, where a detail has them in milliseconds."""

from __future__ import annotations

import re

_MS = re.compile(r"(?<![\w.-])(\d{4,}) ms\b", re.ASCII)
_UNITS = (("days", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1))


def spoken(ms: int) -> str:
    """A duration in its two greatest units that are not zero, rounded down: `27 days 3 h`; `0 ms` for none."""
    parts = []
    for name, size in _UNITS:
        count, ms = divmod(ms, size)
        if count:
            parts.append(f"{count:,} {'day' if name == 'days' and count == 1 else name}")
    return " ".join(parts[:2]) or "0 ms"


def with_durations(text: str) -> str:
    """A text in which each duration of a second or more is spoken; the milliseconds stay in JSON."""
    return _MS.sub(lambda found: spoken(int(found[1])), text)
