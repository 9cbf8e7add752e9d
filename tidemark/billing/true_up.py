"""Which closes and corrections make the ledger say what the rollups say: for closing, promoting and reverting alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from tidemark.billing.lines import Line, LineKey, Lines, PeriodKey, same

Cause = Literal["late_events", "void", "catalog_change", "replay", "revert"]


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger says of a closed period: its lines with all corrections, their number, whether it stands."""

    lines: Lines
    corrections: int = 0
    stands: bool = True


@dataclass(frozen=True, slots=True)
class Close:
    """A period to be closed with these lines."""

    key: PeriodKey
    lines: Lines


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a correction; None where there is none on that side."""

    before: Line | None
    after: Line | None

    @property
    def delta(self) -> Decimal:
        """After less before, none counting as 0."""
        return _value(self.after) - _value(self.before)


@dataclass(frozen=True, slots=True)
class Correction:
    """A closed period to be changed.

    Parameters
    ----------
    key, number:
        The period, and the number of the correction in it: 1, 2, 3 …
    changes:
        Lines that change, all of them and no other.
    lines:
        All lines after it.
    stands:
        Whether the period is one after it.
    """

    key: PeriodKey
    number: int
    changes: Mapping[LineKey, Change]
    lines: Lines
    stands: bool = True


@dataclass(frozen=True, slots=True)
class TrueUp:
    """What is due, each in the order of the periods."""

    closes: list[Close] = field(default_factory=list)
    corrections: list[Correction] = field(default_factory=list)


def true_up(ledger: Mapping[PeriodKey, Entry], wanted: Mapping[PeriodKey, Lines]) -> TrueUp:
    """What has to be added to the ledger so that it says `wanted`; nothing when it does already.

    Parameters
    ----------
    ledger:
        Closed periods that are looked at. One that `wanted` does not have is no period any more: another calendar put
        others in its place. It loses its lines and no longer stands.
    wanted:
        Periods that are final, with the lines they have to have.
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


def still_periods(ledger: Iterable[PeriodKey], found: Iterable[PeriodKey]) -> set[PeriodKey]:
    """Periods that are final, of all that have usage (`found`) or were closed.

    A closed period without usage is still one, unless another with usage lies across it: then the calendar is another.
    """
    periods = set(found)
    of_customer: dict[tuple[str, str], list[PeriodKey]] = {}
    for key in periods:
        of_customer.setdefault(key[:2], []).append(key)
    for key in set(ledger) - periods:
        if not any(one.start < key.end and key.start < one.end for one in of_customer.get(key[:2], [])):
            periods.add(key)
    return periods


def cause_of(changes: Mapping[LineKey, Change]) -> Cause:
    """Why a closed period changed by itself: events were taken back, or were counted late."""
    taken_back = any(_samples(one.after) < _samples(one.before) for one in changes.values())
    return "void" if taken_back else "late_events"


def _correction(key: PeriodKey, entry: Entry, lines: Lines | None) -> Correction | None:
    after, stands = lines if lines is not None else {}, lines is not None
    if same(entry.lines, after) and entry.stands == stands:
        return None
    changes = {
        at: Change(entry.lines.get(at), after.get(at))
        for at in sorted(entry.lines.keys() | after.keys())
        if not _same_line(entry.lines.get(at), after.get(at))
    }
    return Correction(key, entry.corrections + 1, changes, after, stands)


def _same_line(one: Line | None, other: Line | None) -> bool:
    at = LineKey("", "")
    return same({at: one} if one else {}, {at: other} if other else {})


def _value(line: Line | None) -> Decimal:
    return Decimal(0) if line is None else line.value


def _samples(line: Line | None) -> int:
    return 0 if line is None else line.samples
