"""Versions of one row of the catalog in event time, and a change to them; from data alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from tidemark.catalog.file import TABLES, Key
from udfs.meters.meter import BEGINNING_MS, FOREVER_MS


@dataclass(frozen=True, slots=True)
class Version:
    """Values that hold for event times [valid_from_ms, valid_to_ms), UTC epoch ms."""

    values: tuple[Any, ...]
    valid_from_ms: int = BEGINNING_MS
    valid_to_ms: int = FOREVER_MS


# Versions of one row, ascending, without overlap; gaps are possible.
Timeline = tuple[Version, ...]
Stored = Mapping[str, Mapping[Key, Timeline]]


@dataclass(frozen=True, slots=True)
class Change:
    """One row whose versions change from `valid_from_ms` on; before that everything stays.

    Parameters
    ----------
    old:
        Values that held then, or would have held next; None without a version.
    new:
        Values that hold from then on; None when the row is closed.
    begin_ms:
        Begin of the version that holds them: earlier than the change where the one before it says the same.
    replaced:
        Begins of the stored versions that this removes, or lets say something else.
    ahead:
        Versions after the one that holds `new`: planned ones keep what the change does not name.
    backdated:
        Whether events may have been counted, or alerts raised, by what is changed.
    """

    table: str
    key: Key
    kind: Literal["added", "changed", "closed"]
    valid_from_ms: int
    old: tuple[Any, ...] | None
    new: tuple[Any, ...] | None
    begin_ms: int
    replaced: tuple[int, ...] = ()
    ahead: tuple[Version, ...] = ()
    backdated: bool = False
    path: str = field(default="", compare=False)

    @property
    def versions(self) -> Timeline:
        """All versions from `begin_ms` on, which replace those stored."""
        if self.new is None:
            return self.ahead
        end_ms = self.ahead[0].valid_from_ms if self.ahead else FOREVER_MS
        return (Version(self.new, self.begin_ms, end_ms), *self.ahead)

    @property
    def fields(self) -> tuple[tuple[str, Any, Any], ...]:
        """Name, old and new value of each column that differs; of a body, of each of its entries."""
        columns = TABLES[self.table][1]
        nothing = (None,) * len(columns)
        pairs = zip(columns, self.old or nothing, self.new or nothing, strict=True)
        return tuple(field for pair in pairs for field in _opened(*pair) if field[1] != field[2])

    @property
    def counts(self) -> bool:
        """Whether totals depend on it: a limit, a plan or a policy changes alerts, never what is counted."""
        if self.table == "customer" and self.old is not None and self.new is not None:
            return bool(self.old[0] != self.new[0])
        return self.table not in ("usage_limit", "alert_policy")


def _opened(name: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """A column that changed, or the entries of a body."""
    if name != "body":
        yield name, old, new
        return
    before, after = ({} if text is None else json.loads(text) for text in (old, new))
    yield from ((part, before.get(part), after.get(part)) for part in sorted({*before, *after}))


def first_difference(timeline: Timeline, from_ms: int, values: tuple[Any, ...] | None) -> int:
    """First event time from `from_ms` on that has other values (None: any at all); FOREVER_MS if there is none."""
    at_ms = from_ms
    for version in timeline:
        if version.valid_to_ms <= at_ms:
            continue
        if values is None:
            return max(at_ms, version.valid_from_ms)
        if version.valid_from_ms > at_ms or version.values != values:
            return at_ms
        at_ms = version.valid_to_ms
    return FOREVER_MS if values is None else at_ms


def changed_timeline(timeline: Timeline, change: Change) -> Timeline:
    """The versions of a row after a change."""
    kept = tuple(
        Version(version.values, version.valid_from_ms, min(version.valid_to_ms, change.begin_ms))
        for version in timeline
        if version.valid_from_ms < change.begin_ms
    )
    return (*kept, *change.versions)


def overlay(
    timeline: Timeline, from_ms: int, values: tuple[Any, ...], over: Callable[[tuple[Any, ...]], tuple[Any, ...]]
) -> Timeline:
    """The versions of a row when it has other values from an event time on, for ever.

    Parameters
    ----------
    timeline:
        What is stored.
    from_ms:
        Before it nothing changes.
    values:
        What holds where nothing is stored.
    over:
        What a stored version says then.
    """
    made = [Version(version.values, version.valid_from_ms, min(version.valid_to_ms, from_ms)) for version in timeline
            if version.valid_from_ms < from_ms]  # fmt: skip
    at_ms = from_ms
    for version in timeline:
        if version.valid_to_ms <= from_ms:
            continue
        begin_ms = max(version.valid_from_ms, from_ms)
        if begin_ms > at_ms:
            made.append(Version(values, at_ms, begin_ms))
        made.append(Version(over(version.values), begin_ms, version.valid_to_ms))
        at_ms = version.valid_to_ms
    if at_ms < FOREVER_MS:
        made.append(Version(values, at_ms))
    return _joined(made)


def _joined(versions: Sequence[Version]) -> Timeline:
    """The same with equal neighbours joined."""
    joined: list[Version] = []
    for version in versions:
        last = joined[-1] if joined else None
        is_same = last is not None and (last.valid_to_ms, last.values) == (version.valid_from_ms, version.values)
        joined.append(Version(version.values, joined.pop().valid_from_ms, version.valid_to_ms) if is_same else version)
    return tuple(joined)


def difference(before: Timeline, after: Timeline) -> int:
    """First event time at which two timelines differ; FOREVER_MS if there is none."""
    instants = {at for version in (*before, *after) for at in (version.valid_from_ms, version.valid_to_ms)}
    for at_ms in sorted(instants - {FOREVER_MS}):
        if values_at(before, at_ms) != values_at(after, at_ms):
            return at_ms
    return FOREVER_MS


def values_at(timeline: Timeline, at_ms: int) -> tuple[Any, ...] | None:
    """Values of a row at an event time; None where it has no version."""
    return next((version.values for version in timeline if version.valid_from_ms <= at_ms < version.valid_to_ms), None)


def open_since(timeline: Timeline) -> int:
    """Start of the versions that hold for ever without a gap; FOREVER_MS if there are none."""
    if not timeline or timeline[-1].valid_to_ms != FOREVER_MS:
        return FOREVER_MS
    since_ms = timeline[-1].valid_from_ms
    for before, after in reversed([*pairwise(timeline)]):
        if before.valid_to_ms != after.valid_from_ms:
            break
        since_ms = before.valid_from_ms
    return since_ms
