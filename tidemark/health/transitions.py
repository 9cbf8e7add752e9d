"""When alerts about the pipeline begin and end: once each, after a finding has held for long enough."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from tidemark.health.rules import Finding, Key


@dataclass(frozen=True, slots=True)
class Decision:
    """What changes.

    Parameters
    ----------
    begun:
        Findings whose alert begins.
    ended:
        Keys whose alert ends.
    since:
        Of each finding that differs from its alert: when that was first seen, epoch seconds.
    """

    begun: tuple[Finding, ...]
    ended: tuple[Key, ...]
    since: Mapping[Key, float]


def decide(
    findings: Iterable[Finding], expected: Collection[Key], firing: Collection[Key], since: Mapping[Key, float],
    now: float,
) -> Decision:  # fmt: skip
    """Which alerts begin and end.

    Parameters
    ----------
    findings:
        What is known now; what is not known changes nothing.
    expected:
        What is watched: an alert about anything else ends at once.
    firing:
        Alerts that fire.
    since:
        `Decision.since` of the last call.
    now:
        Epoch seconds.
    """
    begun, ended, pending = [], [key for key in firing if key not in expected], {}
    seen = set()
    for finding in findings:
        seen.add(finding.key)
        if finding.bad == (finding.key in firing):
            continue
        first = since.get(finding.key, now)
        if now - first < finding.hold_s:
            pending[finding.key] = first
        elif finding.bad:
            begun.append(finding)
        elif finding.key not in ended:
            ended.append(finding.key)
    unknown = {key: first for key, first in since.items() if key not in seen and key in expected}
    return Decision(tuple(begun), tuple(ended), {**unknown, **pending})
