"""Faults and notes of a plan: changed history, meters read in two ways, and names that hold at no such time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tidemark.catalog.file import TABLES, Key, Row
from tidemark.catalog.instants import shown
from tidemark.catalog.text import Fault
from tidemark.catalog.timeline import Change, Timeline, Version, open_since
from udfs.calendars.calendar import MINUTE_MS, BoundaryCalendar, CalendarError, parse_calendar
from udfs.meters.meter import FOREVER_MS

# A list of boundaries that ends within a quarter should be continued now.
_SOON_MS = 92 * 86_400_000


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which terms a file is applied.

    Parameters
    ----------
    now_ms:
        Instant of the apply, UTC epoch ms.
    first:
        Whether nothing was ever applied: then nothing was counted that a change could contradict.
    refresh_s:
        Seconds within which every worker knows a change.
    tolerance_s:
        How far an event's time may be ahead of its arrival.
    backdate, prune:
        Whether history may change; whether rows of the tenants in the file are closed that it does not name.
    all_tenants:
        Whether a pruning file is the whole catalog: then it closes all it does not name, keys too.
    default_ms:
        The file's own valid_from, or None.
    """

    now_ms: int
    first: bool = False
    refresh_s: int = 10
    tolerance_s: int = 300
    backdate: bool = False
    prune: bool = False
    all_tenants: bool = False
    default_ms: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the file is the whole catalog: what it does not name is closed, and keys it does not name cleared."""
        return self.prune and self.all_tenants

    @property
    def earliest_ms(self) -> int:
        """First whole minute by whose start every worker knows what is applied now."""
        return -(-(self.now_ms + self.refresh_s * 1_000) // MINUTE_MS) * MINUTE_MS


def refused(change: Change, terms: Terms) -> Fault | None:
    """Why a change needs --backdate; None if it does not."""
    if change.backdated:
        done, fix = ("events may be counted", "--backdate and replay")
        if not change.counts:
            done, fix = "alerts may be raised", "--backdate"
        return Fault(
            change.path,
            f"valid_from {shown(change.valid_from_ms)} is before {shown(terms.earliest_ms)}: {done} by what this "
            f"changes. Give a later one, or {fix}.",
        )
    return None


def meter_faults(wanted: Sequence[Row], after: Mapping[Key, Timeline]) -> Iterator[Fault]:
    """What is stored is read by the aggregation of its meter's name, so no version may have another.

    The same goes for the unit of time of a weighted sum, and for a tenant's own meter and the common one it hides.
    """
    columns = TABLES["meter"][1]
    by_name: dict[str | None, list[tuple[str | None, Version]]] = {}
    for (owner, name), timeline in after.items():
        by_name.setdefault(name, []).extend((owner, version) for version in timeline)
    for row in wanted:
        owner, name = row.key
        others = [version for other_owner, version in by_name[name] if owner is None or other_owner in (None, owner)]
        for part in ("aggregation", "per"):
            at = columns.index(part)
            differing = next((version for version in others if version.values[at] != row.values[at]), None)
            if differing is not None:
                yield Fault(
                    f"{row.path}.{part}",
                    f"{row.values[at]} differs from {differing.values[at]}, stored from "
                    f"{shown(differing.valid_from_ms)} on: take another name, or --backdate to the beginning.",
                )


def calendar_faults(
    wanted: Mapping[str, Sequence[Row]], after: Mapping[str, Mapping[Key, Timeline]]
) -> Iterator[Fault]:
    """A calendar must hold wherever it is named."""
    starts = {key[0]: open_since(timeline) for key, timeline in after["calendar"].items()}
    for table in ("tenant", "customer"):
        for row in wanted[table]:
            last = after[table][row.key][-1]
            calendar, from_ms = last.values[0], last.valid_from_ms
            since_ms = FOREVER_MS if calendar is None else starts.get(calendar, FOREVER_MS)
            if calendar is not None and since_ms > from_ms:
                holds = "is closed" if since_ms == FOREVER_MS else f"holds from {shown(since_ms)} on only"
                yield Fault(f"{row.path}.calendar", f"{calendar!r} {holds}; it is named from {shown(from_ms)} on.")


def receiver_faults(wanted: Sequence[Row], after: Mapping[Key, Timeline]) -> Iterator[Fault]:
    """A receiver must hold wherever a route names it."""
    for row in (candidate for candidate in wanted if candidate.key[0] == "route"):
        last = after[row.key][-1]
        from_ms = last.valid_from_ms
        for name in json.loads(last.values[0])["receivers"]:
            since_ms = open_since(after.get(("receiver", name), ()))
            if since_ms > from_ms:
                holds = "is closed" if since_ms == FOREVER_MS else f"holds from {shown(since_ms)} on only"
                yield Fault(f"{row.path}.receivers", f"{name!r} {holds}; it is named from {shown(from_ms)} on.")


def notes(changes: Sequence[Change], calendars: Mapping[Key, Timeline], terms: Terms) -> Iterator[str]:
    """What a person should know who applies this."""
    if any(change.backdated and change.counts for change in changes):
        yield (
            "Totals counted so far follow the old rules: only a replay counts them by the new ones. Dead letters that "
            "the new rules accept can be redriven."
        )
    if any(change.backdated and not change.counts for change in changes):
        yield "Alerts raised so far follow the old limits and policy, and stay as they are."
    ahead_ms = terms.now_ms + (terms.refresh_s + terms.tolerance_s) * 1_000
    starts = [change.valid_from_ms for change in changes if change.counts]
    soon = [start for start in starts if terms.earliest_ms <= start < ahead_ms]
    if soon and not terms.first:
        yield (
            f"Event times may be {terms.tolerance_s} s ahead of the clock: such events from {shown(min(soon))} on may "
            f"be counted already. A valid_from of {shown(-(-ahead_ms // MINUTE_MS) * MINUTE_MS)} or later avoids it."
        )
    for (name,), timeline in calendars.items():
        ends_ms = _end(timeline)
        if ends_ms < terms.now_ms + _SOON_MS:
            yield f"calendar {name} ends at {shown(ends_ms)}: later events have no period and are rejected."


def _end(timeline: Timeline) -> int:
    """Last boundary of the open version of a calendar; FOREVER_MS if it has no end, or is not open."""
    if not timeline or timeline[-1].valid_to_ms != FOREVER_MS:
        return FOREVER_MS
    try:
        calendar = parse_calendar(*timeline[-1].values)
    except CalendarError:
        # Stored before; the catalog's readers report it where it is used.
        return FOREVER_MS
    return calendar.boundary(len(calendar.boundaries) - 1) if isinstance(calendar, BoundaryCalendar) else FOREVER_MS
