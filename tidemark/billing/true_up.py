"""Which closes and corrections bring the ledger in line with the rollups: for closing, promoting and reverting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from tidemark.billing.lines import Line, LineKey, Lines, PeriodKey, same
from udfs.values import EXACT

Cause = Literal["late_events", "void", "catalog_change", "replay", "revert"]


@dataclass(frozen=True, slots=True)
class Entry:
    """The ledger's entry of a closed period: its lines with all corrections, their number, whether it is current."""

    lines: Lines
    corrections: int = 0
    is_current: bool = True


@dataclass(frozen=True, slots=True)
class Close:
    """A period to close with these lines."""

    key: PeriodKey
    lines: Lines


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a correction; None: there is no such line before, or after."""

    before: Line | None
    after: Line | None

    @property
    def delta(self) -> Decimal:
        """After less before; a missing line counts as 0."""
        return EXACT.subtract(_value(self.after), _value(self.before))


@dataclass(frozen=True, slots=True)
class Correction:
    """A change of a closed period.

    Parameters
    ----------
    key, number:
        The period, and the number of the correction in it: 1, 2, 3 …
    changes:
        All lines that change, and no others.
    lines:
        All lines after the correction.
    is_current:
        Whether the period is current after the correction.
    """

    key: PeriodKey
    number: int
    changes: Mapping[LineKey, Change]
    lines: Lines
    is_current: bool = True


@dataclass(frozen=True, slots=True)
class TrueUp:
    """The closes and corrections that are due, each in the order of the periods."""

    closes: list[Close] = field(default_factory=list)
    corrections: list[Correction] = field(default_factory=list)


def true_up(ledger: Mapping[PeriodKey, Entry], wanted: Mapping[PeriodKey, Lines]) -> TrueUp:
    """What to add to the ledger so that it equals `wanted`; nothing if it already does.

    Parameters
    ----------
    ledger:
        Closed periods to compare. A period that `wanted` does not have does not exist any more: a change of the
        calendar replaced it. It loses its lines and is no longer current.
    wanted:
        Final periods, with the lines they must have.
    """
    due = TrueUp()
    for key in sorted(ledger.keys() | wanted.keys()):
        entry, lines = ledger.get(key), wanted.get(key)
        if entry is None:
            due.closes.append(Close(key, lines or {}))
        else:
            correction = _correction(key, entry, lines)
            if correction is not None:
                due.corrections.append(correction)
    return due


def current_periods(ledger: Iterable[PeriodKey], used: Iterable[PeriodKey]) -> set[PeriodKey]:
    """Periods that exist by the present calendar, of those with usage (`used`) and those that were closed.

    A closed period without usage still exists, unless a period with usage overlaps it: then the calendar changed.
    """
    periods = set(used)
    of_customer: dict[tuple[str, str], list[PeriodKey]] = {}
    for key in periods:
        of_customer.setdefault(key[:2], []).append(key)
    for key in set(ledger) - periods:
        if not any(other.start < key.end and key.start < other.end for other in of_customer.get(key[:2], [])):
            periods.add(key)
    return periods


def cause_of(changes: Mapping[LineKey, Change]) -> Cause:
    """Why a closed period changed without a decision: events were taken back, or were counted late."""
    taken_back = any(_samples(change.after) < _samples(change.before) for change in changes.values())
    return "void" if taken_back else "late_events"


def _correction(key: PeriodKey, entry: Entry, lines: Lines | None) -> Correction | None:
    after, is_current = lines if lines is not None else {}, lines is not None
    if same(entry.lines, after) and entry.is_current == is_current:
        return None
    changes = {
        at: Change(entry.lines.get(at), after.get(at))
        for at in sorted(entry.lines.keys() | after.keys())
        if not _same_line(entry.lines.get(at), after.get(at))
    }
    return Correction(key, entry.corrections + 1, changes, after, is_current)


def _same_line(before: Line | None, after: Line | None) -> bool:
    at = LineKey("", "")
    return same({at: before} if before else {}, {at: after} if after else {})


def _value(line: Line | None) -> Decimal:
    return Decimal(0) if line is None else line.value


def _samples(line: Line | None) -> int:
    return 0 if line is None else line.samples
