"""What an apply would do to the stored versions, worked out from data alone: changes, and what speaks against them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidemark.catalog import refused_events
from tidemark.catalog.confirmations import Confirmation
from tidemark.catalog.file import OWNED, Key, Row
from tidemark.catalog.merge import overlaid
from tidemark.catalog.plan_faults import Terms, calendar_faults, meter_faults, notes, receiver_faults, refused
from tidemark.catalog.text import Fault
from tidemark.catalog.timeline import (
    Change,
    Stored,
    Timeline,
    Version,
    changed_timeline,
    difference,
    first_difference,
    overlay,
)
from tidemark.catalog.warnings import warnings
from udfs.meters.meter import BEGINNING_MS, FOREVER_MS


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything an apply would change, how many rows stay as they are, and what it refuses.

    Parameters
    ----------
    changes, unchanged, faults:
        What differs from the stored versions, how many rows do not, and what is refused.
    notes:
        What follows from the changes.
    warnings:
        What is allowed and hardly meant; each is one sentence that begins with the path it is about.
    asks:
        What an apply asks for before it does it; cuts of running periods come first.
    """

    changes: tuple[Change, ...]
    unchanged: int
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    confirmations: tuple[Confirmation, ...] = ()

    @property
    def replay_needed(self) -> bool:
        """Whether totals counted so far follow rules that this plan replaces."""
        return any(change.backdated and change.counts for change in self.changes)


def plan(wanted: Mapping[str, Sequence[Row]], stored: Stored, terms: Terms) -> Plan:
    """Compare the rows of a file without faults with the stored versions.

    A row that leaves its begin to the rule is left alone while its open version says the same. Otherwise it holds from
    the beginning if it is new with its tenant (or a calendar nobody can have named), else from `terms.earliest_ms`.
    """
    tenants = {row.key[0] for row in wanted.get("tenant", ()) if row.key not in stored["tenant"]}
    changes: list[Change] = []
    faults: list[Fault] = []
    for table, rows in wanted.items():
        for row in rows:
            timeline = stored[table].get(row.key, ())
            free = terms.first or is_free(table, row.key, timeline, tenants)
            changes += _change(table, row, timeline, BEGINNING_MS if free else terms.earliest_ms)
    unchanged = sum(map(len, wanted.values())) - len(changes)
    if terms.prune:
        changes += _closed(wanted, stored, terms)
    if not terms.backdate:
        faults += [fault for change in changes if (fault := refused(change, terms))]
    after = _after(stored, changes)
    faults += [*meter_faults(wanted["meter"], after["meter"]), *calendar_faults(wanted, after)]
    faults += receiver_faults(wanted["alert_policy"], after["alert_policy"])
    return Plan(
        tuple(changes),
        unchanged,
        tuple(faults),
        tuple(notes(changes, after["calendar"], terms)),
        (*warnings(changes, stored), *(() if terms.first else refused_events.warnings(changes))),
    )


def is_free(table: str, key: Key, timeline: Timeline, new_tenants: Collection[str | None]) -> bool:
    """Whether a row may hold from the beginning, because nothing can have been counted or alerted without it."""
    if table == "calendar":
        return not timeline
    return table != "alert_policy" and key[0] in new_tenants


def _change(table: str, row: Row, timeline: Timeline, free_ms: int) -> Iterator[Change]:
    """The change a row needs, if any; before `free_ms` it would contradict what may have been counted."""
    from_ms = row.valid_from_ms
    if row.closes:
        yield from _ended(table, row.key, timeline, free_ms if from_ms is None else from_ms, free_ms, row.path)
        return

    def over(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return overlaid(table, row, values)

    if from_ms is None:
        last = timeline[-1] if timeline else None
        if last is not None and last.valid_to_ms == FOREVER_MS and last.values == over(last.values):
            return
        from_ms = free_ms
    after = overlay(timeline, from_ms, row.values, over)
    at_ms = difference(timeline, after)
    if at_ms == FOREVER_MS:
        return
    index = next(place for place, version in enumerate(after) if version.valid_from_ms <= at_ms < version.valid_to_ms)
    ahead = [version for version in timeline if version.valid_to_ms > at_ms]
    yield Change(
        table,
        row.key,
        "changed" if ahead else "added",
        at_ms,
        old=ahead[0].values if ahead else None,
        new=after[index].values,
        begin_ms=after[index].valid_from_ms,
        replaced=tuple(start_ms for start_ms in _starts(ahead, at_ms) if not _keeps(ahead, after, start_ms)),
        ahead=after[index + 1 :],
        backdated=at_ms < free_ms,
        path=row.path,
    )


def _keeps(before: Sequence[Version], after: Timeline, begin_ms: int) -> bool:
    """Whether a stored version still starts where it did, with the same values."""
    (values,) = (version.values for version in before if version.valid_from_ms == begin_ms)
    return any(version.valid_from_ms == begin_ms and version.values == values for version in after)


def _closed(wanted: Mapping[str, Sequence[Row]], stored: Stored, terms: Terms) -> Iterator[Change]:
    from_ms = terms.earliest_ms if terms.default_ms is None else terms.default_ms
    tenants = None if terms.is_whole else {row.key[0] for row in wanted["tenant"]}
    for table, timelines in stored.items():
        named = {row.key for row in wanted[table]}
        for key, timeline in timelines.items():
            if key not in named and (tenants is None or (table in OWNED and key[0] in tenants)):
                path = " ".join([table, *(part or "*" for part in key)])
                yield from _ended(table, key, timeline, from_ms, terms.earliest_ms, path)


def _ended(table: str, key: Key, timeline: Timeline, from_ms: int, free_ms: int, path: str) -> Iterator[Change]:
    at_ms = first_difference(timeline, from_ms, None)
    if at_ms < FOREVER_MS:
        ahead = [version for version in timeline if version.valid_to_ms > at_ms]
        yield Change(
            table,
            key,
            "closed",
            at_ms,
            old=ahead[0].values,
            new=None,
            begin_ms=at_ms,
            replaced=_starts(ahead, at_ms),
            backdated=at_ms < free_ms,
            path=path,
        )


def _starts(versions: Sequence[Version], from_ms: int) -> tuple[int, ...]:
    return tuple(version.valid_from_ms for version in versions if version.valid_from_ms >= from_ms)


def _after(stored: Stored, changes: Sequence[Change]) -> dict[str, dict[Key, Timeline]]:
    after = {table: dict(timelines) for table, timelines in stored.items()}
    for change in changes:
        timeline = after[change.table].get(change.key, ())
        after[change.table][change.key] = changed_timeline(timeline, change)
    return after
