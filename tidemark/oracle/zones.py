"""Time zones of the pinned tzdata package, as the stretches of time in which a zone has one offset."""

from __future__ import annotations

import importlib.resources
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from tidemark.core.errors import UsageError

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - instants in UTC and local times are both without a zone in SQL
# Before every instant and local time there can be.
_ALWAYS = datetime(1, 1, 1)  # noqa: DTZ001
# Events are of 1970 to 2100, and a period is at most ten years long: what decides one lies between.
_FIRST_S, _LAST_S = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (1959, 2112))
# No zone has had or plans an offset for less (an hour less than seven days), so that every change is seen.
_STEP_S = 6 * 86_400

# First instant in UTC, first local time, offset from UTC in seconds.
Stretch = tuple[datetime, datetime, int]


@cache
def stretches(name: str) -> tuple[Stretch, ...]:
    """The offsets of a zone in order of time.

    Parameters
    ----------
    name:
        IANA name, for example America/New_York.

    Returns
    -------
    Of each stretch its first instant in UTC, the first local time that is read by its offset, and the offset in
    seconds. A local time that the clock skips is read by the offset before, one that it shows twice by the first.

    Raises
    ------
    UsageError
        The package has no such zone.
    """
    zone = _zone(name)
    probes = [(at_s, _offset(zone, at_s)) for at_s in range(_FIRST_S, _LAST_S, _STEP_S)]
    found = [(_ALWAYS, _ALWAYS, probes[0][1])]
    for (early_s, before), (late_s, after) in pairwise(probes):
        if after != before:
            at = _EPOCH + timedelta(seconds=_change(zone, early_s, late_s))
            found.append((at, at + timedelta(seconds=max(before, after)), after))
    return tuple(found)


def _zone(name: str) -> ZoneInfo:
    try:
        with importlib.resources.files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as file:
            return ZoneInfo.from_file(file, key=name)
    except (OSError, ValueError):
        raise UsageError(f"tzdata has no time zone {name}.", "write an IANA name such as America/New_York.") from None


def _offset(zone: ZoneInfo, at_s: int) -> int:
    offset = datetime.fromtimestamp(at_s, zone).utcoffset() or timedelta()
    return offset.days * 86_400 + offset.seconds


def _change(zone: ZoneInfo, early_s: int, late_s: int) -> int:
    """The first second of the offset at `late_s`, which is another than at `early_s`."""
    before = _offset(zone, early_s)
    while late_s - early_s > 1:
        middle_s = (early_s + late_s) // 2
        if _offset(zone, middle_s) == before:
            early_s = middle_s
        else:
            late_s = middle_s
    return late_s
