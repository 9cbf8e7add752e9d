"""The result of a check: rows that differ, how many it compared, and what it could not check."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, get_args

from udfs.values import EXACT as WIDE
from udfs.values import plain, rfc3339

Check = Literal["offsets", "grains", "live", "rollups", "manifests", "voids", "invoices", "ledger"]
CHECKS: tuple[Check, ...] = get_args(Check)
# Differences stored for one check; a system that is wrong everywhere must not fill the database.
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
        Columns that identify what differs, JSON values; with `tenant_id`, `customer_id` and `meter` where they apply.
    expected, actual:
        The right value and the present value, as text; None: missing.
    delta:
        Actual less expected, of the total or count; None: not a number.
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
    """The outcome of one check.

    Parameters
    ----------
    compared:
        Number of comparisons.
    findings:
        Differences, at most MOST_FINDINGS.
    differing:
        All differences.
    moving:
        Rows that changed during the check, and were left for the next run.
    not_checked:
        Why there is no result; empty if there is one.
    notes:
        What was left out, as text.
    noted:
        Findings that are not differences, but that the people concerned should check.
    unseen:
        Whether the row of a subject was left for the next run.
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
    differing = sum(outcome.differing for outcome in outcomes)
    return Outcome(
        compared=sum(outcome.compared for outcome in outcomes),
        findings=capped([finding for outcome in outcomes for finding in outcome.findings], differing),
        differing=differing,
        moving=sum(outcome.moving for outcome in outcomes),
        notes=[*dict.fromkeys(note for outcome in outcomes for note in outcome.notes)],
        unseen=lambda subject: any(outcome.unseen(subject) for outcome in outcomes),
    )


def outcome_of(findings: Sequence[Finding], compared: int, **more: Any) -> Outcome:
    """The outcome of a check that has all its differences in a list."""
    return Outcome(compared, [*capped(findings, len(findings))], len(findings), **more)


def capped(findings: Sequence[Finding], differing: int) -> Sequence[Finding]:
    """At most MOST_FINDINGS of them; the last one summarizes the rest."""
    if differing <= MOST_FINDINGS:
        return findings
    shown = [*findings[: MOST_FINDINGS - 1]]
    rest = differing - len(shown)
    return [*shown, Finding({"more": "differences than are listed"}, "0", str(rest), Decimal(rest))]


def row_finding(
    key: Mapping[str, Any], expected: Mapping[str, Any] | None, actual: Mapping[str, Any] | None,
    bucket_at: datetime | None = None, measure: str = "total", tolerance: Decimal = Decimal(0),
) -> Finding | None:  # fmt: skip
    """The difference between the expected and the actual row; None if they are equal.

    Parameters
    ----------
    key:
        Columns that identify the row.
    expected, actual:
        Values by column; None: no such row.
    bucket_at:
        First instant of its bucket.
    measure:
        Column whose difference is the delta.
    tolerance:
        Greatest difference that counts as equal, in columns that are not in EXACT.
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
        _text(expected, differing),
        _text(actual, differing),
        WIDE.subtract(amounts[1], amounts[0]),
        bucket_at,
    )


def name_of(subject: Subject) -> str:
    """Canonical JSON of a subject."""
    return json.dumps(subject, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=shown)


def shown(value: Any) -> str:
    """A value for people: plain decimals, instants in UTC with a Z."""
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return rfc3339(value)
    return str(value)


def _equal(name: str, expected: Any, actual: Any, tolerance: Decimal) -> bool:
    if name in EXACT or expected is None or actual is None:
        return bool(expected == actual)
    return WIDE.subtract(Decimal(expected), Decimal(actual)).copy_abs() <= tolerance


def _text(row: Mapping[str, Any] | None, names: Sequence[str]) -> str | None:
    return None if row is None else ", ".join(f"{name} {shown(row[name])}" for name in names)
