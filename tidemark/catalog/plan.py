"""What an apply would do to the stored versions, worked out from data alone: changes, and what speaks against them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tidemark.catalog.file import Key, Row
from tidemark.catalog.refusals import Terms, calendar_faults, meter_faults, notes, receiver_faults, refused
from tidemark.catalog.text import Fault
from tidemark.catalog.timeline import Change, Stored, Timeline, Version, changed_timeline, first_difference
from udfs.meters.meter import BEGINNING_MS, FOREVER_MS


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything an apply would change, how many rows stay as they are, and what it refuses."""

    changes: tuple[Change, ...]
    unchanged: int
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()

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
            is_free = terms.first or _is_free(table, row, timeline, tenants)
            changes += _change(table, row, timeline, BEGINNING_MS if is_free else terms.earliest_ms)
    unchanged = sum(map(len, wanted.values())) - len(changes)
    if terms.prune:
        changes += _closed(wanted, stored, terms)
    if not terms.backdate:
        faults += [fault for change in changes if (fault := refused(change, terms))]
    after = _after(stored, changes)
    faults += [*meter_faults(wanted["meter"], after["meter"]), *calendar_faults(wanted, after)]
    faults += receiver_faults(wanted["alert_policy"], after["alert_policy"])
    return Plan(tuple(changes), unchanged, tuple(faults), tuple(notes(changes, after["calendar"], terms)))


def _is_free(table: str, row: Row, timeline: Timeline, new_tenants: Collection[str | None]) -> bool:
    """Whether a row may hold from the beginning, because nothing can have been counted or told without it."""
    if table == "calendar":
        return not timeline
    return table != "alert_policy" and row.key[0] in new_tenants


def _change(table: str, row: Row, timeline: Timeline, free_ms: int) -> Iterator[Change]:
    """The change a row needs, if any; before `free_ms` it would contradict what may have been counted."""
    from_ms = row.valid_from_ms
    if from_ms is None:
        if timeline and timeline[-1].valid_to_ms == FOREVER_MS and timeline[-1].values == row.values:
            return
        from_ms = free_ms
    at_ms = first_difference(timeline, from_ms, row.values)
    if at_ms == FOREVER_MS:
        return
    last = [one for one in timeline if one.valid_to_ms == at_ms and one.values == row.values]
    ahead = [one for one in timeline if one.valid_to_ms > at_ms]
    yield Change(
        table,
        row.key,
        "changed" if ahead else "added",
        at_ms,
        old=ahead[0].values if ahead else None,
        new=row.values,
        begin_ms=last[0].valid_from_ms if last else at_ms,
        replaced=_begins(ahead, at_ms),
        backdated=at_ms < free_ms,
        path=row.path,
    )


def _closed(wanted: Mapping[str, Sequence[Row]], stored: Stored, terms: Terms) -> Iterator[Change]:
    from_ms = terms.earliest_ms if terms.default_ms is None else terms.default_ms
    for table, timelines in stored.items():
        named = {row.key for row in wanted[table]}
        for key, timeline in timelines.items():
            at_ms = FOREVER_MS if key in named else first_difference(timeline, from_ms, None)
            if at_ms < FOREVER_MS:
                ahead = [one for one in timeline if one.valid_to_ms > at_ms]
                yield Change(
                    table,
                    key,
                    "closed",
                    at_ms,
                    old=ahead[0].values,
                    new=None,
                    begin_ms=at_ms,
                    replaced=_begins(ahead, at_ms),
                    backdated=at_ms < terms.earliest_ms,
                    path=" ".join([table, *(part or "*" for part in key)]),
                )


def _begins(versions: Sequence[Version], from_ms: int) -> tuple[int, ...]:
    return tuple(one.valid_from_ms for one in versions if one.valid_from_ms >= from_ms)


def _after(stored: Stored, changes: Sequence[Change]) -> dict[str, dict[Key, Timeline]]:
    after = {table: dict(timelines) for table, timelines in stored.items()}
    for change in changes:
        timeline = after[change.table].get(change.key, ())
        after[change.table][change.key] = changed_timeline(timeline, change)
    return after
