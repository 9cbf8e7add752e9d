"""What a check found: rows that differ, how many it compared, and what it could not judge."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, get_args

from udfs.values import EXACT as WIDE
from udfs.values import plain, rfc3339

Check = Literal["offsets", "grains", "live", "rollups", "manifests", "voids", "invoices"]
CHECKS: tuple[Check, ...] = get_args(Check)
# Differences stored of one check; a system that is wrong throughout must not fill the database with saying so.
MOST_FINDINGS = 1_000
# Columns of rollups that have to be equal to the last event; the others are quantities, and have a tolerance.
EXACT = frozenset({"n", "samples", "latest", "period_start", "period_end", "events", "hash"})

Subject = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference.

    Parameters
    ----------
    subject:
        Columns that name what differs, JSON values; `tenant_id`, `customer_id` and `meter` where it is about one.
    expected, actual:
        What it should be and what it is, as text; None: not there.
    delta:
        Actual less expected, of the total or count; None: no number.
    bucket_at:
        First instant of the bucket, with a zone; None: in no bucket.
    """

    subject: Subject
    expected: str | None
    actual: str | None
    delta: Decimal | None = None
    bucket_at: datetime | None = None

    @property
    def name(self) -> str:
        """The subject as text: equal for equal subjects."""
        return name_of(self.subject)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check came to.

    Parameters
    ----------
    compared:
        Things held against each other.
    findings:
        Differences, at most MOST_FINDINGS.
    differing:
        All differences.
    moving:
        Things that changed while they were looked at, and were left for the next run.
    not_checked:
        Why there is no result; empty when there is one.
    notes:
        What was left out, in words.
    noted:
        What is no difference, but should be looked at by the people it concerns.
    unseen:
        Whether the thing a subject names was among those left for the next run.
    """

    compared: int = 0
    findings: Sequence[Finding] = ()
    differing: int = 0
    moving: int = 0
    not_checked: str = ""
    notes: Sequence[str] = ()
    noted: Sequence[Finding] = ()
    unseen: Callable[[Subject], bool] = field(default=lambda _: False, compare=False)

    def document(self) -> dict[str, Any]:
        """The figures as JSON values."""
        return {
            "compared": self.compared,
            "differing": self.differing,
            "moving": self.moving,
            "not_checked": self.not_checked,
            "notes": list(self.notes),
        }


def merged(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome of a check that was made in parts."""
    differing = sum(one.differing for one in outcomes)
    return Outcome(
        compared=sum(one.compared for one in outcomes),
        findings=capped([finding for one in outcomes for finding in one.findings], differing),
        differing=differing,
        moving=sum(one.moving for one in outcomes),
        notes=[*dict.fromkeys(note for one in outcomes for note in one.notes)],
        unseen=lambda subject: any(one.unseen(subject) for one in outcomes),
    )


def outcome_of(findings: Sequence[Finding], compared: int, **more: Any) -> Outcome:
    """The outcome of a check that has all its differences in a list."""
    return Outcome(compared, [*capped(findings, len(findings))], len(findings), **more)


def capped(findings: Sequence[Finding], differing: int) -> Sequence[Finding]:
    """At most MOST_FINDINGS of them; for the rest one that concerns all."""
    if differing <= MOST_FINDINGS:
        return findings
    shown = [*findings[: MOST_FINDINGS - 1]]
    rest = differing - len(shown)
    return [*shown, Finding({"more": "differences than are listed"}, "0", str(rest), Decimal(rest))]


def row_finding(
    key: Mapping[str, Any], expected: Mapping[str, Any] | None, actual: Mapping[str, Any] | None,
    bucket_at: datetime | None = None, measure: str = "total", tolerance: Decimal = Decimal(0),
) -> Finding | None:  # fmt: skip
    """The difference between a row as it should be and as it is; None when there is none.

    Parameters
    ----------
    key:
        Columns that name the row.
    expected, actual:
        Values by column; None: no such row.
    bucket_at:
        First instant of its bucket.
    measure:
        Column whose difference is the delta.
    tolerance:
        Greatest difference that is none, of columns that are not in EXACT.
    """
    names = [*(expected or actual or {})]
    differing = [
        name for name in names
        if expected is None or actual is None or not _equal(name, expected[name], actual[name], tolerance)
    ]  # fmt: skip
    if not differing:
        return None
    amounts = [Decimal((side or {}).get(measure) or 0) for side in (expected, actual)]
    return Finding(
        dict(key),
        _said(expected, differing),
        _said(actual, differing),
        WIDE.subtract(amounts[1], amounts[0]),
        bucket_at,
    )


def name_of(subject: Subject) -> str:
    """Canonical JSON of a subject."""
    return json.dumps(subject, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=shown)


def shown(value: Any) -> str:
    """A value as people read it: plain decimals, instants in UTC with a Z."""
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return rfc3339(value)
    return str(value)


def _equal(name: str, one: Any, other: Any, tolerance: Decimal) -> bool:
    if name in EXACT or one is None or other is None:
        return bool(one == other)
    return WIDE.subtract(Decimal(one), Decimal(other)).copy_abs() <= tolerance


def _said(row: Mapping[str, Any] | None, names: Sequence[str]) -> str | None:
    return None if row is None else ", ".join(f"{name} {shown(row[name])}" for name in names)
